import { isDeepStrictEqual } from 'node:util';
import type { DeclaredTables, Row, Unit, WriteRule } from '../../domain/row.js';
import { didYouMean } from '../../domain/words.js';
import { filledColumns, isSpanned, valueProblem } from '../tables/column-values.js';
import { columnOf, type Column, type Table, type UniqueKey } from '../tables/table.js';

/** What a row is written by: rows of one shape go to the server together. */
export interface Shape {
  /** How the ledger names the table. */
  readonly table: string;
  readonly columns: readonly string[];
  /** What tells rows apart: a unique key of the table. */
  readonly key: readonly string[];
  readonly rule: WriteRule;
  /** Of rows that are kept newest: columns that the primary fills by itself, each time otherwise, where the row is new. */
  readonly filled: readonly string[];
  /** The column by whose places the ledger knows rows; null where it knows them by their keys. */
  readonly axis: string | null;
}

/** Why no row like one can be written. */
export interface ShapeProblem {
  readonly reason: string;
  /** It lies with the table; else with the row, be the table as it may. */
  readonly isOfTable: boolean;
}

/** A unit whose rows no table takes as they are. */
export interface UnfitUnit {
  readonly unit: Unit;
  readonly row: Row;
  readonly reason: string;
  /** The table takes none of the rows that name the same columns. */
  readonly isOfTable: boolean;
}

/** Knows the shapes of rows by the catalogs of a side, and says of each row why it cannot be written. */
export class Shapes {
  readonly #known = new Map<string, Shape | ShapeProblem>();
  /** The columns of the rows of a table that are kept newest. */
  readonly #newest = new Map<string, string>();
  readonly #columns = new Map<Shape, readonly Column[]>();

  constructor(
    private readonly tables: ReadonlyMap<string, Table>,
    private readonly declared: DeclaredTables,
  ) {}

