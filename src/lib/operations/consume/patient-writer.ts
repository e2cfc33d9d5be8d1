import { describeFault, faultKind, isDoubtful, sqlstateOf } from '../../db/sqlstate.js';
import { backoffMs, pause } from '../../domain/async.js';
import type { Reading, ReadingTable } from '../../domain/reading.js';
import type { Logger } from '../../logger.js';
import type { CommittedBatch } from '../../repository/write/batch.js';
import { refusedBy, type WriteRequest } from '../../repository/write/division.js';
import { leavesNoRole, type MigratingRepository } from '../../repository/migrating-repository.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';
import type { PrimaryGate } from './primary-gate.js';

export interface PatientWriterOptions {
  readonly repository: MigratingRepository;
  readonly gate: PrimaryGate;
  readonly logger: Logger;
  readonly stop: AbortSignal;
}

/** Readings that failed alone while others were stored, with their last error. */
export type Suspects = ReadonlyMap<Reading, unknown>;

const RETRY_MS = 500;
const RETRY_LIMIT_MS = 10_000;
/** A reading that so often fails alone, while another one is stored each time, is what is at fault. */
const FAILURES_ALONE = 5;
/** Tries after which an error of our own, which no other batch disproves, is a defect. */
const TRIES_OF_A_DEFECT = 6;

/** Writes to the primary and waits trouble out; tells trouble of the primary from that of a reading. */
export class PatientWriter {
  /** The last reading of each table that was stored: written again it changes nothing, and shows that the primary writes. */
  readonly #stored = new Map<ReadingTable, Reading>();

  constructor(private readonly options: PatientWriterOptions) {}

  /** `batches` are null where the consumer was told to stop meanwhile: the messages come again. */
  async write(request: WriteRequest): Promise<{ batches: CommittedBatch[] | null; suspects: Suspects }> {
    const suspects = new Map<Reading, unknown>();
    const batches = await this.#writeUntilStored(request, suspects);
    if (batches !== null) this.#remember(request.readings.filter((reading) => !suspects.has(reading)));
    return { batches, suspects };
  }

  /**
   * Tries each of these again by itself, others stored in between, until it is stored or was at fault too often: then it
   * goes to the quarantine. Null where the consumer was told to stop.
   */
  async writeSuspects(suspects: Suspects): Promise<CommittedBatch[] | null> {
    const { stop, repository } = this.options;
    const batches: CommittedBatch[] = [];
    const refused: QuarantineRecord[] = [];
    const failures = new Map([...suspects].map(([reading]) => [reading, 1]));
    for (let round = 1; failures.size > 0; round += 1) {
      await pause(backoffMs(round, RETRY_MS, RETRY_LIMIT_MS), stop);
      if (stop.aborted) {
        for (const batch of batches) repository.dispatch(batch);
        return null;
      }
      for (const [reading, count] of failures) {
        const error = await this.#writeAlone(reading, batches);
        if (error === null) failures.delete(reading);
        // Otherwise it is the primary that may be in trouble, and nothing is held against the reading.
        else if (isDoubtful(error) && (await this.canStoreOthers(reading.table))) failures.set(reading, count + 1);
        if ((failures.get(reading) ?? 0) < FAILURES_ALONE) continue;
        failures.delete(reading);
        refused.push(refusedBy(repository.primarySide, reading, error));
      }
    }
    if (refused.length === 0) return batches;
    const kept = await this.write({ readings: [], rejects: refused });
    return kept.batches && [...batches, ...kept.batches];
  }

  /** Whether the primary stores a reading of the table, one that it should hold already. */
  async canStoreOthers(table: ReadingTable): Promise<boolean> {
    const reading = this.#stored.get(table);
    if (reading === undefined) return false;
    const batches: CommittedBatch[] = [];
    const error = await this.#writeAlone(reading, batches);
    for (const batch of batches) this.options.repository.dispatch(batch);
    const isStored = batches.some(({ accepted, refused }) => accepted + refused > 0);
    if (error === null && !isStored) this.#stored.delete(table);
    return isStored;
  }

  #remember(readings: readonly Reading[]): void {
    for (const reading of readings) this.#stored.set(reading.table, reading);
    if (readings.length > 0) this.options.gate.trust();
  }

  /** The error where it is not stored; what it became is added to `batches`. */
  async #writeAlone(reading: Reading, batches: CommittedBatch[]): Promise<unknown> {
    const { repository, stop } = this.options;
    try {
      batches.push(...(await repository.writeBatch({ readings: [reading], rejects: [] })));
      return null;
    } catch (error) {
      if (leavesNoRole(error)) throw error;
      if (faultKind(error) === 'fenced') await repository.follow(stop);
      return error;
    }
  }

  async #writeUntilStored(request: WriteRequest, suspects: Map<Reading, unknown>): Promise<CommittedBatch[] | null> {
    const { repository, gate, stop } = this.options;
    const doubt = {
      failed: () => gate.report(request, 'ajar'),
      canStoreOthers: (table: ReadingTable) => this.canStoreOthers(table),
      setAside: (reading: Reading, error: unknown) => suspects.set(reading, error),
    };
    try {
      for (let attempt = 1; ; attempt += 1) {
        suspects.clear();
        try {
          if (attempt > 1) await repository.follow(stop);
          return await repository.writeBatch({ ...request, doubt });
        } catch (error) {
          if (isFinal(error, attempt)) throw error;
          gate.report(request, isDoubtful(error) ? 'ajar' : 'closed');
          if (faultKind(error) !== 'fenced') await this.#pause(attempt, error);
        }
        if (stop.aborted) return null;
      }
    } finally {
      gate.report(request, null);
    }
  }

  async #pause(attempt: number, error: unknown): Promise<void> {
    const { repository, logger, stop } = this.options;
    const pauseMs = backoffMs(attempt, RETRY_MS, RETRY_LIMIT_MS);
    const fields = { attempt, pauseMs: Math.round(pauseMs), error: describeFault(error) };
    logger.error(`${repository.primarySide} write failed; nothing is acknowledged, receiving pauses`, fields);
    await pause(pauseMs, stop);
  }
}

/** A wrong statement is wrong for every batch; what our code throws may be for this one. */
function isFinal(error: unknown, attempt: number): boolean {
  if (leavesNoRole(error)) return true;
  return faultKind(error) === 'defect' && (sqlstateOf(error) !== undefined || attempt >= TRIES_OF_A_DEFECT);
}
