import type { Database } from '../../db/database.js';
import { describeFault, faultKind, isTooMuch, isPassing } from '../../db/sqlstate.js';
import { backoffMs } from '../../domain/backoff.js';
import { pause } from '../../domain/pause.js';
import type { Logger } from '../../logger.js';
import { readNewestEntry } from '../../repository/ledger.js';
import { endStalledCopies } from '../../repository/backfill/stalled-copies.js';
import { hasMissed, repairMissed } from '../../repository/repair/repair-missed.js';
import { ImpossibleTransferError } from '../../repository/repair/transfer.js';
import { addCounts, NO_ROWS, type BackfillCounts } from './report.js';
import type { Throttle } from './throttle.js';
import { workTogether } from './work-together.js';

export interface LedgerRepairOptions {
  readonly primary: Database;
  readonly secondary: Database;
  /** Empty: all. */
  readonly tables: readonly string[];
  readonly jobs: number;
  /** Entries in one repair, at most. */
  readonly entries: number;
  readonly throttle: Throttle;
  readonly stop: AbortSignal;
  readonly logger: Logger;
  readonly onProgress: (counts: BackfillCounts) => void;
}

const TRIES = 4;
const RETRY_MS = 500;
const OTHERS_MS = 300;
const STATES = ['missed', 'refused'] as const;

/**
 * Repairs every entry of the ledger that was there when it began, refused readings too, each once. Entries that cannot
 * be repaired stay, and hold up no other; those that somebody else repairs are waited for, and taken over when that one
 * dies. Throws when a side fails for good.
 */
export async function repairLedger(options: LedgerRepairOptions): Promise<BackfillCounts> {
  const upTo = await readNewestEntry(options.primary.pool);
  const repair = new LedgerRepair(options, upTo);
  await workTogether(options.jobs, options.stop, (stop) => repair.work(stop));
  return repair.counts;
}

class LedgerRepair {
  counts = NO_ROWS;
  readonly #failed: number[] = [];
  #entries: number;

  constructor(
    private readonly options: LedgerRepairOptions,
    private readonly upTo: number,
  ) {
    this.#entries = options.entries;
  }

  async work(stop: AbortSignal): Promise<void> {
    const { throttle } = this.options;
    for (let tries = 1; !stop.aborted;) {
      await throttle.wait();
      let claimed: readonly number[] = [];
      try {
        const repaired = await this.#repair((ids) => (claimed = ids));
        tries = 1;
        if (repaired) continue;
        if (!(await hasMissed(this.#wanted))) return;
        await this.#waitForOthers(stop);
      } catch (error) {
        tries = await this.#handle(error, claimed, tries);
      }
    }
  }

  /** False where nothing is left to claim. */
  async #repair(onClaim: (ids: readonly number[]) => void): Promise<boolean> {
    const { secondary, throttle, onProgress } = this.options;
    const entries = this.#entries;
    const outcome = await repairMissed({ ...this.#wanted, secondary, entries, onClaim });
    if (outcome.entries > 0) this.#entries = Math.min(this.options.entries, Math.max(this.#entries, entries * 2));
    throttle.copied(outcome.copied);
    this.counts = addCounts(this.counts, {
      ranges: outcome.entries,
      rowsCopied: outcome.copied,
      rowsInserted: outcome.inserted,
      rowsSkipped: outcome.skipped,
      rowsCorrected: outcome.corrected,
      rowsRefused: outcome.refused,
      ...{ rowsExtra: 0, rowsPruned: 0 },
    });
    onProgress(this.counts);
    return outcome.entries > 0;
  }

  get #wanted(): Parameters<typeof hasMissed>[0] {
    const { primary, tables } = this.options;
    const except = this.#failed;
    return { primary, states: STATES, except, upTo: this.upTo, tables: tables.length === 0 ? null : tables };
  }

  async #waitForOthers(stop: AbortSignal): Promise<void> {
    const { primary, secondary } = this.options;
    await Promise.all([primary, secondary].map((side) => endStalledCopies(side)));
    await pause(OTHERS_MS, stop);
  }

  /** Returns the number of the next try; asks for less after a timeout, and leaves entries that fail alone. */
  async #handle(error: unknown, claimed: readonly number[], tries: number): Promise<number> {
    const { stop, logger } = this.options;
    const kind = error instanceof ImpossibleTransferError ? 'misconfigured' : faultKind(error);
    const less = isTooMuch(error) || kind === 'refused';
    if (less && claimed.length > 1) {
      this.#entries = Math.max(1, claimed.length >> 1);
      return tries;
    }
    if (claimed.length > 0 && (less || kind === 'misconfigured')) {
      logger.warn('these entries cannot be repaired', { entries: claimed.length, error: describeFault(error) });
      this.#failed.push(...claimed);
      return tries;
    }
    if (kind === 'misconfigured' || !isPassing(error) || tries === TRIES) throw error;
    await pause(backoffMs(tries, RETRY_MS), stop);
    return tries + 1;
  }
}
