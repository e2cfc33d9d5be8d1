import { setTimeout as delay } from 'node:timers/promises';
import { asUnreachable, type Database } from '../../db/database.js';
import { describeFault, faultKind, isOutOfTime } from '../../db/sqlstate.js';
import { backoffMs } from '../../domain/backoff.js';
import type { Logger } from '../../logger.js';
import { readNewestEntry } from '../../repository/ledger.js';
import { repairMissed } from '../../repository/repair/repair-missed.js';
import { addCounts, NO_ROWS, type BackfillCounts } from './report.js';
import type { Throttle } from './throttle.js';

export interface LedgerRepairOptions {
  readonly primary: Database;
  readonly secondary: Database;
  readonly jobs: number;
  readonly throttle: Throttle;
  readonly stop: AbortSignal;
  readonly logger: Logger;
  readonly onProgress: (counts: BackfillCounts) => void;
}

const ENTRIES_AT_ONCE = 500;
const TRIES = 4;
const RETRY_MS = 500;

/**
 * Repairs every entry of the ledger that was there when it began, refused readings too, each once. Entries that cannot
 * be repaired stay, and hold up no other. Throws when a side fails for good.
 */
export async function repairLedger(options: LedgerRepairOptions): Promise<BackfillCounts> {
  const upTo = await readNewestEntry(options.primary.pool);
  const repair = new LedgerRepair(options, upTo);
  await Promise.all(Array.from({ length: options.jobs }, () => repair.work()));
  return repair.counts;
}

class LedgerRepair {
  counts = NO_ROWS;
  readonly #failed: number[] = [];
  #entries = ENTRIES_AT_ONCE;

  constructor(
    private readonly options: LedgerRepairOptions,
    private readonly upTo: number,
  ) {}

  async work(): Promise<void> {
    const { stop, throttle } = this.options;
    for (let tries = 1; !stop.aborted;) {
      await throttle.wait();
      let claimed: readonly number[] = [];
      try {
        if (!(await this.#repair((ids) => (claimed = ids)))) return;
        tries = 1;
      } catch (error) {
        tries = await this.#handle(error, claimed, tries);
      }
    }
  }

  /** False where nothing is left to claim. */
  async #repair(onClaim: (ids: readonly number[]) => void): Promise<boolean> {
    const { primary, secondary, throttle, onProgress } = this.options;
    const { upTo } = this;
    const states = ['missed', 'refused'] as const;
    const outcome = await repairMissed({
      ...{ primary, secondary, entries: this.#entries, states, except: this.#failed, upTo, onClaim },
    });
    throttle.copied(outcome.copied);
    this.counts = addCounts(this.counts, {
      ranges: outcome.entries,
      rowsCopied: outcome.copied,
      rowsInserted: outcome.inserted,
      rowsSkipped: outcome.skipped,
      rowsCorrected: outcome.corrected,
      rowsRefused: outcome.refused,
      rowsExtra: 0,
    });
    onProgress(this.counts);
    return outcome.entries > 0;
  }

  /** Returns the number of the next try; asks for less after a timeout, and leaves entries that fail alone. */
  async #handle(error: unknown, claimed: readonly number[], tries: number): Promise<number> {
    const { secondary, stop, logger } = this.options;
    const kind = faultKind(error);
    const less = isOutOfTime(error) || kind === 'refused';
    if (less && claimed.length > 1) {
      this.#entries = Math.max(1, claimed.length >> 1);
      return tries;
    }
    if (claimed.length > 0 && (less || kind === 'misconfigured')) {
      logger.warn('these entries cannot be repaired', { entries: claimed.length, error: describeFault(error) });
      this.#failed.push(...claimed);
      return tries;
    }
    if (kind !== 'unavailable' || tries === TRIES) throw asUnreachable(error, secondary);
    await delay(backoffMs(tries, RETRY_MS), undefined, { signal: stop }).catch(() => undefined);
    return tries + 1;
  }
}
