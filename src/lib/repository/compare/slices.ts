import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import type { Statement } from '../../db/transaction.js';
import type { Role } from '../../domain/side.js';
import type { TimeRange } from '../../domain/time-range.js';
import { boundSql, boundText, bucketSql, offAxisSql, placeSql, type AxisType } from '../tables/axis.js';
import { isLoose, sideSql, type ComparedColumn, type TablePair } from '../tables/table-pair.js';
import { canonicalText, comparedValue, type DigestMethod } from './digest-method.js';
import { readableText } from './long-values.js';

/** Rows whose key has one of these classes, of so many. */
export interface ClassSlice {
  readonly classes: readonly number[];
  readonly of: number;
  /** All rows of the table, or those that are off its axis. */
  readonly rows: 'all' | 'off axis';
  /** Of a table so large that a side reads it in parts, the pages of its files. */
  readonly pages: Readonly<Record<Role, number | null>>;
}

/** A part of a table: a range of its axis, or rows by the class of their keys. */
export type Slice = TimeRange | ClassSlice;

/** How a table is read on one side. */
export interface TableView {
  readonly table: TablePair;
  readonly method: DigestMethod;
  readonly role: Role;
}

/** The digest of the rows in one bucket of a slice. */
export interface BucketDigest {
  /** Place of the slice in the list that was asked for. */
  readonly place: number;
  /** Where the bucket begins on the axis; or the class. */
  readonly bucket: number;
  readonly rows: number;
  readonly digest: string;
  /** The last place on the axis; null without one. */
  readonly newest: number | null;
}

/** Digests of ranges, each cut into buckets of a width from its beginning on. Answers `BucketDigest`s. */
export function digestRanges(view: TableView, slices: readonly (TimeRange & { width: number })[]): Statement {
  const { table, method } = view;
  const values = new ValueList();
  const selects = slices.map((slice, place) => {
    const { sql: at, type } = axisOf(view);
    return `select ${place} as place, ${placeSql(type, 'bin')} as bucket, rows, digest, ${placeSql(type, 'newest')} as newest from (
      select ${bucketOf(view, slice, values)} as bin, count(*) as rows, max(${at}) as newest,
        sum(${method.rowDigest(table.columns)})::text as digest
      from ${sideSql(table, view.role)} where ${condition(view, slice, values)} group by 1
    ) as buckets`;
  });
  return { text: selects.join('\nunion all\n'), values: values.list };
}

/** Counts the rows of a range in buckets of a width. Answers `bucket`, where it begins, and `rows`. */
export function countBuckets(view: TableView, slice: TimeRange & { width: number }): Statement {
  const values = new ValueList();
  const { type } = axisOf(view);
  const text = `select ${placeSql(type, 'bin')} as bucket, rows from (
    select ${bucketOf(view, slice, values)} as bin, count(*) as rows
    from ${sideSql(view.table, view.role)} where ${condition(view, slice, values)} group by 1
  ) as buckets`;
  return { text, values: values.list };
}

function bucketOf(view: TableView, { from, width }: TimeRange & { width: number }, values: Values): string {
  const { sql: at, type } = axisOf(view);
  const origin = values.add(boundText(type, from));
  return bucketSql(type, at, { origin, from, width: values.add(width) });
}

/** Pages of a table's files, the end excluded. */
export interface Pages {
  readonly from: number;
  /** Null: up to the end, also of what comes meanwhile. */
  readonly to: number | null;
}

/** Digests of a table, or of what it holds off its axis, by the class of its rows' keys. Answers `BucketDigest`s. */
export function digestClasses(
  view: TableView,
  { of, rows }: Pick<ClassSlice, 'of' | 'rows'>,
  pages: Pages | null = null,
): Statement {
  const { table, method } = view;
  const conditions = [...(rows === 'off axis' ? [offAxis(view)] : []), ...inPages(pages)];
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const text = `select 0 as place, ${classOf(view, of)} as bucket, count(*) as rows,
      sum(${method.rowDigest(table.columns)})::text as digest, null::bigint as newest
    from ${sideSql(table, view.role)} ${where} group by 2`;
  return { text };
}

function inPages(pages: Pages | null): string[] {
  if (pages === null) return [];
  const end = pages.to === null ? [] : [`ctid < '(${pages.to},0)'::tid`];
  return [`ctid >= '(${pages.from},0)'::tid`, ...end];
}

/** Lists the rows in the slices as arrays of texts: the place of the slice, the digest, the key columns. */
export function listRows(view: TableView, slices: readonly Slice[], pages: Pages | null = null): Statement {
  const { table, method } = view;
  const columns = [`${method.rowDigest(table.columns)}::text`, ...keyColumns(table).map(canonicalText)];
  return selectSlices(
    view,
    slices.map((slice) => ({ slice })),
    { columns, pages },
  );
}

/** A slice, and the keys of the rows that are wanted of it; digests where the table has no key. */
export interface KeyedSlice {
  readonly slice: Slice;
  readonly keys: readonly (readonly (string | null)[])[];
}

/** Reads the wanted rows of the slices: the place of the slice, then every compared column as text, of a long one what stands for it. */
export function readRows(view: TableView, slices: readonly KeyedSlice[], pages: Pages | null = null): Statement {
  return selectSlices(view, slices, { columns: view.table.columns.map(readableText), pages });
}

