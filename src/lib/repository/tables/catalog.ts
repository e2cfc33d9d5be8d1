import type { Queryable } from '../../db/database.js';
import { OWN_SCHEMAS, tableOidSql } from '../../db/search-path.js';

/** What the catalog says of one table, as far as writing readings into it needs. */
export interface TableShape {
  readonly name: string;
  /** Column name → type as `format_type` prints it, e.g. `numeric(5,2)`. */
  readonly columns: ReadonlyMap<string, string>;
  /** Each unique key that covers the whole table: its column names, sorted. */
  readonly uniqueKeys: readonly (readonly string[])[];
  readonly hypertable: boolean;
  /** TimescaleDB here loses rows of this table: see `losesRowsOnConflict`. */
  readonly losesRows: boolean;
}

/** What a server must be for sensorctl to work on it. */
export interface ServerFacts {
  /** Such as 150020. */
  readonly version: number;
  readonly encoding: string;
}

export interface TimescaleDbState {
  /** Version in use in this database; null where the extension is not created. */
  readonly installed: string | null;
  /** The server has the extension and has loaded it, so that it can be created here. */
  readonly creatable: boolean;
}

const READ_COLUMNS = `
  select c.relname as table_name, a.attname as column_name, format_type(a.atttypid, a.atttypmod) as type
  from unnest($1::text[]) as wanted (name)
  join pg_class c on c.oid = ${tableOidSql('wanted.name')}
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  order by c.relname, a.attnum`;

/** Partial indexes, indexes on expressions and invalid ones keep no key for ON CONFLICT to rely on. */
const READ_UNIQUE_KEYS = `
  select c.relname as table_name, array_to_json(array(
    select a.attname from pg_attribute a
    where a.attrelid = c.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]) order by a.attname
  ))::text as columns
  from unnest($1::text[]) as wanted (name)
  join pg_class c on c.oid = ${tableOidSql('wanted.name')}
  join pg_index i on i.indrelid = c.oid
  where i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null`;

const READ_TIMESCALEDB = `
  select (select extversion from pg_extension where extname = 'timescaledb') as installed,
    exists (select from pg_available_extensions where name = 'timescaledb')
      and exists (select from pg_settings where name = 'shared_preload_libraries' and setting ~ 'timescaledb') as creatable`;

const READ_SERVER = `
  select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding`;

const READ_HYPERTABLES = `
  select hypertable_name as name, compression_enabled as compressed from timescaledb_information.hypertables
  where hypertable_schema = any (${OWN_SCHEMAS})`;

/** Reads the tables of these names that the search path finds; those that do not exist are absent from the answer. */
export async function readTableShapes(
  database: Queryable,
  names: readonly string[],
): Promise<ReadonlyMap<string, TableShape>> {
  const { rows: columns } = await database.query<{ table_name: string; column_name: string; type: string }>(
    READ_COLUMNS,
    [names],
  );
  const { rows: keys } = await database.query<{ table_name: string; columns: string }>(READ_UNIQUE_KEYS, [names]);
  const hypertables = await readHypertables(database);
  const shapeOf = (name: string): TableShape => ({
    name,
    columns: new Map(columns.filter((row) => row.table_name === name).map((row) => [row.column_name, row.type])),
    uniqueKeys: keys.filter((row) => row.table_name === name).map((row) => JSON.parse(row.columns) as string[]),
    hypertable: hypertables.has(name),
    losesRows: hypertables.get(name) === true,
  });
  return new Map([...new Set(columns.map((row) => row.table_name))].map((name) => [name, shapeOf(name)]));
}

/** True where a unique key on exactly these columns exists. */
export function hasUniqueKey(shape: TableShape, columns: readonly string[]): boolean {
  const wanted = [...columns].sort().join();
  return shape.uniqueKeys.some((key) => key.join() === wanted);
}

export async function readServer(database: Queryable): Promise<ServerFacts> {
  const { rows } = await database.query<{ version: number; encoding: string }>(READ_SERVER);
  return rows[0] ?? { version: 0, encoding: '' };
}

export async function readTimescaleDb(database: Queryable): Promise<TimescaleDbState> {
  const { rows } = await database.query<{ installed: string | null; creatable: boolean }>(READ_TIMESCALEDB);
  return rows[0] ?? { installed: null, creatable: false };
}

/**
 * Before TimescaleDB 2.18.1 `insert … on conflict do nothing` into a compressed chunk drops every row after the first
 * conflict (its changelog).
 */
export function losesRowsOnConflict(version: string): boolean {
  return isBefore(version, 2, 18, 1);
}

/** Whether a version such as `2.18.0-dev` comes before another one; a pre-release counts as its release. */
export function isBefore(version: string, major: number, minor: number, patch = 0): boolean {
  const [ofMajor = 0, ofMinor = 0, ofPatch = 0] = version.split(/[.-]/).map(Number);
  const difference = ofMajor - major || ofMinor - minor || ofPatch - patch;
  return difference < 0;
}

/** Names of the hypertables whose rows TimescaleDB can lose: compression may be switched on at any time. */
export async function findLosingTables(database: Queryable): Promise<string[]> {
  const { installed } = await readTimescaleDb(database);
  if (installed === null || !losesRowsOnConflict(installed)) return [];
  return [...(await readHypertables(database))].filter(([, losesRows]) => losesRows).map(([name]) => name);
}

/** Name → whether its rows can be lost. */
async function readHypertables(database: Queryable): Promise<ReadonlyMap<string, boolean>> {
  const { installed } = await readTimescaleDb(database);
  if (installed === null) return new Map();
  const { rows } = await database.query<{ name: string; compressed: boolean }>(READ_HYPERTABLES);
  return new Map(rows.map(({ name, compressed }) => [name, compressed && losesRowsOnConflict(installed)]));
}
