import { faultKind, isDoubtful } from '../../db/sqlstate.js';
import { pause } from '../../domain/async.js';
import type { Reading, ReadingTable } from '../../domain/reading.js';
import { backoff, pollUntil } from '../../domain/retry.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';
import { leavesNoRole, type MigratingRepository } from '../../repository/migrating-repository.js';
import type { CommittedBatch } from '../../repository/write/batch.js';
import { rejectedBy, type Doubt } from '../../repository/write/divide-batch.js';
import type { ReceiveGate } from './receive-gate.js';

/** Readings that failed alone while others were stored, with their last error. */
export type Suspects = Map<Reading, unknown>;

const PAUSE = backoff(500, 10_000);
/** A reading that so often fails alone, while another one is stored each time, is what is at fault. */
const FAILURES_ALONE = 5;

/** Tells trouble of the primary from that of a reading: a reading is at fault where others are stored meanwhile. */
export class FailingReadings {
  /** The last reading of each table that was stored: written again it changes nothing, and shows that the primary writes. */
  readonly #stored = new Map<ReadingTable, Reading>();

  constructor(
    private readonly repository: MigratingRepository,
    private readonly gate: ReceiveGate,
    private readonly stop: AbortSignal,
  ) {}

  /** What the division of a batch asks while it fails; readings that may be at fault are added to `suspects`. */
  doubtOf(batch: object, suspects: Suspects): Doubt {
    return {
      failed: () => this.gate.report(batch, 'ajar'),
      canStoreOthers: (table) => this.#canStoreOthers(table),
      setAside: (reading, error) => suspects.set(reading, error),
    };
  }

  /** Takes note of readings that were stored. */
  noteStored(readings: readonly Reading[]): void {
    for (const reading of readings) this.#stored.set(reading.table, reading);
    if (readings.length > 0) this.gate.trust();
  }

  /**
   * Tries each suspect again by itself, others stored in between, until it is stored or was at fault too often: then it
   * is for the quarantine. Null where the consumer was told to stop; the batches that were stored are on their way then.
   */
  async retry(suspects: Suspects): Promise<{ batches: CommittedBatch[]; rejects: QuarantineRecord[] } | null> {
    const batches: CommittedBatch[] = [];
    const rejects: QuarantineRecord[] = [];
    const failures = new Map([...suspects].map(([reading]) => [reading, 1]));
    const retryEach = async (): Promise<true | null> => {
      for (const [reading, count] of failures) {
        const error = await this.#writeAlone(reading, batches);
        if (error === null) failures.delete(reading);
        // Otherwise it is the primary that may be in trouble, and nothing is held against the reading.
        else if (isDoubtful(error) && (await this.#canStoreOthers(reading.table))) failures.set(reading, count + 1);
        if ((failures.get(reading) ?? 0) < FAILURES_ALONE) continue;
        failures.delete(reading);
        rejects.push(rejectedBy(this.repository.roles.primary, reading, error));
      }
      return failures.size === 0 ? true : null;
    };
    await pause(PAUSE(1), this.stop);
    const done = await pollUntil(retryEach, { everyMs: (asked) => PAUSE(asked + 1), signal: this.stop });
    if (done !== null) return { batches, rejects };
    for (const batch of batches) this.repository.current.secondary?.enqueue(batch);
    return null;
  }

  /** Whether the primary stores a reading of the table, one that it should hold already. */
  async #canStoreOthers(table: ReadingTable): Promise<boolean> {
    const reading = this.#stored.get(table);
    if (reading === undefined) return false;
    const batches: CommittedBatch[] = [];
    const error = await this.#writeAlone(reading, batches);
    for (const batch of batches) this.repository.current.secondary?.enqueue(batch);
    const isStored = batches.some(({ accepted, duplicates }) => accepted + duplicates > 0);
    if (error === null && !isStored) this.#stored.delete(table);
    return isStored;
  }

  /** The error where it is not stored; what it became is added to `batches`. */
  async #writeAlone(reading: Reading, batches: CommittedBatch[]): Promise<unknown> {
    const { repository, stop } = this;
    try {
      repository.ended.throwIfAborted();
      batches.push(...(await repository.current.primary.write({ readings: [reading], rejects: [] })));
      return null;
    } catch (error) {
      if (leavesNoRole(error)) throw error;
      if (faultKind(error) === 'fenced') await repository.follow(stop);
      return error;
    }
  }
}
