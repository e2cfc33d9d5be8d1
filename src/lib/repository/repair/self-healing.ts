import { describeFault, isLockTimeout, isPassing } from '../../db/sqlstate.js';
import { pause } from '../../domain/async.js';
import { backoff, withRetries } from '../../domain/retry.js';
import { sideTitle } from '../../domain/side.js';
import { ConflictError } from '../../errors.js';
import type { Logger } from '../../logger.js';
import { TIMES } from '../../timing.js';
import type { CircuitBreaker } from '../write/circuit-breaker.js';
import { buryConsumers } from '../ledger/markers.js';
import { restoreAbandonedPolicies } from '../timescaledb/paused-jobs.js';
import { coverNewPartitions } from '../writers/new-partitions.js';
import type { Database } from '../../db/database.js';
import { HealerTurns } from './healer-turns.js';
import { culpritOf, RepairInParts } from './repair-in-parts.js';
import type { RepairOptions, RepairOutcome } from './repair-missed.js';

export interface SelfHealingOptions extends Pick<RepairOptions, 'primary' | 'secondary'> {
  readonly breaker: CircuitBreaker;
  /** Rows a second, at most. */
  readonly rowsPerSecond: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Called with the number of readings that each repair brought to the secondary. */
  readonly onHealed?: (readings: number) => void;
  /** Called after each turn that repaired something. */
  readonly onTurn?: (turn: HealedTurn) => void;
}

/** What a turn brought, in rows; `copied` is the sum of the others. */
export interface HealedTurn {
  /** Ledger entries repaired, verified and settled. */
  readonly entries: number;
  readonly copied: number;
  readonly inserted: number;
  readonly skipped: number;
  /** Also those that were deleted. */
  readonly corrected: number;
  readonly refused: number;
}

const NOTHING_HEALED: HealedTurn = { entries: 0, copied: 0, inserted: 0, skipped: 0, corrected: 0, refused: 0 };

/** What takes about a second: sends wait for a repair that holds their table. At a low rate less, so that no pause after it is long. */
const ROWS_A_REPAIR = 10_000;
const PAUSE_AT_MOST_S = 5;
const IDLE_MS = 1_000;
const BURY_MS = 30_000;
const PARTITIONS_MS = 60_000;
const FAILURE_MS = 1_000;
const LONGEST_FAILURE_MS = TIMES.repairRetryLongestMs;
const SET_ASIDE_MS = TIMES.repairAsideMs;

/**
 * Repairs missed entries in the background while both sides answer, at a bounded rate, until the signal aborts: turn by turn
 * what the ledger held when the turn began. Any number of processes share the work: an entry that one repairs is skipped
 * by the others. Never throws.
 */
export async function healUntilStopped(options: SelfHealingOptions): Promise<void> {
  const { signal } = options;
  const healing = new Healing(options);
  const policy = { pauseMs: backoff(FAILURE_MS, LONGEST_FAILURE_MS), signal };
  // Only the signal ends the attempts.
  while (!signal.aborted) await withRetries(() => healing.round(), policy).catch(() => undefined);
  await healing.end();
}

class Healing {
  readonly #parts: RepairInParts;
  readonly #turns: HealerTurns;
  /** The newest entry of the turn that is under way. */
  #upTo: number | null = null;
  #turn = NOTHING_HEALED;
  /** The side that did not answer: said once. */
  #away: Database | null = null;
  /** Entries that cannot be repaired, and until when others go before them. */
  readonly #setAside = new Map<number, number>();
  /** The same of tables that a person has to mend first. */
  readonly #tablesAside = new Map<string, number>();
  /** The first entry of the last repair, where it waited for a lock in vain. */
  #locked: number | null = null;
  #buriedAt = performance.now();
  /** Logged once: a role without the rights will not get them by asking again. */
  #policiesFailed = false;
  #partitionsAt = -Infinity;
  #partitionsFailed = false;

  constructor(private readonly options: SelfHealingOptions) {
    const rows = Math.min(ROWS_A_REPAIR, options.rowsPerSecond * PAUSE_AT_MOST_S);
    this.#parts = new RepairInParts(options, rows);
    this.#turns = new HealerTurns(options.primary, options.logger);
  }

