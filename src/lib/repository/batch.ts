import { READING_TABLES, type Reading, type ReadingTable } from '../domain/reading.js';
import type { QuarantineRecord } from './quarantine.js';
import { batchColumns } from './batch-sql.js';

/** The rows of one table that the primary accepted, as PostgreSQL's own array text, a column an entry. */
export interface AcceptedRows {
  readonly table: ReadingTable;
  readonly readings: number;
  readonly columns: readonly string[];
}

/** A batch that the primary has committed. */
export interface CommittedBatch {
  /** Names the batch in the ledger; null where nothing of it goes to the secondary. */
  readonly batchId: string | null;
  /** Readings that the primary took. */
  readonly accepted: number;
  /** Readings whose key was there already: retransmissions and redeliveries. */
  readonly refused: number;
  /** Records that are in the quarantine now; `quarantinedAnew` of them were not there before. */
  readonly quarantined: readonly QuarantineRecord[];
  readonly quarantinedAnew: number;
  /** Exactly what the secondary is to receive. */
  readonly rows: readonly AcceptedRows[];
  /** Memory that `rows` holds, in bytes. */
  readonly bytes: number;
}

/** The tables of these readings, in the one order in which every statement takes them. */
export function tablesOf(readings: readonly Reading[]): ReadingTable[] {
  const present = new Set(readings.map((reading) => reading.table));
  return READING_TABLES.filter((table) => present.has(table));
}

/** The readings of one table as an array a column, in the order of `batchColumns`. */
export function columnArrays(table: ReadingTable, readings: readonly Reading[]): unknown[][] {
  const rows = readings.filter((reading) => reading.table === table);
  return batchColumns(table).map((column) => {
    if (column === 'time') return rows.map((reading) => reading.time);
    if (column === 'sensor_id') return rows.map((reading) => reading.sensorId);
    return rows.map((reading) => reading.values[column] ?? null);
  });
}
