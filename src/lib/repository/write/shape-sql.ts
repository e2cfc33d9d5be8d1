import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import type { NewestBy } from '../../domain/row.js';
import { insertedSql, orderedSql, parameterType, storedSql, UNKNOWN_COLUMN } from '../tables/column-values.js';
import { asKeySql, columnOf, type Column, type Table } from '../tables/table.js';
import type { Shape } from './check-rows.js';

/** The rows of one shape in the statement of a batch, on one side. */
export interface ShapeRows {
  readonly shape: Shape;
  /** What the queries of these rows are called: `sensorctl_0`, … */
  readonly name: string;
  /** The table in a statement, and what the catalogs say of it; undefined where it is not there, and the server says so. */
  readonly sql: string;
  readonly table: Table | undefined;
  /** The number of its first parameter: an array a column, then the numbers of the units where `hasUnits`. */
  readonly first: number;
  /** As on the primary. */
  readonly hasUnits: boolean;
}

/** Columns of what was given are `c0`, `c1`, …, so that no name of the operator's can be mistaken. */
const given = (place: number): string => `c${place}`;

function columnIn({ table }: ShapeRows, name: string): Pick<Column, 'type' | 'baseType'> {
  return (table && columnOf(table, name)) ?? UNKNOWN_COLUMN;
}

/** The rows of the parameters, as they travel: `c0`…, `unit`, and their place. */
function givenRows(rows: ShapeRows): string {
  const { shape, first, hasUnits } = rows;
  const arrays = shape.columns.map((name, index) => `$${first + index}::${parameterType(columnIn(rows, name))}[]`);
  const names = shape.columns.map((_, index) => given(index));
  const units = hasUnits
    ? { arrays: [`$${first + arrays.length}::int[]`], names: ['unit'] }
    : { arrays: [], names: [] };
  const list = [...names, ...units.names, 'place'].join(', ');
  return `unnest(${[...arrays, ...units.arrays].join(', ')}) with ordinality as given (${list})`;
}

/** The value of a column of what was given, as the table holds it. */
function stored(rows: ShapeRows, name: string): string {
  return storedSql(columnIn(rows, name), `given.${given(rows.shape.columns.indexOf(name))}`);
}

/** Makes values of the columns' types of rows that are given, an array a column; writes nothing. */
export function castRowsSql(shape: Shape, table: Table | undefined): string {
  const rows: ShapeRows = { shape, table, name: '', sql: '', first: 1, hasUnits: false };
  const values = shape.columns.map((name) => `count(${stored(rows, name)})`);
  return `select ${values.join(', ')} from ${givenRows(rows)}`;
}

/** The same as the table's key tells it apart. */
function keyed(rows: ShapeRows, name: string, value: string): string {
  return asKeySql(rows.table && columnOf(rows.table, name), value);
}

/**
 * What keeps a row from being stored twice: the table's unique key, or the batch's marker, which is inserted with the rows.
 * A tracked table has both: rows that a repair has deleted since are not stored again.
 */
export type InsertGuard = 'key' | { readonly marker: string; readonly isKeyed: boolean };

/**
 * Inserts rows whose keys are new, in key order; of those under one key the first. `returning` is what the query answers of
 * each row that it took.
 */
export function insertFirstSql(
  rows: ShapeRows,
  { returning, guard }: { returning: string; guard: InsertGuard },
): string {
  const { shape, sql } = rows;
  const columns = shape.columns.map(quoteIdentifier).join(', ');
  const values = shape.columns.map((name, index) => insertedSql(columnIn(rows, name), `given.${given(index)}`));
  const key = shape.key.map(quoteIdentifier).join(', ');
  const order = shape.key.map((name) => keyed(rows, name, stored(rows, name)));
  return `insert into ${sql} (${columns}) overriding system value
    select ${values.join(', ')} from ${givenRows(rows)}
    ${guard === 'key' ? '' : `where exists (select from ${guard.marker})`}
    order by ${[...order, 'given.place'].join(', ')}
    ${guard === 'key' || guard.isKeyed ? `on conflict (${key}) do nothing` : ''} returning ${returning}`;
}

/** The units of the rows that were inserted: of rows under one key that of the first. */
export function acceptedUnitsSql(rows: ShapeRows): string {
  const { shape, name } = rows;
  const keys = shape.key.map((column, index) => `${name}.${quoteIdentifier(column)} as k${index}`);
  const same = shape.key.map((column) => `${name}.${quoteIdentifier(column)} = ${stored(rows, column)}`);
  const places = shape.key.map((_, index) => `k${index}`).join(', ');
  return `select distinct on (${places}) unit from (
    select ${keys.join(', ')}, given.unit, given.place from ${name} join ${givenRows(rows)} on ${same.join(' and ')}
  ) as taken order by ${places}, place`;
}

