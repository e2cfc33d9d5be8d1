import { quoteIdentifier } from '../../db/identifiers.js';
import { READING_COLUMNS, type ReadingTable } from '../../domain/reading.js';
import type { Role } from '../../domain/side.js';
import { OWN_PATH_TAKEN } from '../../db/search-path.js';
import { REGISTRY } from '../tables/reading-tables.js';
import { asKeySql, columnOf, type Table } from '../tables/table.js';
import type { SideTables } from '../tables/written-tables.js';
import { EVERY_TABLE_SKIPPED, tablesSkippedSql } from '../writers/own-writes.js';

/**
 * The statements that write a batch: one for the primary, one for the secondary, each a single round trip whatever the
 * size. A reading table takes one array parameter a column, in the order of `batchColumns`; the primary answers with the
 * same arrays, as text, of the rows that it accepted, and the secondary takes these as they are.
 *
 * Rows are taken in key order, tables and registry in one order, so that writers rarely deadlock. A foreign key from
 * readings to sensor_registry is checked when the statement ends, when both are there.
 */

/** Readings closer than this belong to one range of a ledger entry. */
const LEDGER_RANGE_JOIN = "interval '1 minute'";

/** The type of the sensor that a reading of the table comes from. */
export const SENSOR_TYPE: Readonly<Record<ReadingTable, string>> = {
  water_level_readings: "'water-level'",
  moisture_readings: "'moisture'",
  sensor_readings: 'sensor_type',
};

/** What keeps a reading from being stored twice: the table's unique key, or the batch's marker, which is inserted with the rows. */
export type InsertGuard = 'key' | 'marker';

/** What the statements of a batch are made for: its tables, as one side has them. */
export interface BatchTables {
  readonly names: readonly ReadingTable[];
  readonly on: SideTables;
}

/** Names a prepared statement; PostgreSQL cuts names at 63 bytes, so tables stand by a digest, guards by a letter. */
export function statementName(
  role: Role,
  { names, on }: BatchTables,
  guardOf: (table: ReadingTable) => InsertGuard = () => 'key',
): string {
  const guards = names.map((table) => guardOf(table).slice(0, 1)).join('');
  return `sensorctl ${role} ${on.id([REGISTRY, ...names])} ${guards}`;
}

/** The columns of a table in the order of its parameters. */
export function batchColumns(table: ReadingTable): readonly string[] {
  return ['time', 'sensor_id', ...Object.keys(READING_COLUMNS[table])];
}

/**
 * Writes readings where they are new, updates the registry from those accepted, and enters them in the ledger.
 * Parameters: batch id, consumer id, ledger state (`pending`, or `missed` for a batch that only the primary takes) and
 * reason, then the arrays of each table. Answers a row a table: `table_name`, `readings` accepted, and `column_0`… as array texts.
 */
export function primaryBatchSql({ names: tables, on }: BatchTables): string {
  const parameters = arrayParameters(tables, 5);
  const width = Math.max(...tables.map((table) => batchColumns(table).length));
  return `with
    ${tables.map((table) => `${accepted(table)} as (${insertReadings(table, { on, parameters, returning: 'returning *' })})`).join(',\n')},
    touched as (${tables.map((table) => selectTouched(table, accepted(table))).join('\nunion all\n')}),
    ${updateRegistrySql(writtenRegistry(on.sql(REGISTRY), on.get(REGISTRY)))},
    migration as (${BEGIN_MIGRATION}),
    entry as (${ENTER_IN_LEDGER})
    ${[beginWriting(tables, width), ...tables.map((table) => selectAccepted(table, width))].join('\nunion all\n')}`;
}

/**
 * Writes on the secondary exactly the rows that the primary accepted; what is there already stays.
 * Parameters: batch id and consumer id where a table is guarded by markers, then the arrays of each table.
 * Answers the number of rows `inserted`.
 */
export function secondaryBatchSql(
  { names: tables, on }: BatchTables,
  guardOf: (table: ReadingTable) => InsertGuard = () => 'key',
): string {
  const marked = tables.filter((table) => guardOf(table) === 'marker');
  const parameters = arrayParameters(tables, marked.length > 0 ? 3 : 1);
  const inserts = tables.map(
    (table) =>
      `${accepted(table)} as (${insertReadings(table, { on, parameters, returning: 'returning 1', guard: guardOf(table) })})`,
  );
  return `with
    ${[...marked.map((table) => `${marker(table)} as (${insertMarkerSql(table)})`), ...inserts].join(',\n')},
    touched as (${tables.map((table) => selectTouched(table, unnest(table, parameters))).join('\nunion all\n')}),
    ${updateRegistrySql(writtenRegistry(on.sql(REGISTRY), on.get(REGISTRY)))}
    select ${tables.map((table) => `(select count(*) from ${accepted(table)})`).join(' + ')} as inserted
    where ${EVERY_TABLE_SKIPPED} and ${OWN_PATH_TAKEN}`;
}

