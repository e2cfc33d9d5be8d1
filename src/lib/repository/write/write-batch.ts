import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { repeatCollisions, prepareStatement, runTransaction, type Statement } from '../../db/transaction.js';
import type { Reading, ReadingTable } from '../../domain/reading.js';
import { sideTitleCapitalized, type WriteMode } from '../../domain/side.js';
import type { Logger } from '../../logger.js';
import { countFaults, keepQuarantineRecords } from '../ledger/quarantine.js';
import { assertPrimary } from '../phase/fence.js';
import { WrittenTables, type SideTables } from '../tables/written-tables.js';
import { columnArrays, tablesOf, type AcceptedRows, type CommittedBatch } from './batch.js';
import { batchColumns, primaryBatchSql, statementName } from './batch-sql.js';
import type { ConsumerSession } from './consumer-session.js';
import { Division, mayBeTheData, type WriteRequest } from './divide-batch.js';
import type { WriteMeter } from './write-meter.js';

export interface PrimaryWriterOptions {
  readonly primary: Database;
  readonly session: ConsumerSession;
  readonly writeMode: WriteMode;
  readonly meter: WriteMeter;
  readonly logger: Logger;
}

/** Why the ledger has what only the primary is to take. */
const MISSED_ON_PURPOSE: Readonly<Record<WriteMode, string | null>> = {
  'dual-write': null,
  'local-only': 'dual write was off',
  'ec2-only': 'local was not kept current',
  draining: null,
};

/** Commits batches on the primary, each with its ledger entry, for the consumer of the session. */
export class PrimaryWriter {
  readonly #options: PrimaryWriterOptions;
  readonly #tables: WrittenTables;
  #epoch: number;

  /** `epoch` is the one whose roles are followed; in any other the primary refuses the batch. */
  constructor(options: PrimaryWriterOptions, epoch: number) {
    this.#options = options;
    this.#tables = new WrittenTables(options.primary);
    this.#epoch = epoch;
  }

  get database(): Database {
    return this.#options.primary;
  }

  /** Goes on in an epoch that has the same roles. */
  enterEpoch(epoch: number): void {
    this.#epoch = epoch;
  }

