import { quoteIdentifier } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import type { Statement } from '../../db/transaction.js';
import type { Role } from '../../domain/side.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import { isLoose, sideSql, type ComparedColumn, type TablePair } from '../tables/table-pair.js';
import { canonicalText, comparedValue, type DigestMethod } from './digest-method.js';
import { readableText } from './long-values.js';

/** A part of a table: a time range of it or, of a table that is compared whole, the rows whose key has one of these classes. */
export type Slice = TimeRange | { readonly classes: readonly number[] };

/** How a table is read on one side. */
export interface TableView {
  readonly table: TablePair;
  readonly method: DigestMethod;
  readonly role: Role;
}

/** Rows of tables without a time column are told apart by so many classes of their keys. */
const CLASSES = 1024;

/** The digest of the rows in one bucket of a slice. */
export interface BucketDigest {
  /** Place of the slice in the list that was asked for. */
  readonly place: number;
  /** Where the bucket begins, in µs since 1970; or the class. */
  readonly bucket: number;
  readonly rows: number;
  readonly digest: string;
  /** Newest time in µs since 1970; null without a time column. */
  readonly newest: number | null;
}

/** Digests of time ranges, each cut into buckets of a width in µs from its beginning on. Answers `BucketDigest`s. */
export function digestRanges(view: TableView, slices: readonly (TimeRange & { width: number })[]): Statement {
  const { table, method } = view;
  const values = new ValueList();
  const selects = slices.map((slice, place) => {
    const { sql: at, type } = axisOf(view);
    const origin = `${values.add(formatInstant(slice.from))}::${type}`;
    const width = `${values.add(slice.width)}::float8 * interval '1 microsecond'`;
    return `select ${place} as place, ${microsOf('bin')} as bucket, rows, digest, ${microsOf('newest')} as newest from (
      select date_bin(${width}, ${at}, ${origin}) as bin, count(*) as rows, max(${at}) as newest,
        sum(${method.rowDigest(table.columns)})::text as digest
      from ${sideSql(table, view.role)} where ${condition(view, slice, values)} group by 1
    ) as buckets`;
  });
  return { text: selects.join('\nunion all\n'), values: values.list };
}

/** Counts the rows of a time range in buckets of a width in µs. Answers `bucket`, where it begins, and `rows`. */
export function countBuckets(view: TableView, slice: TimeRange & { width: number }): Statement {
  const values = new ValueList();
  const { sql: at, type } = axisOf(view);
  const origin = `${values.add(formatInstant(slice.from))}::${type}`;
  const width = `${values.add(slice.width)}::float8 * interval '1 microsecond'`;
  const text = `select ${microsOf('bin')} as bucket, rows from (
    select date_bin(${width}, ${at}, ${origin}) as bin, count(*) as rows
    from ${sideSql(view.table, view.role)} where ${condition(view, slice, values)} group by 1
  ) as buckets`;
  return { text, values: values.list };
}

/** Digests of a whole table by the class of its rows' keys. Answers `BucketDigest`s. */
export function digestClasses(view: TableView): Statement {
  const { table, method } = view;
  const text = `select 0 as place, ${classOf(view)} as bucket, count(*) as rows,
      sum(${method.rowDigest(table.columns)})::text as digest, null::bigint as newest
    from ${sideSql(table, view.role)} group by 2`;
  return { text };
}

/** Lists the rows in the slices as arrays of texts: the place of the slice, the digest, the key columns. */
export function listRows(view: TableView, slices: readonly Slice[]): Statement {
  const { table, method } = view;
  const columns = [`${method.rowDigest(table.columns)}::text`, ...keyColumns(table).map(canonicalText)];
  return selectSlices(
    view,
    slices.map((slice) => ({ slice })),
    columns,
  );
}

/** A slice, and the keys of the rows that are wanted of it; digests where the table has no key. */
export interface KeyedSlice {
  readonly slice: Slice;
  readonly keys: readonly (readonly (string | null)[])[];
}

/** Reads the wanted rows of the slices: the place of the slice, then every compared column as text, of a long one what stands for it. */
export function readRows(view: TableView, slices: readonly KeyedSlice[]): Statement {
  return selectSlices(view, slices, view.table.columns.map(readableText));
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
  type: string;
} {
  if (axis === null) throw new TypeError(`${name} has no axis`);
  return { sql: quoteIdentifier(axis.column), type: axis[role] };
}

class ValueList {
  readonly list: unknown[] = [];

  add(value: unknown): string {
    return `$${this.list.push(value)}`;
  }
}

function selectSlices(
  view: TableView,
  slices: readonly (Partial<KeyedSlice> & Pick<KeyedSlice, 'slice'>)[],
  columns: readonly string[],
): Statement {
  const values = new ValueList();
  const selects = slices.map(({ slice, keys }, place) => {
    const wanted = keys === undefined ? '' : `and ${keyCondition(view, keys, values)}`;
    return `select ${[place, ...columns].join(', ')} from ${sideSql(view.table, view.role)}
      where ${condition(view, slice, values)} ${wanted}`;
  });
  return { text: selects.join('\nunion all\n'), values: values.list };
}

function condition(view: TableView, slice: Slice, values: ValueList): string {
  if ('classes' in slice) return `${classOf(view)} = any (${values.add(slice.classes)}::int[])`;
  const { sql: at, type } = axisOf(view);
  const bound = (instant: number): string => `${values.add(formatInstant(instant))}::${type}`;
  return `${at} >= ${bound(slice.from)} and ${at} < ${bound(slice.to)}`;
}

function keyCondition(
  { table, method }: TableView,
  keys: readonly (readonly (string | null)[])[],
  values: ValueList,
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

/** From 0 to CLASSES - 1, by the key, or by the whole row where the table has none; equal rows have one class. */
function classOf({ table, method }: TableView): string {
  const key = keyColumns(table);
  const columns = key.length > 0 ? key : table.columns.filter((column) => !isLoose(column));
  if (columns.length === 0) return '0';
  return `(((${method.rowDigest(columns)} % ${CLASSES}) + ${CLASSES}) % ${CLASSES})::int`;
}
