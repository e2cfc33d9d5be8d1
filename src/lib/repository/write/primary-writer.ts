import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { repeatCollisions, prepareStatement, runTransaction, type Statement } from '../../db/transaction.js';
import type { Reading, ReadingTable } from '../../domain/reading.js';
import type { WriteMode } from '../../domain/side.js';
import { columnArrays, tablesOf, type AcceptedRows, type CommittedBatch } from './batch.js';
import { batchColumns, primaryBatchSql, statementName } from './batch-sql.js';
import { Division, mayBeTheData, type WriteRequest } from './division.js';
import { assertPrimary } from '../phase/fence.js';
import { keepQuarantineRecords } from '../ledger/quarantine.js';

export interface PrimaryWriterOptions {
  readonly primary: Database;
  readonly consumerId: string;
  readonly writeMode: WriteMode;
  /** The epoch whose roles the writer follows; in any other the primary refuses the batch. */
  readonly epoch: number;
  /** Batch ids that are being written or sent; an id is here before the ledger can hold it. */
  readonly held: Set<string>;
}

/** Why the ledger has what only the primary is to take. */
const MISSED_ON_PURPOSE: Readonly<Record<WriteMode, string | null>> = {
  'dual-write': null,
  'local-only': 'dual write was off',
  'ec2-only': 'local was not kept current',
  draining: null,
};

/**
 * Commits readings, registry, ledger entry and quarantine records on the primary, in one transaction. Where this fails
 * for what the request holds it is divided (`Division`), so that it may become several batches. Throws when the primary
 * is not available, or not the primary in this epoch; then nothing may be acknowledged.
 */
export async function writeToPrimary(request: WriteRequest, options: PrimaryWriterOptions): Promise<CommittedBatch[]> {
  const commitPart = (part: WriteRequest): Promise<CommittedBatch> => repeatCollisions(() => commit(part, options));
  try {
    return [await commitPart(request)];
  } catch (error) {
    if (!mayBeTheData(error)) throw error;
    const { side } = options.primary;
    const division = new Division(request, {
      side,
      commitPart,
      assertSendable: (table) => assertSendable(table, options),
    });
    try {
      return await division.run(error);
    } catch (laterError) {
      // The caller will never hear of what was committed: nobody holds it, and `markUnclaimed` enters it as missed.
      for (const { batchId } of division.batches) options.held.delete(batchId ?? '');
      throw laterError;
    }
  }
}

/** Throws where not even a reading without a fault could be sent: then the fault is ours, not that of any reading. */
function assertSendable(table: ReadingTable, options: PrimaryWriterOptions): void {
  const reading = { table, time: '2000-01-01T00:00:00.000000Z', sensorId: 'any', sensorType: 'any', values: {} };
  prepareStatement(insertReadings(randomUUID(), [reading], options));
}

async function commit(request: WriteRequest, options: PrimaryWriterOptions): Promise<CommittedBatch> {
  const { readings, rejects } = request;
  const batchId = randomUUID();
  options.held.add(batchId);
  try {
    const fence = assertPrimary(options.primary.side, options.epoch);
    const results = await runTransaction(options.primary.pool, [
      ...fence,
      ...(readings.length === 0 ? [] : [insertReadings(batchId, readings, options)]),
      ...(rejects.length === 0 ? [] : [keepQuarantineRecords(rejects)]),
    ]);
    const rows = readings.length === 0 ? [] : (results[fence.length]?.rows ?? []).map((row) => acceptedRows(row));
    const kept = rejects.length === 0 ? [] : (results.at(-1)?.rows ?? []);
    const quarantinedAnew = kept.filter(({ anew }) => anew === true).length;
    return committedBatch(batchId, request, { rows, quarantinedAnew }, options);
  } catch (error) {
    // Did it commit? If its answer was lost, the ledger holds an entry that nobody holds: `markUnclaimed` finds it.
    options.held.delete(batchId);
    throw error;
  }
}

function insertReadings(batchId: string, readings: readonly Reading[], options: PrimaryWriterOptions): Statement {
  const tables = tablesOf(readings);
  const reason = MISSED_ON_PURPOSE[options.writeMode];
  const ledger = [reason === null ? 'pending' : 'missed', reason];
  return {
    name: statementName('primary', tables),
    text: primaryBatchSql(tables),
    values: [batchId, options.consumerId, ...ledger, ...tables.flatMap((table) => columnArrays(table, readings))],
  };
}

function acceptedRows(row: Record<string, unknown>): AcceptedRows {
  const table = row.table_name as ReadingTable;
  const columns = batchColumns(table).map((_, index) => row[`column_${index}`] as string);
  return { table, readings: row.readings as number, columns };
}

function committedBatch(
  batchId: string,
  request: WriteRequest,
  answer: { rows: readonly AcceptedRows[]; quarantinedAnew: number },
  { writeMode, held, consumerId }: PrimaryWriterOptions,
): CommittedBatch {
  const taken = answer.rows.filter((each) => each.readings > 0);
  const accepted = taken.reduce((sum, each) => sum + each.readings, 0);
  const rows = writeMode === 'dual-write' ? taken : [];
  if (rows.length === 0) held.delete(batchId);
  return {
    batchId: rows.length === 0 ? null : batchId,
    consumerId,
    accepted,
    refused: request.readings.length - accepted,
    quarantined: request.rejects,
    quarantinedAnew: answer.quarantinedAnew,
    rows,
    bytes: rows.reduce((sum, each) => sum + each.columns.reduce((size, column) => size + column.length, 0), 0),
  };
}