  /**
   * Commits readings, registry, ledger entry and quarantine records in one transaction, and says what the primary accepted.
   * Where it fails for what the request holds it is divided (`Division`), so that it may become several batches. Throws when
   * the primary is not available, or (fault kind `fenced`) not the primary in this epoch: then acknowledge nothing.
   */
  async write(request: WriteRequest): Promise<CommittedBatch[]> {
    const { session, primary, meter, logger } = this.#options;
    session.assertFit();
    const { side } = primary;
    const startedAt = performance.now();
    const batches = await this.#commitOrDivide(request).catch((error: unknown) => {
      if (faultKind(error) !== 'fenced') meter.failed(side, describeFault(error));
      throw error;
    });
    const tookMs = performance.now() - startedAt;
    const readings = batches.reduce((sum, { accepted }) => sum + accepted, 0);
    meter.written(side, tookMs, readings, true);
    for (const { batchId, accepted, duplicates, quarantined } of batches) {
      logger.info(`${sideTitleCapitalized(side)} write successful`, {
        batch: batchId ?? undefined,
        readings: accepted,
        refused: duplicates,
        quarantined: countFaults(quarantined),
        ms: Math.round(tookMs),
      });
    }
    return batches;
  }

  async #commitOrDivide(request: WriteRequest): Promise<CommittedBatch[]> {
    const commitPart = (part: WriteRequest): Promise<CommittedBatch> => repeatCollisions(() => this.#commit(part));
    try {
      return [await commitPart(request)];
    } catch (error) {
      if (!mayBeTheData(error)) throw error;
      const { primary, session } = this.#options;
      const assertSendable = (table: ReadingTable): void => this.#assertSendable(table);
      const division = new Division(request, { side: primary.side, commitPart, assertSendable });
      try {
        return await division.run(error);
      } catch (laterError) {
        // The caller will never hear of what was committed: nobody holds it, and `markUnclaimed` enters it as missed.
        for (const { batchId } of division.batches) session.inFlight.delete(batchId ?? '');
        throw laterError;
      }
    }
  }

  async #commit(request: WriteRequest): Promise<CommittedBatch> {
    const { primary, session, writeMode } = this.#options;
    const { readings, rejects } = request;
    const batch = { batchId: randomUUID(), consumerId: session.consumerId, writeMode };
    session.inFlight.add(batch.batchId);
    try {
      const tables = await this.#tables.read();
      const fence = assertPrimary(primary.side, this.#epoch);
      const results = await runTransaction(primary.pool, [
        ...fence,
        ...(readings.length === 0 ? [] : [insertReadings(batch, readings, tables)]),
        ...(rejects.length === 0 ? [] : [keepQuarantineRecords(rejects)]),
      ]);
      const rows = readings.length === 0 ? [] : (results[fence.length]?.rows ?? []).map((row) => acceptedRows(row));
      const kept = rejects.length === 0 ? [] : (results.at(-1)?.rows ?? []);
      const quarantinedAnew = kept.filter(({ anew }) => anew === true).length;
      const committed = committedBatch(batch, request, { rows, quarantinedAnew });
      if (committed.batchId === null) session.inFlight.delete(batch.batchId);
      return committed;
    } catch (error) {
      // Did it commit? If its answer was lost, the ledger holds an entry that nobody holds: `markUnclaimed` finds it.
      session.inFlight.delete(batch.batchId);
      if (faultKind(error) === 'misconfigured') this.#tables.forget();
      throw error;
    }
  }

  /** Throws where not even a reading without a fault could be sent: then the fault is ours, not that of any reading. */
  #assertSendable(table: ReadingTable): void {
    const { session, writeMode } = this.#options;
    const batch = { batchId: randomUUID(), consumerId: session.consumerId, writeMode };
    const reading = { table, time: '2000-01-01T00:00:00.000000Z', sensorId: 'any', sensorType: 'any', values: {} };
    prepareStatement({ text: '', values: batchValues(batch, [reading]) });
  }
}

/** What names a batch in the ledger. */
interface BatchIdentity {
  readonly batchId: string;
  readonly consumerId: string;
  readonly writeMode: WriteMode;
}

function insertReadings(batch: BatchIdentity, readings: readonly Reading[], on: SideTables): Statement {
  const tables = { names: tablesOf(readings), on };
  const values = batchValues(batch, readings);
  return { name: statementName('primary', tables), text: primaryBatchSql(tables), values };
}

function batchValues({ batchId, consumerId, writeMode }: BatchIdentity, readings: readonly Reading[]): unknown[] {
  const reason = MISSED_ON_PURPOSE[writeMode];
  const ledger = [reason === null ? 'pending' : 'missed', reason];
  return [batchId, consumerId, ...ledger, ...tablesOf(readings).flatMap((table) => columnArrays(table, readings))];
}

function acceptedRows(row: Record<string, unknown>): AcceptedRows {
  const table = row.table_name as ReadingTable;
  const columns = batchColumns(table).map((_, index) => row[`column_${index}`] as string);
  return { table, readings: row.readings as number, columns };
}

function committedBatch(
  { batchId, consumerId, writeMode }: BatchIdentity,
  request: WriteRequest,
  answer: { rows: readonly AcceptedRows[]; quarantinedAnew: number },
): CommittedBatch {
  const taken = answer.rows.filter((each) => each.readings > 0);
  const accepted = taken.reduce((sum, each) => sum + each.readings, 0);
  const rows = writeMode === 'dual-write' ? taken : [];
  return {
    batchId: rows.length === 0 ? null : batchId,
    consumerId,
    accepted,
    duplicates: request.readings.length - accepted,
    quarantined: request.rejects,
    quarantinedAnew: answer.quarantinedAnew,
    rows,
    bytes: rows.reduce((sum, each) => sum + each.columns.reduce((size, column) => size + column.length, 0), 0),
  };
}
