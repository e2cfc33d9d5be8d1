import { createHash } from 'node:crypto';
import { OWN_PATH_TAKEN } from '../../db/search-path.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { joinTargetSql } from '../../db/locks.js';
import { writableColumns } from '../tables/column-values.js';
import type { Table } from '../tables/table.js';
import type { SideTables } from '../tables/written-tables.js';
import { EVERY_TABLE_SKIPPED, tablesSkippedSql } from '../writers/own-writes.js';
import type { Shape } from './check-rows.js';
import {
  acceptedUnitsSql,
  insertFirstSql,
  newestAnswerSql,
  newestNames,
  newestSql,
  type InsertGuard,
  type ShapeRows,
} from './shape-sql.js';

/**
 * The statements that write a batch: one for the primary, one for the secondary, each a single round trip whatever the
 * size. A shape takes one array parameter a column; the primary answers with arrays, as text, of the rows that it accepted,
 * and the secondary takes these as they are.
 *
 * Rows are taken in key order, tables in one order, so that writers rarely deadlock. Foreign keys are checked when the
 * statement ends, when parents and children are there.
 */

/** Rows closer than this belong to one range of a ledger entry. */
const LEDGER_RANGE_JOIN = "interval '1 minute'";

/** A statement of a batch, and what its answer means. */
export interface BatchStatement {
  readonly text: string;
  /** Undefined for one that is planned anew each time. */
  readonly name: string | undefined;
  /** For each shape, the columns that the primary answers. */
  readonly answered: readonly (readonly string[])[];
}

/** What an entry of the ledger and a marker call a table, and what the catalogs say of it on this side. */
function partsOf(shapes: readonly Shape[], on: SideTables, first: number, hasUnits: boolean): ShapeRows[] {
  const rows: ShapeRows[] = [];
  let next = first;
  for (const [place, shape] of shapes.entries()) {
    const table = on.get(shape.table);
    rows.push({ shape, name: `sensorctl_${place}`, sql: on.sql(shape.table), table, first: next, hasUnits });
    next += shape.columns.length + (hasUnits ? 1 : 0);
  }
  return rows;
}

function isFirst({ shape }: ShapeRows): boolean {
  return shape.rule === 'first';
}

/**
 * Writes rows where they are new, keeps the newest of others, and enters both in the ledger. Parameters: batch id, consumer
 * id, ledger state (`pending`, or `missed` for a batch that only the primary takes) and reason, then for each shape an array
 * a column and the numbers of the units. Answers a row a shape: `shape` by its place, `rows` accepted, and `column_0`… as
 * array texts.
 */
export function primaryBatchSql(shapes: readonly Shape[], on: SideTables): BatchStatement {
  const all = partsOf(shapes, on, 5, true);
  const first = all.filter(isFirst);
  const newest = all.filter((rows) => !isFirst(rows));
  const answered = all.map((rows) => answeredBy(rows));
  const width = Math.max(...answered.map((names) => names.length));
  const units = first.map((rows) => `select unit from ${rows.name}_units`).join(' union all ');
  const queries = [
    ...first.map((rows) => `${rows.name} as (${insertFirstSql(rows, { returning: returned(rows), guard: 'key' })})`),
    ...(newest.length === 0 ? [] : first.map((rows) => `${rows.name}_units as (${acceptedUnitsSql(rows)})`)),
    ...newest.flatMap((rows) => newestSql(rows, units === '' ? 'select null::int where false' : units)),
    `touched as (${all.map(touchedBy).join('\nunion all\n')})`,
    `migration as (${BEGIN_MIGRATION})`,
    `entry as (${ENTER_IN_LEDGER})`,
  ];
  const answers = all.map((rows, place) => answerOf(rows, { place, names: answered[place] ?? [], width }));
  const text = `with ${queries.join(',\n')}\n${[beginWriting(shapes, width), ...answers].join('\nunion all\n')}`;
  return { text, name: statementName('primary', text, on, shapes), answered };
}