/** Names of the queries that `newestSql` defines, for those that read them. */
export interface NewestNames {
  /** The rows that count, `c0`… as the table holds them. */
  readonly given: string;
  /** What of them was the newest, as a whole or in a part: by their `place`. */
  readonly winners: readonly string[];
  /** Answers `key`, a list of texts, for each row that was written. */
  readonly written: string;
}

export function newestNames({ name, shape: { rule } }: ShapeRows): NewestNames {
  const parts = (rule as NewestBy).parts ?? [];
  const winners = [`${name}_newest`, ...parts.map((_, index) => `${name}_part_${index}_newest`)];
  return { given: `${name}_given`, winners, written: name };
}

/**
 * Queries that keep the newest of the rows in their table. They commute: applied in any order, any number of times, both
 * sides end alike. `units` is a query of the units that count; null where all do. With a marker they count only beside it.
 */
export function newestSql(rows: ShapeRows, units: string | null, guard: InsertGuard = 'key'): string[] {
  const { name, shape } = rows;
  const { newestBy, parts = [] } = shape.rule as NewestBy;
  const values = shape.columns.map((column, index) => `${stored(rows, column)} as ${given(index)}`);
  const unit = units === null ? 'true' : `(given.unit is null or given.unit in (${units}))`;
  const counts = `where ${unit} ${guard === 'key' ? '' : `and exists (select from ${guard.marker})`}`;
  const others = [...shape.key, newestBy, ...parts.flat(), ...shape.filled];
  const base = shape.columns.filter((column) => !others.includes(column));
  return [
    `${name}_given as (select ${values.join(', ')}, given.place from ${givenRows(rows)} ${counts})`,
    `${name}_newest as (${newestOf(rows, [newestBy, ...base], [])})`,
    ...parts.flatMap((part, index) => [
      `${name}_part_${index}_newest as (${newestOf(rows, [newestBy, ...part], part)})`,
      `${name}_part_${index} as (${keepPartSql(rows, index)})`,
    ]),
    `${name} as (${keepNewestSql(rows, base)})`,
  ];
}

/** Of the rows of each key the greatest by these columns, in which `wanted` are not null. */
function newestOf(rows: ShapeRows, columns: readonly string[], wanted: readonly string[]): string {
  const { name, shape } = rows;
  const at = (column: string): string => given(shape.columns.indexOf(column));
  const key = shape.key.map((column) => keyed(rows, column, at(column))).join(', ');
  const order = columns.flatMap((column) => [
    `${at(column)} is not null desc`,
    `${orderedSql(columnIn(rows, column), at(column))} desc`,
  ]);
  // Two spellings of one key: both sides take the same.
  const spelling = shape.key.map((column) => `${at(column)}::text collate "C"`);
  const filter = wanted.map((column) => `${at(column)} is not null`).join(' and ');
  return `select distinct on (${key}) * from ${name}_given ${filter === '' ? '' : `where ${filter}`}
    order by ${key}, ${[...order, ...spelling].join(', ')}, place`;
}

/** Values in an order that is the same on both sides: nothing comes before anything. */
function comparable(rows: ShapeRows, columns: readonly string[], value: (column: string) => string): string {
  const values = columns.flatMap((column) => {
    const ordered = orderedSql(columnIn(rows, column), value(column));
    return [`${value(column)} is not null`, `array[${ordered}]`];
  });
  return `row(${values.join(', ')})`;
}

/** The key of a row as texts. */
function keyTexts({ shape }: ShapeRows, alias: string): string {
  return `array[${shape.key.map((name) => `${alias}.${given(shape.columns.indexOf(name))}::text`).join(', ')}]`;
}