/**
 * Tells which rows are equal, as PostgreSQL defines equality for the primary's types: rows of one `class` are. Takes each
 * compared column as an array of texts; answers arrays of `place` (from 0), `class`, and the class in each loose column.
 */
export function rankRows(table: TablePair, columns: readonly (readonly (string | null)[])[]): Statement {
  const renamed = table.columns.map((column, index) => ({ ...column, name: `c${index}` }));
  const arrays = columns.map((_, index) => `$${index + 1}::text[]`);
  const order = renamed.map((column) => comparedValue(column)).join(', ');
  const loose = renamed.filter(isLoose).map((column) => comparedValue(column));
  const ranks = [order, ...loose].map((by) => `dense_rank() over (order by ${by})::int`);
  const text = `select (place - 1)::int, ${ranks.join(', ')}
    from unnest(${arrays.join(', ')}) with ordinality as given (${[...renamed.map(({ name }) => name), 'place'].join(', ')})`;
  return { text, values: columns };
}

/** The columns of the key in the table's order; none for a table whose rows are told apart as a whole. */
export function keyColumns({ columns, key }: TablePair): readonly ComparedColumn[] {
  return columns.filter(({ name }) => key.includes(name));
}

/** The axis in a statement, and its type on the side that is read, so that its index and its chunks are found. */
export function axisOf({ table: { name, axis }, role }: Pick<TableView, 'table' | 'role'>): {
  sql: string;
  type: AxisType;
} {
  if (axis === null) throw new TypeError(`${name} has no axis`);
  return { sql: quoteIdentifier(axis.column), type: axis[role] };
}

/** How values come into a statement. */
interface Values {
  /** The SQL that stands for a value. */
  add(value: number | string | readonly unknown[]): string;
}

class ValueList implements Values {
  readonly list: unknown[] = [];

  add(value: unknown): string {
    return `$${this.list.push(value)}`;
  }
}

/** For a statement that takes no parameters, such as COPY, and for one that is planned by its constants. */
const LITERALS: Values = {
  add: (value) => quoteLiteral(Array.isArray(value) ? `{${value.join(',')}}` : String(value)),
};

/** SQL for the rows of a slice, without parameters; columns bear no qualifier. */
export function sliceSql(view: TableView, slice: Slice, pages: Pages | null = null): string {
  return [condition(view, slice, LITERALS), ...inPages(pages)].join(' and ');
}

/** The same for what some pages of a table's files hold. */
export function pagesSql(pages: Pages): string {
  return inPages(pages).join(' and ');
}

function selectSlices(
  view: TableView,
  slices: readonly (Partial<KeyedSlice> & Pick<KeyedSlice, 'slice'>)[],
  { columns, pages }: { columns: readonly string[]; pages: Pages | null },
): Statement {
  const values = new ValueList();
  const selects = slices.map(({ slice, keys }, place) => {
    const wanted = keys === undefined ? [] : [keyCondition(view, keys, values)];
    return `select ${[place, ...columns].join(', ')} from ${sideSql(view.table, view.role)}
      where ${[condition(view, slice, values), ...wanted, ...inPages(pages)].join(' and ')}`;
  });
  return { text: selects.join('\nunion all\n'), values: values.list };
}

function condition(view: TableView, slice: Slice, values: Values): string {
  if ('classes' in slice) {
    const inClass = `${classOf(view, slice.of)} = any (${values.add(slice.classes)}::int[])`;
    return slice.rows === 'all' ? inClass : `${inClass} and ${offAxis(view)}`;
  }
  const { sql: at, type } = axisOf(view);
  const bound = (place: number): string => boundSql(type, place, values.add(boundText(type, place)));
  return `${at} >= ${bound(slice.from)} and ${at} < ${bound(slice.to)}`;
}

function offAxis(view: TableView): string {
  const { sql: at, type } = axisOf(view);
  const ways = offAxisSql(type, at, false);
  return `(${ways.join(' or ')})`;
}

function keyCondition(
  { table, method }: TableView,
  keys: readonly (readonly (string | null)[])[],
  values: Values,
): string {
  const columns = keyColumns(table);
  if (columns.length === 0) {
    return `${method.rowDigest(table.columns)} = any (${values.add(keys.map(([digest]) => digest))}::bigint[])`;
  }
  const arrays = columns.map((_, index) => `${values.add(keys.map((key) => key[index] ?? null))}::text[]`);
  // A NULL is '', and any text begins with a mark.
  const marked = (text: string): string => `coalesce('=' || ${text}, '')`;
  const texts = columns.map((column) => marked(canonicalText(column)));
  return `(${texts.join(', ')}) in (select ${columns.map((_, index) => marked(`k${index}`)).join(', ')}
    from unnest(${arrays.join(', ')}) as wanted (${columns.map((_, index) => `k${index}`).join(', ')}))`;
}

/** From 0 to `of` - 1, a power of 2, by the key, or by the whole row where the table has none; equal rows have one class. */
function classOf({ table, method }: TableView, of: number): string {
  const key = keyColumns(table);
  const columns = key.length > 0 ? key : table.columns.filter((column) => !isLoose(column));
  return columns.length === 0 ? '0' : `(${method.rowDigest(columns)} & ${of - 1})::int`;
}