/** A consumer that is recorded dead writes nothing any more, however long its statement was under way. */
function insertMarkerSql(table: ReadingTable): string {
  return `insert into sensorctl.batch_marker (batch_id, table_name, consumer_id, by_repair)
    select $1::uuid, '${table}', $2::uuid, false
    where not exists (select from sensorctl.dead_consumer where consumer_id = $2::uuid)
    on conflict do nothing returning 1`;
}

const BEGIN_MIGRATION = `
  insert into sensorctl.migration
  select true where $3 = 'pending' and exists (select from touched) and not exists (select from sensorctl.migration)
  on conflict do nothing`;

/** Before a migration began, a batch that only the primary takes is in no ledger. */
const ENTERS = `($3 = 'pending' or exists (select from sensorctl.migration) or exists (select from sensorctl.state))`;

/** Rows that are updated are entered by their keys, readings by their times. */
const ENTER_IN_LEDGER = `
  insert into sensorctl.ledger (batch_id, consumer_id, state, reason, table_name, times, keys, readings)
  select $1::uuid, $2::uuid, $3, $4, entered.*
  from (
    select '${REGISTRY}', '{}'::tstzmultirange, jsonb_agg(jsonb_build_array(sensor_id::text)), 0
    from registry having count(*) > 0
    union all
    select table_name, range_agg(tstzrange(first_time, last_time + interval '1 microsecond')), null, sum(readings)
    from (
      select table_name, min(time) as first_time, max(time) as last_time, count(*) as readings
      from (
        select table_name, time,
          count(*) filter (where time - previous > ${LEDGER_RANGE_JOIN}) over (partition by table_name order by time) as run
        from (
          select table_name, time, lag(time) over (partition by table_name order by time) as previous from touched
        ) as neighbours
      ) as runs
      group by table_name, run
    ) as ranges
    group by table_name
  ) as entered
  where ${ENTERS}`;

/** The registry of a side: in a statement, and the key of its rows made of `sensor_id`. */
export interface WrittenRegistry {
  readonly sql: string;
  readonly key: string;
}

export function writtenRegistry(sql: string, table: Table | undefined): WrittenRegistry {
  return { sql, key: asKeySql(table && columnOf(table, 'sensor_id'), 'sensor_id') };
}

/** Merges by maximum: applied in any order, any number of times, both sides end alike. Ties go to the greater value, by bytes: collations differ. */
export const updateRegistrySql = ({ sql, key }: WrittenRegistry): string => `
    located as (
      insert into sensorctl.sensor_location as known (sensor_id, located_at, lat, lng)
      select distinct on (sensor_id) sensor_id, time, lat, lng
      from touched where lat is not null and lng is not null
      order by sensor_id, time desc, lat desc, lng desc
      on conflict (sensor_id) do update
      set located_at = excluded.located_at, lat = excluded.lat, lng = excluded.lng
      where (excluded.located_at, excluded.lat, excluded.lng) > (known.located_at, known.lat, known.lng)
      returning sensor_id, lat, lng
    ),
    registry as (
      insert into ${sql} as known (sensor_id, sensor_type, last_seen, location_lat, location_lng)
      select newest.sensor_id, sensor_type, time, located.lat, located.lng
      from (
        select distinct on (${key}) sensor_id, sensor_type, time
        from touched order by ${key}, time desc, sensor_type collate "C" desc, sensor_id collate "C"
      ) as newest
      left join located using (sensor_id)
      order by newest.sensor_id
      on conflict (sensor_id) do update
      set last_seen = greatest(known.last_seen, excluded.last_seen),
        sensor_type = case
          when known.last_seen is null
            or (excluded.last_seen, excluded.sensor_type collate "C") > (known.last_seen, coalesce(known.sensor_type, ''))
          then coalesce(excluded.sensor_type, known.sensor_type) else known.sensor_type end,
        location_lat = coalesce(excluded.location_lat, known.location_lat),
        location_lng = coalesce(excluded.location_lng, known.location_lng)
      returning sensor_id
    )`;

/** What the rule remembers of sensors: when and where the newest reading with a location was. Parameter: their ids. */
export const READ_RULE_MEMORY = `
  select sensor_id, located_at::text, lat::text, lng::text from sensorctl.sensor_location where sensor_id = any ($1)`;
