import { type Database } from '../../db/database.js';
import { describeFault, isPassing } from '../../db/sqlstate.js';
import { backoffMs, isAborted, pause, workTogether } from '../../domain/async.js';
import type { Logger } from '../../logger.js';
import { addByTable, type CountsByTable, NO_ROWS, sumOfTables } from './backfill-report.js';
import type { Throttle } from './throttle.js';
import { culpritOf, RepairInParts } from '../../repository/repair/repair-in-parts.js';
import { type Claim, findMissed, type RepairOutcome, type Wanted } from '../../repository/repair/repair-missed.js';
import { endStalledCopies } from '../../repository/repair/stalled-copies.js';

export interface LedgerRepairOptions {
  readonly primary: Database;
  readonly secondary: Database;
  /** Empty: all. */
  readonly tables: readonly string[];
  /** The newest entry that is repaired. */
  readonly upTo: number;
  readonly jobs: number;
  /** Rows in one repair, at most; null: no limit but that of the servers. */
  readonly rows: number | null;
  readonly throttle: Throttle;
  readonly stop: AbortSignal;
  readonly logger: Logger;
  readonly onProgress: (rowsCopied: number) => void;
}

const TRIES = 4;
const RETRY_MS = 500;
const OTHERS_MS = 300;
const STATES = ['missed', 'refused'] as const;

/**
 * Repairs every entry of the ledger up to one, refused readings too, each once. Entries that cannot
 * be repaired stay, and hold up no other; those that somebody else repairs are waited for, and taken over when that one
 * dies. Throws when a side fails for good.
 */
export async function repairLedger(options: LedgerRepairOptions): Promise<CountsByTable> {
  const repair = new LedgerRepair(options);
  await workTogether(Array.from({ length: options.jobs }), options.stop, (_, stop) => repair.work(stop));
  return repair.counts;
}

class LedgerRepair {
  counts: CountsByTable = new Map();
  readonly #failed: number[] = [];
  readonly #failedTables = new Set<string>();

  constructor(private readonly options: LedgerRepairOptions) {}

  async work(stop: AbortSignal): Promise<void> {
    const { throttle, primary, rows } = this.options;
    const parts = new RepairInParts(this.options, rows ?? Infinity);
    for (let tries = 1; !stop.aborted;) {
      await throttle.wait();
      try {
        const outcome = await parts.repair(this.#wanted, stop);
        if (parts.claim !== null) this.#count(parts.claim.table, outcome);
        tries = 1;
        if (outcome.entries > 0) continue;
        if ((await findMissed(primary, this.#wanted)).length === 0) return;
        await this.#waitForOthers(stop);
      } catch (error) {
        if (isAborted(stop)) return;
        if (parts.claim !== null && this.#leavesAlone(parts.claim, error)) continue;
        if (!isPassing(error) || tries === TRIES) throw error;
        await pause(backoffMs(tries, RETRY_MS), stop);
        tries += 1;
      }
    }
  }

  #count(table: string, outcome: RepairOutcome): void {
    this.options.throttle.copied(outcome.copied + outcome.updated.copied);
    const { updated } = outcome;
    const counts = {
      ...NO_ROWS,
      ranges: outcome.entries,
      rowsCopied: outcome.copied + updated.inserted + updated.skipped + updated.corrected,
      rowsInserted: outcome.inserted + updated.inserted,
      rowsSkipped: outcome.skipped + updated.skipped,
      rowsCorrected: outcome.corrected + updated.corrected,
      rowsRefused: outcome.refused,
    };
    this.counts = addByTable(this.counts, new Map([[table, counts]]));
    this.options.onProgress(sumOfTables(this.counts).rowsCopied);
  }

  get #wanted(): Wanted {
    const { tables, upTo } = this.options;
    const wanted = { states: STATES, except: this.#failed, upTo, exceptTables: [...this.#failedTables] };
    return tables.length === 0 ? wanted : { ...wanted, tables };
  }

  async #waitForOthers(stop: AbortSignal): Promise<void> {
    const { primary, secondary } = this.options;
    await Promise.all([primary, secondary].map((side) => endStalledCopies(side)));
    await pause(OTHERS_MS, stop);
  }

  /** True where the failure is of what was claimed: it stays in the ledger, and the rest goes on. */
  #leavesAlone({ ids, table }: Claim, error: unknown): boolean {
    const culprit = culpritOf(error);
    if (culprit === null) return false;
    if (culprit === 'table') this.#failedTables.add(table);
    else this.#failed.push(...ids);
    const fields = { table, entries: ids.length, error: describeFault(error) };
    this.options.logger.warn(`${culprit === 'table' ? 'this table' : 'these entries'} cannot be repaired`, fields);
    return true;
  }
}

export interface Missed {
  readonly entries: number;
  readonly readings: number;
}

const COUNT_MISSED = `
  select count(*) as entries, coalesce(sum(readings), 0)::bigint as readings
  from sensorctl.ledger_state where (state <> 'pending' or batch_id is null) and ($1::text[] = '{}' or table_name = any ($1))`;

/** What the ledger says is missing of these tables, or, where none is named, of all: entries, and the readings in them. */
export async function countMissed({ pool }: Database, tables: readonly string[]): Promise<Missed> {
  const { rows } = await pool.query<{ entries: number; readings: number }>(COUNT_MISSED, [tables]);
  return rows[0] ?? { entries: 0, readings: 0 };
}