  /** The shape of a row, or what stands in the way of every row like it. */
  shapeOf(row: Row): Shape | ShapeProblem {
    const rule = row.write ?? 'first';
    const kind = rule === 'first' ? '' : `${rule.newestBy}\0${rule.parts?.join('\0') ?? ''}`;
    const name = `${row.table}\0\0${Object.keys(row.values).join('\0')}\0\0${kind}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const found = this.#find(row, rule);
    // Names come from messages: so many of them are no set of shapes that a decoder means.
    if (this.#known.size < MOST_SHAPES) this.#known.set(name, found);
    return found;
  }

  /** What the catalogs say of the columns of a shape, in its order. */
  columnsOf(shape: Shape): readonly Column[] {
    return this.#columns.get(shape) ?? [];
  }

  /** The first row of the unit that cannot be written, and why; null where the server has to say. */
  findUnfit(unit: Unit): UnfitUnit | null {
    for (const row of unit.rows) {
      const shape = this.shapeOf(row);
      if ('reason' in shape) return { unit, row, ...shape };
      const reason = this.#valueProblem(row, shape);
      if (reason !== null) return { unit, row, reason, isOfTable: false };
    }
    return null;
  }

  #valueProblem({ table, values }: Row, shape: Shape): string | null {
    const { key, rule } = shape;
    const needed = rule === 'first' ? key : [...key, rule.newestBy];
    const empty = needed.find((name) => values[name] === undefined || values[name] === null);
    if (empty !== undefined) return `the row for ${table} has no ${empty}, by which rows are told apart or ordered`;
    for (const column of this.columnsOf(shape)) {
      const value = values[column.name];
      if (value === undefined || value === null) continue;
      const problem = valueProblem(column, value, key.includes(column.name));
      if (problem !== null) return `${column.name} of ${table} ${problem}`;
    }
    return null;
  }

  #find(row: Row, rule: WriteRule): Shape | ShapeProblem {
    const table = this.tables.get(row.table);
    if (table === undefined) return ofTable(`there is no table ${row.table}`);
    if (!['plain', 'partitioned', 'hypertable'].includes(table.kind)) return ofTable(`${row.table} is a ${table.kind}`);
    const parts = rule === 'first' ? [] : (rule.parts ?? []);
    // What a row of the rule `newest` may leave out is written all the same: as nothing.
    const columns = [
      ...new Set([...Object.keys(row.values).filter((name) => !parts.flat().includes(name)), ...parts.flat()]),
    ];
    const names = table.columns.map(({ name }) => name);
    const computed = columns.find((name) => columnOf(table, name)?.generated != null);
    if (computed !== undefined) return ofTable(`${computed} of ${row.table} is computed by the server`);
    const strange = columns.find((name) => !names.includes(name));
    if (strange !== undefined) return ofTable(`${row.table} has no column ${strange}${didYouMean(strange, names)}`);
    const key = keyWithin(table, columns, this.declared[row.table]?.key);
    if (typeof key === 'string') return ofTable(key);
    const ordered = columns.toSorted(inOrderOf(names));
    const problem = rule === 'first' ? null : this.#ruleProblem(row.table, ordered, { key, parts, by: rule.newestBy });
    if (problem !== null) return { reason: problem, isOfTable: false };
    const axis = rule === 'first' && isSpanned(table) ? (table.axis?.column ?? null) : null;
    const filled = rule === 'first' ? [] : filledColumns(table, ordered);
    const shape: Shape = { table: table.label, columns: ordered, key, rule, filled, axis };
    const known = [...this.#columns.keys()].find((other) => isDeepStrictEqual(other, shape));
    const columnsOf = ordered.flatMap((name) => columnOf(table, name) ?? []);
    if (known === undefined) this.#columns.set(shape, columnsOf);
    return known ?? shape;
  }

  /**
   * Of two rows that name different columns none is the newer one as a whole: the sides would depend on their order. Which
   * columns are meant the decoder says, or else the first row: then one message at the start can have all others refused.
   */
  #ruleProblem(table: string, columns: readonly string[], { key, parts, by }: NewestRule): string | null {
    if (!columns.includes(by)) return `the row for ${table} has no ${by}, by which it is newest`;
    const fixed = parts.flat().find((name) => key.includes(name) || name === by);
    if (fixed !== undefined) return `${fixed} of ${table} can be in no part: rows are told apart or ordered by it`;
    const meant = this.#newest.get(table) ?? this.#declaredNewest(table) ?? columns.toSorted().join();
    this.#newest.set(table, meant);
    if (meant === columns.toSorted().join()) return null;
    return `rows of ${table} that are kept newest name different columns; what a row may leave out has to be in parts`;
  }

  #declaredNewest(table: string): string | null {
    const { write = 'first', columns = {} } = this.declared[table] ?? {};
    return write === 'first' ? null : Object.keys(columns).sort().join();
  }
}

function ofTable(reason: string): ShapeProblem {
  return { reason, isOfTable: true };
}

interface NewestRule {
  readonly key: readonly string[];
  readonly parts: readonly (readonly string[])[];
  readonly by: string;
}

const MOST_SHAPES = 1_000;

/** The columns of a shape are in the order of the table, so that rows which name them otherwise are alike. */
function inOrderOf(names: readonly string[]): (one: string, other: string) => number {
  return (one, other) => names.indexOf(one) - names.indexOf(other);
}

/** The unique key that tells rows of these columns apart: the declared one, else the primary key, else the shortest. */
function keyWithin(
  { label, uniqueKeys }: Table,
  columns: readonly string[],
  declared: readonly string[] | undefined,
): readonly string[] | string {
  if (uniqueKeys.length === 0) return `${label} has no unique key`;
  const within = uniqueKeys.filter((key) => key.columns.every((name) => columns.includes(name)));
  const rank = (key: UniqueKey): number =>
    key.columns.every((name) => declared?.includes(name)) ? -1 : key.primary ? 0 : key.columns.length;
  const [best] = within.toSorted((one, other) => rank(one) - rank(other));
  if (best !== undefined) return best.columns;
  const keys = uniqueKeys.map((key) => `(${key.columns.join(', ')})`).join(' or ');
  return `the row for ${label} leaves out its key ${keys}`;
}