  /** One repair, or a pause where there is nothing to do. Throws what the repair throws, and says so in the log. */
  async round(): Promise<void> {
    try {
      await this.#repairOrRest();
      if (this.#away === null) return;
      this.options.logger.info(`${sideTitle(this.#away.side)} answers again`);
      this.#away = null;
    } catch (error) {
      this.#endTurn();
      await this.#tellFailure(error);
      throw error;
    }
  }

  async end(): Promise<void> {
    this.#endTurn();
    await this.#turns.end();
  }

  async #repairOrRest(): Promise<void> {
    if (!(await this.#secondaryAnswers())) {
      // This turn passes over what is there.
      await this.#turns.begin();
      await pause(IDLE_MS, this.options.signal);
      return;
    }
    if (performance.now() - this.#partitionsAt > PARTITIONS_MS) {
      this.#partitionsAt = performance.now();
      await this.#coverPartitions();
    }
    this.#upTo ??= await this.#turns.begin();
    const outcome = this.#upTo === null ? null : await this.#repair(this.#upTo);
    if (outcome !== null && outcome.entries > 0) {
      this.#count(outcome);
      return;
    }
    if (outcome !== null) this.#endTurn();
    await this.#rest();
  }

  #count({ updated, entries, refused, ...rows }: RepairOutcome): void {
    const { copied, inserted, skipped, corrected } = this.#turn;
    this.#turn = {
      entries: this.#turn.entries + entries,
      refused: this.#turn.refused + refused,
      copied: copied + rows.copied + updated.copied,
      inserted: inserted + rows.inserted + updated.inserted,
      skipped: skipped + rows.skipped + updated.skipped,
      corrected: corrected + rows.corrected + updated.corrected,
    };
    this.options.onHealed?.(rows.inserted);
  }

  #endTurn(): void {
    this.#upTo = null;
    if (this.#turn.entries === 0) return;
    this.options.logger.info('ledger repaired', { ...this.#turn });
    this.options.onTurn?.(this.#turn);
    this.#turn = NOTHING_HEALED;
  }

  /** That a side is away is said once, until it answers again. */
  async #tellFailure(error: unknown): Promise<void> {
    const { signal, logger } = this.options;
    if (signal.aborted) return;
    const fields = { error: describeFault(error) };
    // Whoever follows the phase ends this.
    const isOver = error instanceof ConflictError;
    const away = !isOver && isPassing(error) ? await this.#findAway() : null;
    if (isOver) logger.debug('repair failed', fields);
    else if (away === null) logger.warn('repair failed, trying again later', fields);
    else if (away !== this.#away)
      logger.warn(`${sideTitle(away.side)} does not answer; what the ledger holds is repaired once it does`, fields);
    this.#away = away ?? this.#away;
  }

  async #findAway(): Promise<Database | null> {
    for (const side of [this.options.primary, this.options.secondary]) {
      const answers = await side.pool.query('select').then(
        () => true,
        () => false,
      );
      if (!answers) return side;
    }
    return null;
  }

  /** While the breaker is open and no batch comes along to probe, this does. */
  async #secondaryAnswers(): Promise<boolean> {
    const { breaker, secondary, logger } = this.options;
    if (breaker.state === 'closed') return true;
    if (!breaker.tryAcquire()) return false;
    try {
      await secondary.pool.query('select');
    } catch (error) {
      breaker.failed(describeFault(error));
      return false;
    }
    breaker.succeeded();
    this.#away = null;
    logger.info(`${sideTitle(secondary.side)} answers again`);
    return true;
  }

  /** Null where what it claimed was set aside: others go before it for a while. */
  async #repair(upTo: number): Promise<RepairOutcome | null> {
    const { rowsPerSecond, signal } = this.options;
    try {
      const wanted = {
        states: ['missed'],
        except: current(this.#setAside),
        exceptTables: current(this.#tablesAside),
        upTo,
      } as const;
      const outcome = await this.#parts.repair(wanted, signal);
      await pause(((outcome.copied + outcome.updated.copied) / rowsPerSecond) * 1000, signal);
      return outcome;
    } catch (error) {
      if (!this.#setsAside(error)) throw error;
      return null;
    }
  }

  /** True where the failure is of what was claimed. What somebody else holds locked is tried once more first: a frozen one was ended. */
  #setsAside(error: unknown): boolean {
    const { claim } = this.#parts;
    const locked = isLockTimeout(error) ? (claim?.ids[0] ?? null) : null;
    const culprit = locked !== null && locked === this.#locked ? 'entry' : culpritOf(error);
    this.#locked = locked;
    if (claim === null || culprit === null) return false;
    const until = performance.now() + SET_ASIDE_MS;
    if (culprit === 'table') this.#tablesAside.set(claim.table, until);
    else for (const id of claim.ids) this.#setAside.set(id, until);
    const fields = { table: claim.table, entries: claim.ids.length, error: describeFault(error) };
    this.options.logger.warn(`${culprit === 'table' ? 'this table' : 'these entries'} cannot be repaired now`, fields);
    return true;
  }

  async #rest(): Promise<void> {
    if (performance.now() - this.#buriedAt > BURY_MS) {
      this.#buriedAt = performance.now();
      await buryConsumers(this.options.primary, this.options.secondary);
      await this.#restorePolicies();
    }
    await pause(IDLE_MS, this.options.signal);
  }

  /** A role that does not own the table cannot: then `verify-schema` and the gates name the partition. */
  async #coverPartitions(): Promise<void> {
    const { primary, secondary, logger } = this.options;
    try {
      const tables = await coverNewPartitions({ primary, secondary });
      if (tables.length > 0) logger.info('new partitions are tracked, and are compared', { tables: tables.join(', ') });
    } catch (error) {
      if (!this.#partitionsFailed) logger.warn('new partitions are not tracked', { error: describeFault(error) });
      this.#partitionsFailed = true;
    }
  }

  /** Switches on again the policies that a crashed backfill has left paused. */
  async #restorePolicies(): Promise<void> {
    const { secondary, logger } = this.options;
    try {
      const jobs = await restoreAbandonedPolicies(secondary);
      if (jobs.length > 0) logger.info('policies that a crashed run had paused are on again', { jobs: jobs.length });
    } catch (error) {
      if (!this.#policiesFailed)
        logger.warn('policies that a backfill had paused may be off', { error: describeFault(error) });
      this.#policiesFailed = true;
    }
  }
}

/** Returns the keys that are still set aside, and forgets the rest. */
function current<Key>(aside: Map<Key, number>): Key[] {
  for (const [key, until] of aside) if (until < performance.now()) aside.delete(key);
  return [...aside.keys()];
}
