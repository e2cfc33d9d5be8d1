import { randomUUID } from 'node:crypto';
import type { Database } from '../db/database.js';
import { describeFault, faultKind, sqlstateOf } from '../db/sqlstate.js';
import { repeatCollisions, runTransaction, type Statement } from '../db/transaction.js';
import type { Reading, ReadingTable } from '../domain/reading.js';
import type { WriteMode } from '../domain/side.js';
import { columnArrays, tablesOf, type AcceptedRows, type CommittedBatch } from './batch.js';
import { batchColumns, primaryBatchSql, statementName } from './batch-sql.js';
import { fitsColumns } from './column-limits.js';
import { assertPrimary } from './migration/fence.js';
import { insertQuarantineRecords, refusedReading, type QuarantineRecord } from './quarantine.js';

/** Readings to be stored, and what is known not to be storable. */
export interface WriteRequest {
  readonly readings: readonly Reading[];
  readonly rejects: readonly QuarantineRecord[];
}

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
 * Commits readings, registry, ledger entry and quarantine records on the primary, in one transaction.
 * Where the database refuses a reading the batch is split until the culprit stands alone and is quarantined; so one
 * request may become several batches. Throws when the primary is not available, or not the primary in this epoch; then
 * nothing may be acknowledged.
 */
export async function writeToPrimary(request: WriteRequest, options: PrimaryWriterOptions): Promise<CommittedBatch[]> {
  try {
    return [await repeatCollisions(() => commit(request, options))];
  } catch (error) {
    const { readings, rejects } = request;
    if (faultKind(error) !== 'refused' || readings.length === 0) throw error;
    const [only] = readings;
    if (only !== undefined && readings.length === 1) {
      const refusal = { side: options.primary.side, reason: describeFault(error), sqlstate: sqlstateOf(error) ?? null };
      return await writeToPrimary({ readings: [], rejects: [...rejects, refusedReading(only, refusal)] }, options);
    }
    const [likely, unlikely] = splitRefused(readings);
    const first = await writeToPrimary({ readings: likely, rejects }, options);
    try {
      return [...first, ...(await writeToPrimary({ readings: unlikely, rejects: [] }, options))];
    } catch (secondError) {
      // The caller will never hear of the first part: nobody holds it, and `markUnclaimed` enters it as missed.
      for (const { batchId } of first) options.held.delete(batchId ?? '');
      throw secondError;
    }
  }
}

/** Sets those apart that look too large for their columns; where none or all of them do, halves. */
function splitRefused(readings: readonly Reading[]): [readonly Reading[], readonly Reading[]] {
  const fitting = readings.filter((reading) => fitsColumns(reading));
  if (fitting.length > 0 && fitting.length < readings.length) {
    return [fitting, readings.filter((reading) => !fitsColumns(reading))];
  }
  const middle = readings.length >> 1;
  return [readings.slice(0, middle), readings.slice(middle)];
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
      ...(rejects.length === 0 ? [] : [insertQuarantineRecords(rejects)]),
    ]);
    const rows = readings.length === 0 ? [] : (results[fence.length]?.rows ?? []).map((row) => acceptedRows(row));
    const quarantinedAnew = rejects.length === 0 ? 0 : (results.at(-1)?.rowCount ?? 0);
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
