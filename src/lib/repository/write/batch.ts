import { parseTextArray } from '../../db/pg-internals.js';
import { READING_TABLES, type Reading, type ReadingTable } from '../../domain/reading.js';
import type { QuarantineRecord } from '../ledger/quarantine.js';
import { batchColumns } from './batch-sql.js';

/** The rows of one table that the primary accepted, a column an entry: as PostgreSQL's own array text, or as its items. */
export interface AcceptedRows {
  readonly table: ReadingTable;
  readonly readings: number;
  readonly columns: readonly (string | readonly (string | null)[])[];
}

/** A batch that the primary has committed. */
export interface CommittedBatch {
  /** Names the batch in the ledger; null where nothing of it goes to the secondary. */
  readonly batchId: string | null;
  /** Under which id the ledger knows who committed it. */
  readonly consumerId: string;
  /** Readings that the primary took. */
  readonly accepted: number;
  /** Readings whose key was there already: retransmissions and redeliveries. */
  readonly duplicates: number;
  /** Records that are in the quarantine now; `quarantinedAnew` messages were not there before. */
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

/** Cuts rows in two halves of about equal size. */
export function halveRows(rows: readonly AcceptedRows[]): [AcceptedRows[], AcceptedRows[]] {
  const middle = countReadings(rows) >> 1;
  return [sliceRows(rows, 0, middle), sliceRows(rows, middle, Infinity)];
}

/** The rows at these places, counted from 0. */
function pickRows(rows: AcceptedRows, places: readonly number[]): AcceptedRows {
  const columns = rows.columns.map((_, index) => {
    const items = columnItems(rows, index);
    return places.map((place) => items[place] ?? null);
  });
  return { table: rows.table, readings: places.length, columns };
}

export function countReadings(rows: readonly AcceptedRows[]): number {
  return rows.reduce((sum, each) => sum + each.readings, 0);
}

/** The items of one column. */
export function columnItems({ columns }: AcceptedRows, index: number): readonly (string | null)[] {
  const column = columns[index] ?? [];
  return typeof column === 'string' ? parseTextArray(column) : column;
}

/** Rows `from` to `to` of all tables counted through, as they stand in their order. */
function sliceRows(rows: readonly AcceptedRows[], from: number, to: number): AcceptedRows[] {
  const slices: AcceptedRows[] = [];
  let offset = 0;
  for (const each of rows) {
    const [first, last] = [Math.max(from - offset, 0), Math.min(to - offset, each.readings)];
    offset += each.readings;
    if (first >= last) continue;
    slices.push(
      pickRows(
        each,
        Array.from({ length: last - first }, (_, place) => first + place),
      ),
    );
  }
  return slices;
}
