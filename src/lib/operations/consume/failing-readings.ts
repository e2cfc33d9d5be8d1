import { faultKind, isDoubtful } from '../../db/sqlstate.js';
import { pause } from '../../domain/async.js';
import { backoff, pollUntil } from '../../domain/retry.js';
import type { Unit } from '../../domain/row.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';
import { leavesNoRole, type MigratingRepository } from '../../repository/migrating-repository.js';
import type { CommittedBatch } from '../../repository/write/batch.js';
import { rejectedBy, type Doubt } from '../../repository/write/divide-batch.js';
import type { ReceiveGate } from './receive-gate.js';

/** Units of rows that failed alone while others were stored, with their last error. */
export type Suspects = Map<Unit, unknown>;

const PAUSE = backoff(500, 10_000);
/** What so often fails alone, while another one is stored each time, is at fault. */
const FAILURES_ALONE = 5;

/** Kinds of units that are remembered, at most. */
const MOST_KINDS = 1_000;

function tablesOf({ rows }: Unit): string {
  return [...new Set(rows.map(({ table }) => table))].sort().join('\0');
}

/** Tells trouble of the primary from that of rows: a unit is at fault where others are stored meanwhile. */
export class FailingReadings {
  /** The last unit of the same tables that was stored: written again it changes nothing, and shows that the primary writes. */
  readonly #stored = new Map<string, Unit>();

  constructor(
    private readonly repository: MigratingRepository,
    private readonly gate: ReceiveGate,
    private readonly stop: AbortSignal,
  ) {}

  /** Answers the division of a batch while it fails; readings that may be at fault are added to `suspects`. */
  doubtOf(batch: object, suspects: Suspects): Doubt {
    return {
      failed: () => this.gate.report(batch, 'ajar'),
      canStoreOthers: (unit) => this.#canStoreOthers(unit),
      setAside: (unit, error) => suspects.set(unit, error),
    };
  }

  /** Takes note of units that were stored. */
  noteStored(units: readonly Unit[]): void {
    for (const unit of units) this.#stored.set(tablesOf(unit), unit);
    if (this.#stored.size > MOST_KINDS) this.#stored.clear();
    if (units.length > 0) this.gate.trust();
  }

  /**
   * Tries each suspect again by itself, others stored in between, until it is stored or was at fault too often: then it
   * is for the quarantine. Null where the consumer was told to stop; the batches that were stored are on their way then.
   */
  async retry(suspects: Suspects): Promise<{ batches: CommittedBatch[]; rejects: QuarantineRecord[] } | null> {
    const batches: CommittedBatch[] = [];
    const rejects: QuarantineRecord[] = [];
    const failures = new Map([...suspects].map(([unit]) => [unit, 1]));
    const retryEach = async (): Promise<true | null> => {
      for (const [unit, count] of failures) {
        const error = await this.#writeAlone(unit, batches);
        if (error === null) failures.delete(unit);
        // Otherwise it is the primary that may be in trouble, and nothing is held against the reading.
        else if (isDoubtful(error) && (await this.#canStoreOthers(unit))) failures.set(unit, count + 1);
        if ((failures.get(unit) ?? 0) < FAILURES_ALONE) continue;
        failures.delete(unit);
        rejects.push(rejectedBy(this.repository.roles.primary, unit, error));
      }
      return failures.size === 0 ? true : null;
    };
    await pause(PAUSE(1), this.stop);
    const done = await pollUntil(retryEach, { everyMs: (asked) => PAUSE(asked + 1), signal: this.stop });
    if (done !== null) return { batches, rejects };
    for (const batch of batches) this.repository.current.secondary?.enqueue(batch);
    return null;
  }

  /** Whether the primary stores a unit of the same tables, one that it should hold already. */
  async #canStoreOthers(like: Unit): Promise<boolean> {
    const unit = this.#stored.get(tablesOf(like));
    if (unit === undefined) return false;
    const batches: CommittedBatch[] = [];
    const error = await this.#writeAlone(unit, batches);
    for (const batch of batches) this.repository.current.secondary?.enqueue(batch);
    const isStored = batches.some(({ accepted, duplicates }) => accepted + duplicates > 0);
    if (error === null && !isStored) this.#stored.delete(tablesOf(like));
    return isStored;
  }

  /** The error where it is not stored; what it became is added to `batches`. */
  async #writeAlone(unit: Unit, batches: CommittedBatch[]): Promise<unknown> {
    const { repository, stop } = this;
    try {
      repository.ended.throwIfAborted();
      batches.push(...(await repository.current.primary.write({ units: [unit], rejects: [] })));
      return null;
    } catch (error) {
      if (leavesNoRole(error)) throw error;
      if (faultKind(error) === 'fenced') await repository.follow(stop);
      return error;
    }
  }
}