export const RULE_MEMORY_COLUMNS = ['sensor_id', 'located_at', 'lat', 'lng'] as const;

/** Merges that by maximum, as `updateRegistrySql` does. Parameters: an array a column. */
export const MERGE_RULE_MEMORY = `
  insert into sensorctl.sensor_location as known (sensor_id, located_at, lat, lng)
  select sensor_id, located_at, lat, lng
  from unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[]) as given (sensor_id, located_at, lat, lng)
  order by sensor_id
  on conflict (sensor_id) do update set located_at = excluded.located_at, lat = excluded.lat, lng = excluded.lng
  where (excluded.located_at, excluded.lat, excluded.lng) > (known.located_at, known.lat, known.lng)`;

type Parameters = ReadonlyMap<ReadingTable, number>;

function arrayParameters(tables: readonly ReadingTable[], first: number): Parameters {
  const parameters = new Map<ReadingTable, number>();
  let next = first;
  for (const table of tables) {
    parameters.set(table, next);
    next += batchColumns(table).length;
  }
  return parameters;
}

interface Insert {
  readonly on: SideTables;
  readonly parameters: Parameters;
  readonly returning: string;
  readonly guard?: InsertGuard;
}

function insertReadings(table: ReadingTable, { on, parameters, returning, guard = 'key' }: Insert): string {
  const columns = batchColumns(table).map(quoteIdentifier).join(', ');
  return `insert into ${on.sql(table)} (${columns})
    select ${columns} from ${unnest(table, parameters)} ${guardCondition(table, guard)}
    order by sensor_id, time, ordinality
    ${guard === 'key' ? 'on conflict (sensor_id, time) do nothing' : ''} ${returning}`;
}

function guardCondition(table: ReadingTable, guard: InsertGuard): string {
  return guard === 'key' ? '' : `where exists (select from ${marker(table)})`;
}

function unnest(table: ReadingTable, parameters: Parameters): string {
  return unnestColumns(table, parameters.get(table) ?? 0, `${accepted(table)}_in`);
}

/** The array parameters of a table, from `$first` on, as rows under `alias`, with their place in `ordinality`. */
function unnestColumns(table: ReadingTable, first: number, alias: string): string {
  const columns = batchColumns(table);
  const arrays = columns.map((column, index) => `$${first + index}::${parameterType(table, column)}[]`);
  const names = [...columns, 'ordinality'].map(quoteIdentifier);
  return `unnest(${arrays.join(', ')}) with ordinality as ${alias} (${names.join(', ')})`;
}

/** The type a value travels as: wide, so that rounding and limits are those of the column that takes it. */
function parameterType(table: ReadingTable, column: string): string {
  if (column === 'time') return 'timestamptz';
  const declared = READING_COLUMNS[table][column] ?? 'text';
  if (/^(numeric|integer)/.test(declared)) return 'numeric';
  return /^(double precision|boolean|jsonb)/.exec(declared)?.[0] ?? 'text';
}

/** What readings mean for the registry; `source` is a table or a from-item that has the table's columns. */
export function selectTouched(table: ReadingTable, source: string): string {
  return `select '${table}' as table_name, sensor_id::text as sensor_id, ${SENSOR_TYPE[table]}::text as sensor_type,
    time::timestamptz as time, location_lat as lat, location_lng as lng from ${source}`;
}

/**
 * No row; goes before what reads from the inserts, so that triggers run under the role's own search path, and those of
 * other writers leave alone what the statement enters.
 */
function beginWriting(tables: readonly ReadingTable[], width: number): string {
  const columns = Array.from({ length: width }, (_, index) => `null::text as column_${index}`);
  return `select null::text as table_name, null::bigint as readings, ${columns.join(', ')} 
    where not (${tablesSkippedSql([REGISTRY, ...tables], ENTERS)} and ${OWN_PATH_TAKEN})`;
}

/** Each column as one array text, so that the rows pass through Node without being parsed; padded to one width. */
function selectAccepted(table: ReadingTable, width: number): string {
  const arrays = batchColumns(table).map((column) => {
    const value = column === 'time' ? 'time::timestamptz' : quoteIdentifier(column);
    return `array_agg(${value}::text)::text`;
  });
  const padding = new Array<string>(width - arrays.length).fill('null');
  const columns = [...arrays, ...padding].map((expression, index) => `${expression} as column_${index}`);
  return `select '${table}' as table_name, count(*) as readings, ${columns.join(', ')} from ${accepted(table)}`;
}

function marker(table: ReadingTable): string {
  return `${table}_marker`;
}

function accepted(table: ReadingTable): string {
  return `${table}_accepted`;
}