/** Also what the primary fills by itself, so that the secondary gets it: of a row that is inserted all that is left. */
function answeredBy(rows: ShapeRows): readonly string[] {
  const { shape, table } = rows;
  if (table === undefined) return shape.columns;
  if (!isFirst(rows)) return [...shape.columns, ...shape.filled];
  const others = writableColumns(table).filter((name) => !shape.columns.includes(name));
  return [...shape.columns, ...others];
}

function returned(rows: ShapeRows): string {
  return answeredBy(rows).map(quoteIdentifier).join(', ');
}

/**
 * Writes on the secondary exactly the rows that the primary accepted; what is there already stays, or the newer one does.
 * Parameters: batch id and consumer id where a table is guarded by markers, then an array a column.
 * Answers the number of rows `inserted`.
 */
export function secondaryBatchSql(
  shapes: readonly Shape[],
  on: SideTables,
  guards: Markers = new Map(),
): BatchStatement {
  const tables = [...new Set(shapes.map(({ table }) => table))];
  const marked = tables.filter((table) => guards.has(table));
  const all = partsOf(shapes, on, marked.length > 0 ? 3 : 1, false);
  const guardOf = ({ shape }: ShapeRows): InsertGuard => {
    const place = marked.indexOf(shape.table);
    if (place < 0) return 'key';
    return { marker: `sensorctl_marker_${place}`, isKeyed: guards.get(shape.table)?.isKeyed === true };
  };
  const queries = [
    ...marked.map((table, place) => `sensorctl_marker_${place} as (${insertMarkerSql(table)})`),
    ...all.flatMap((rows) =>
      isFirst(rows)
        ? [`${rows.name} as (${insertFirstSql(rows, { returning: '1', guard: guardOf(rows) })})`]
        : newestSql(rows, null, guardOf(rows)),
    ),
  ];
  // Markers come first, so that a repair that takes the batch over waits for it from the beginning.
  const markers = marked.map((_, place) => `0 * (select count(*) from sensorctl_marker_${place})`);
  const counts = [...markers, ...all.map(({ name }) => `(select count(*) from ${name})`)].join(' + ');
  const text = `with ${queries.join(',\n')}\nselect ${counts} as inserted
    where ${[EVERY_TABLE_SKIPPED, ...tables.map(joinTarget), OWN_PATH_TAKEN].join(' and ')}`;
  return { text, name: statementName('secondary', text, on, shapes), answered: [] };
}

/** The tables whose rows are stored beside the marker of their batch alone, and whether they have their unique key too. */
export type Markers = ReadonlyMap<string, { readonly isKeyed: boolean }>;

/**
 * Characters of the statements that have names, at most: each connection keeps them and their plans, which take a server a
 * hundred times as much. A decoder that makes ever other kinds of batches has the rest planned anew.
 */
const NAMED_CHARACTERS = 4_000_000;
const named = new Set<string>();
let namedCharacters = 0;

/** PostgreSQL cuts names at 63 bytes. A table that was made anew is another one. */
function statementName(role: string, text: string, on: SideTables, shapes: readonly Shape[]): string | undefined {
  const oids = shapes.map(({ table }) => on.get(table)?.oid ?? 0);
  const digest = createHash('sha256').update(`${oids.join()} ${text}`).digest('base64url');
  const name = `sensorctl ${role} ${digest.slice(0, 22)}`;
  if (named.has(name)) return name;
  if (namedCharacters + text.length > NAMED_CHARACTERS) return undefined;
  named.add(name);
  namedCharacters += text.length;
  return name;
}

/** Waits for a repair of the table: what it deletes, it has read before. */
function joinTarget(table: string): string {
  return `(${joinTargetSql(quoteLiteral(table))} is not null)`;
}

/** A consumer that is recorded dead writes nothing any more, however long its statement was under way. */
function insertMarkerSql(table: string): string {
  return `insert into sensorctl.batch_marker (batch_id, table_name, consumer_id, by_repair)
    select $1::uuid, ${quoteLiteral(table)}, $2::uuid, false
    where not exists (select from sensorctl.dead_consumer where consumer_id = $2::uuid)
    on conflict do nothing returning 1`;
}

