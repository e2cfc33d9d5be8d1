import { parseTextArray } from '../../db/pg-internals.js';
import { countReadings, type Unit } from '../../domain/row.js';
import type { QuarantineRecord } from '../ledger/quarantine.js';
import { valueText } from '../tables/column-values.js';
import type { Table } from '../tables/table.js';
import type { Shape, Shapes } from './check-rows.js';

/** Rows of one shape as parameters: an array a column, and the number of each row's unit; null for those that stand alone. */
export interface PlannedRows {
  readonly shape: Shape;
  readonly columns: unknown[][];
  readonly units: (number | null)[];
}

/** The rows of one shape that the primary accepted, a column an entry: as PostgreSQL's own array text, or as its items. */
export interface AcceptedRows {
  readonly shape: Shape;
  /** The columns that the primary answered, in this order: those of the shape, and those that it filled by itself. */
  readonly names: readonly string[];
  readonly rows: number;
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

/** The rows of the units by their shapes, parents before children. Rows that no table takes have no place here. */
export function planRows(
  units: readonly Unit[],
  { shapes, tables }: { readonly shapes: Shapes; readonly tables: ReadonlyMap<string, Table> },
): PlannedRows[] {
  const planned = new Map<Shape, PlannedRows>();
  for (const [number, unit] of units.entries()) {
    const isTied = unit.rows.some(({ write = 'first' }) => write === 'first');
    for (const row of unit.rows) {
      const shape = shapes.shapeOf(row);
      if ('reason' in shape) throw new TypeError(`a row was not checked: ${shape.reason}`);
      const rows = planned.get(shape) ?? { shape, columns: shape.columns.map(() => []), units: [] };
      planned.set(shape, rows);
      for (const [place, column] of shapes.columnsOf(shape).entries()) {
        rows.columns[place]?.push(valueText(column, row.values[column.name]));
      }
      rows.units.push(isTied ? number : null);
    }
  }
  return sortByParents([...planned.values()], tables);
}

/** In one order for every batch, so that writers rarely deadlock: by depth below parents, then by name and columns. */
function sortByParents(planned: readonly PlannedRows[], tables: ReadonlyMap<string, Table>): PlannedRows[] {
  const byLabel = new Map([...tables.values()].map((table) => [table.label, table]));
  const depth = (label: string, seen: readonly string[]): number => {
    const parents = byLabel.get(label)?.parents ?? [];
    const above = [...byLabel.values()].filter(({ name, label: other }) =>
      parents.some(({ table }) => table.schema === name.schema && table.name === name.name && !seen.includes(other)),
    );
    return above.length === 0 ? 0 : 1 + Math.max(...above.map((each) => depth(each.label, [...seen, label])));
  };
  const rank = ({ shape }: PlannedRows): string =>
    [String(depth(shape.table, [shape.table])).padStart(4, '0'), shape.table, ...shape.columns].join('\0');
  return planned.toSorted((one, other) => (rank(one) < rank(other) ? -1 : 1));
}

/** How many readings the units hold. */
export function countAll(units: readonly Unit[]): number {
  return units.reduce((sum, unit) => sum + countReadings(unit), 0);
}

/** Cuts rows in two halves of about equal size. */
export function halveRows(rows: readonly AcceptedRows[]): [AcceptedRows[], AcceptedRows[]] {
  const middle = countRows(rows) >> 1;
  return [sliceRows(rows, 0, middle), sliceRows(rows, middle, Infinity)];
}

export function countRows(rows: readonly AcceptedRows[]): number {
  return rows.reduce((sum, each) => sum + each.rows, 0);
}

/** The items of one column. */
export function columnItems({ columns, names }: AcceptedRows, name: string): readonly (string | null)[] {
  const column = columns[names.indexOf(name)] ?? [];
  return typeof column === 'string' ? parseTextArray(column) : column;
}

/** The rows at these places, counted from 0. */
function pickRows(rows: AcceptedRows, places: readonly number[]): AcceptedRows {
  const columns = rows.names.map((name) => {
    const items = columnItems(rows, name);
    return places.map((place) => items[place] ?? null);
  });
  return { ...rows, rows: places.length, columns };
}

/** Rows `from` to `to` of all tables counted through, as they stand in their order. */
function sliceRows(rows: readonly AcceptedRows[], from: number, to: number): AcceptedRows[] {
  const slices: AcceptedRows[] = [];
  let offset = 0;
  for (const each of rows) {
    const [first, last] = [Math.max(from - offset, 0), Math.min(to - offset, each.rows)];
    offset += each.rows;
    if (first >= last) continue;
    const places = Array.from({ length: last - first }, (_, place) => first + place);
    slices.push(pickRows(each, places));
  }
  return slices;
}