/** Remembers when each part was the newest: the row itself only knows that of the whole. */
function keepPartSql(rows: ShapeRows, index: number): string {
  const { name, shape } = rows;
  const { newestBy, parts = [] } = shape.rule as NewestBy;
  const part = parts[index] ?? [];
  const at = (column: string): string => `newest.${given(shape.columns.indexOf(column))}`;
  const order = (alias: string): string =>
    comparable(rows, [newestBy, ...part], (column) => {
      const text = column === newestBy ? `${alias}.newest` : `${alias}.content[${part.indexOf(column) + 1}]`;
      return storedSql(columnIn(rows, column), `(${text})`);
    });
  return `insert into sensorctl.newest_part as known (table_name, key, part, newest, content)
    select ${quoteLiteral(shape.table)}, ${keyTexts(rows, 'newest')}, ${nameOfPart(part)}, ${at(newestBy)}::text,
      array[${part.map((column) => `${at(column)}::text`).join(', ')}]
    from ${name}_part_${index}_newest as newest order by 2
    on conflict (table_name, key, part) do update set newest = excluded.newest, content = excluded.content
    where ${order('excluded')} > ${order('known')}
    returning key, content`;
}

function nameOfPart(part: readonly string[]): string {
  return `array[${part.map(quoteLiteral).join(', ')}]::text[]`;
}

function keepNewestSql(rows: ShapeRows, base: readonly string[]): string {
  const { name, shape, sql } = rows;
  const { newestBy, parts = [] } = shape.rule as NewestBy;
  const filled = shape.filled.filter((column) => shape.columns.includes(column));
  const whole = [...shape.key, newestBy, ...base, ...filled];
  const columns = [...whole, ...parts.flat()].map(quoteIdentifier).join(', ');
  const values = [
    ...whole.map((column) => `newest.${given(shape.columns.indexOf(column))}`),
    ...parts.flatMap((part, index) =>
      part.map((column, place) => storedSql(columnIn(rows, column), `(part_${index}.content[${place + 1}])`)),
    ),
  ];
  const joins = parts.map(
    (_, index) => `left join ${name}_part_${index} as part_${index} on part_${index}.key = ${keyTexts(rows, 'newest')}`,
  );
  const order = shape.key.map((column) => keyed(rows, column, `newest.${given(shape.columns.indexOf(column))}`));
  const key = shape.key.map((column) => `known.${quoteIdentifier(column)}::text`);
  return `insert into ${sql} as known (${columns}) ${filled.length === 0 ? '' : 'overriding system value'} select ${values.join(', ')} from ${name}_newest as newest ${joins.join(' ')}
    order by ${order.join(', ')}
    on conflict (${shape.key.map(quoteIdentifier).join(', ')}) do update set ${setNewest(rows, base).join(', ')}
    returning ${[`jsonb_build_array(${key.join(', ')}) as key`, ...returnedOf(rows)].join(', ')}`;
}

/** What the primary filled, and the key by which it is found: `f0`…, `k0`…. */
function returnedOf({ shape: { key, filled }, hasUnits }: ShapeRows): string[] {
  if (!hasUnits || filled.length === 0) return [];
  return [
    ...key.map((column, index) => `known.${quoteIdentifier(column)} as k${index}`),
    ...filled.map((column, index) => `known.${quoteIdentifier(column)} as f${index}`),
  ];
}

/** The rows that were the newest, as a whole or in a part, with what the primary filled: `c0`…, then `f0`…. */
export function newestAnswerSql(rows: ShapeRows): { readonly values: readonly string[]; readonly from: string } {
  const { shape, name } = rows;
  const { given: source, winners } = newestNames(rows);
  const won = winners.map((winner) => `select place from ${winner}`).join(' union ');
  const same = shape.key.map((column, index) => {
    return `${name}.k${index} = ${keyed(rows, column, `${source}.${given(shape.columns.indexOf(column))}`)}`;
  });
  return {
    values: [
      ...shape.columns.map((_, index) => `${source}.${given(index)}`),
      ...shape.filled.map((_, index) => `${name}.f${index}`),
    ],
    from: `${source} ${shape.filled.length === 0 ? '' : `join ${name} on ${same.join(' and ')}`} where place in (${won})`,
  };
}

function setNewest(rows: ShapeRows, base: readonly string[]): string[] {
  const { newestBy, parts = [] } = rows.shape.rule as NewestBy;
  const order = (alias: string): string =>
    comparable(rows, [newestBy, ...base], (column) => `${alias}.${quoteIdentifier(column)}`);
  const isNewer = `${order('excluded')} > ${order('known')}`;
  const either = (column: string, condition: string): string => {
    const name = quoteIdentifier(column);
    return `${name} = case when ${condition} then excluded.${name} else known.${name} end`;
  };
  return [
    ...[newestBy, ...base].map((column) => either(column, isNewer)),
    ...parts.flatMap((part) => {
      const isGiven = `excluded.${quoteIdentifier(part[0] ?? newestBy)} is not null`;
      return part.map((column) => either(column, isGiven));
    }),
  ];
}