/** What a batch wrote, a row a row: by the place on the table's axis where the ledger has one for it, else by the key. */
function touchedBy(rows: ShapeRows): string {
  const { shape, table, name } = rows;
  const label = `${quoteLiteral(shape.table)}::text as table_name`;
  if (!isFirst(rows))
    return `select ${label}, null::timestamptz as time, key, 0 as readings from ${newestNames(rows).written}`;
  const texts = keyOf(table, shape).map((column) => `${name}.${quoteIdentifier(column)}::text`);
  const key = `jsonb_build_array(${texts.join(', ')})`;
  if (shape.axis === null)
    return `select ${label}, null::timestamptz as time, ${key} as key, 1 as readings from ${name}`;
  const time = `${name}.${quoteIdentifier(shape.axis)}::timestamptz`;
  const isPlace = `isfinite(${time})`;
  return `select ${label}, case when ${isPlace} then ${time} end as time,
    case when ${isPlace} then null else ${key} end as key, 1 as readings from ${name}`;
}

/** In the order in which the primary's table has its key. */
function keyOf(table: Table | undefined, shape: Shape): readonly string[] {
  return table?.key ?? shape.key;
}

const BEGIN_MIGRATION = `
  insert into sensorctl.migration
  select true where $3 = 'pending' and exists (select from touched) and not exists (select from sensorctl.migration)
  on conflict do nothing`;

/** Before a migration began, a batch that only the primary takes is in no ledger. */
const ENTERS = `($3 = 'pending' or exists (select from sensorctl.migration) or exists (select from sensorctl.state))`;

/** Rows that are kept newest are entered by their keys, others by their places. */
const ENTER_IN_LEDGER = `
  insert into sensorctl.ledger (batch_id, consumer_id, state, reason, table_name, times, readings, keys)
  select $1::uuid, $2::uuid, $3, $4, table_name, coalesce(range_agg(span), '{}'), sum(readings),
    jsonb_agg(key) filter (where key is not null)
  from (
    select table_name, tstzrange(min(time), max(time) + interval '1 microsecond') as span, count(*) as readings, null::jsonb as key
    from (
      select table_name, time,
        count(*) filter (where time - previous > ${LEDGER_RANGE_JOIN}) over (partition by table_name order by time) as run
      from (
        select table_name, time, lag(time) over (partition by table_name order by time) as previous
        from touched where time is not null
      ) as neighbours
    ) as runs
    group by table_name, run
    union all
    select table_name, null, readings, key from touched where key is not null
  ) as parts
  where ${ENTERS}
  group by table_name`;

/**
 * No row; goes before what reads from the inserts, so that triggers run under the role's own search path, and those of
 * other writers leave alone what the statement enters.
 */
function beginWriting(shapes: readonly Shape[], width: number): string {
  const tables = [...new Set(shapes.map(({ table }) => table))];
  const columns = Array.from({ length: width }, (_, index) => `null::text as column_${index}`);
  return `select null::int as shape, null::bigint as rows, ${columns.join(', ')}
    where not (${tablesSkippedSql(tables, ENTERS)} and ${OWN_PATH_TAKEN})`;
}

/** Each column as one array text, so that the rows pass through Node without being parsed; padded to one width. */
function answerOf(
  rows: ShapeRows,
  { place, names, width }: { readonly place: number; readonly names: readonly string[]; readonly width: number },
): string {
  const { values, from } = isFirst(rows)
    ? { values: names.map((name) => `${rows.name}.${quoteIdentifier(name)}`), from: rows.name }
    : newestAnswerSql(rows);
  const padding = new Array<string>(width - values.length).fill('null');
  const columns = [...values.map((value) => `array_agg(${value}::text)::text`), ...padding];
  const list = columns.map((expression, index) => `${expression} as column_${index}`).join(', ');
  return `select ${place} as shape, count(*) as rows, ${list} from ${from}`;
}
