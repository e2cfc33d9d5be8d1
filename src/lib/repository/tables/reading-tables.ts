import { findLosingTables, readTables } from './read-tables.js';
import { readOwnSchema, readServer, readTimescaleDb } from './server-facts.js';
import { columnOf, hasUniqueKey, tableSql, type Table } from './table.js';
import type { KnownTable, UpdateRule } from './table-pair.js';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { withTransaction } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError, type Problem } from '../../errors.js';
import { PREPARE_ALONE } from '../../db/locks.js';
import { READING_COLUMNS, READING_TABLES, type ReadingTable } from '../../domain/reading.js';

/** The key of a reading. */
export const READING_KEY = ['sensor_id', 'time'] as const;

/** Known sensors; EC2 may carry foreign keys from the readings to it. */
export const REGISTRY = 'sensor_registry';
/** The four tables of sensorctl, parents first. */
export const ALL_TABLES: readonly string[] = [REGISTRY, ...READING_TABLES];
/** Columns of the registry that each side sets for itself. */
export const REGISTRY_OWN_COLUMNS: readonly string[] = ['created_at', 'updated_at'];
export const REGISTRY_KEY = ['sensor_id'] as const;
const CHUNK_INTERVAL = '1 day';

const REGISTRY_RULE: UpdateRule = {
  newestBy: 'last_seen',
  columns: ['sensor_type', 'last_seen'],
  remembered: ['location_lat', 'location_lng'],
};

/** What is known of the guide's tables beside what the catalogs say. */
export const KNOWN_TABLES: ReadonlyMap<string, KnownTable> = new Map<string, KnownTable>([
  [REGISTRY, { key: REGISTRY_KEY, axis: null, except: REGISTRY_OWN_COLUMNS, updated: REGISTRY_RULE }],
  ...READING_TABLES.map((table) => [table, { key: READING_KEY, axis: 'time', except: [], updated: null }] as const),
]);
/** Those without an axis are compared whole, and brought by their keys. */
export const WHOLE_TABLES: readonly string[] = [...KNOWN_TABLES].flatMap(([table, { axis }]) =>
  axis === null ? [table] : [],
);
/** The column along which each of the others is cut. */
export const KNOWN_AXES: ReadonlyMap<string, string> = new Map(
  [...KNOWN_TABLES].flatMap(([table, { axis }]) => (axis === null ? [] : [[table, axis] as const])),
);

/** What stands in the way of dual write. */
export interface Obstacle {
  readonly table: string;
  readonly problem: string;
  /** Nothing can be written to the table as it is; a missing key blocks the primary only. */
  readonly blocks: boolean;
  /** What advice on it needs. */
  readonly advice: Problem;
}

/** What `createReadingTables` found or did, a line a table. */
export interface TablePreparation {
  readonly table: string;
  readonly action: 'created' | 'kept';
  readonly hypertable: boolean;
}

/** Of a new sensor_registry. */
const REGISTRY_TYPES: Readonly<Record<string, string>> = {
  sensor_id: 'varchar(255) primary key',
  sensor_type: 'varchar(50)',
  manufacturer: 'varchar(255)',
  model: 'varchar(255)',
  installation_date: 'timestamptz',
  last_seen: 'timestamptz',
  location_lat: 'double precision',
  location_lng: 'double precision',
  metadata: 'jsonb',
  is_active: 'boolean default true',
  created_at: 'timestamptz default now()',
  updated_at: 'timestamptz default now()',
};

const createHypertableSql = (timescaleDbSchema: string): string => `
  select ${quoteIdentifier(timescaleDbSchema)}.create_hypertable($1::regclass, 'time',
    chunk_time_interval => $2::interval, create_default_indexes => false)`;

/** Multiranges came with PostgreSQL 14. */
export const OLDEST_SERVER = 140_000;

/** The columns that sensorctl writes in sensor_registry. */
const REGISTRY_COLUMNS = ['sensor_id', 'sensor_type', 'last_seen', 'location_lat', 'location_lng'];

/** Of the key of a new reading table. */
const KEY_TYPES: Readonly<Record<string, string>> = { time: 'timestamptz', sensor_id: 'varchar(255)' };

/** Creates the TimescaleDB extension where the server has it loaded; returns its version, null where it is not in use. */
export async function prepareTimescaleDb({ pool }: Database): Promise<string | null> {
  const state = await readTimescaleDb(pool);
  if (state.installed !== null || !state.creatable) return state.installed;
  try {
    const schema = quoteIdentifier(await readOwnSchema(pool));
    await pool.query(`create extension if not exists timescaledb schema ${schema}`);
  } catch (error) {
    // Two processes at once collide in the catalog (23505); one of them has created it.
    if (sqlstateOf(error) !== '23505') throw error;
  }
  return (await readTimescaleDb(pool)).installed;
}

/** Creates the missing ones of the four tables, as hypertables where TimescaleDB is in use; leaves the others as they are. */
export async function createReadingTables(database: Database, timescaleDb: boolean): Promise<TablePreparation[]> {
  return await withTransaction(database.pool, async (client) => {
    await client.query(PREPARE_ALONE);
    const existing = await readTables(client, ALL_TABLES);
    const schema = await readOwnSchema(client);
    const timescaleDbSchema = timescaleDb ? (await readTimescaleDb(client)).schema : null;
    const preparations: TablePreparation[] = [];
    for (const name of ALL_TABLES) {
      const table = existing.get(name);
      if (table === undefined) await createTable(client, { name: { schema, name } }, timescaleDbSchema);
      const hypertable = table === undefined ? timescaleDb && name !== REGISTRY : table.hypertable !== null;
      preparations.push({ table: name, action: table === undefined ? 'created' : 'kept', hypertable });
    }
    return preparations;
  });
}

/** Reads what stands in the way of writing batches into this side; empty when nothing does. */
export async function findObstacles(database: Database): Promise<Obstacle[]> {
  const tables = await readTables(database.pool, ALL_TABLES);
  return [
    ...obstaclesOf(REGISTRY, REGISTRY_KEY, tables, database),
    ...READING_TABLES.flatMap((table) => obstaclesOf(table, READING_KEY, tables, database)),
  ];
}

/** The one obstacle that gives no error when batches are written, and may come at any time: null where it has not. */
export async function findLoss({ pool }: Database): Promise<Obstacle | null> {
  const [losing] = await findLosingTables(pool, READING_TABLES);
  return losing === undefined ? null : losesRows(losing);
}

/** The columns that a batch writes in a table; none of a table that is not one of the four. */
export function columnsWritten(table: string): readonly string[] {
  if (table === REGISTRY) return REGISTRY_COLUMNS;
  const columns = (READING_COLUMNS as Readonly<Record<string, object>>)[table];
  return columns === undefined ? [] : [...READING_KEY, ...Object.keys(columns)];
}

function obstaclesOf(
  name: string,
  key: readonly string[],
  tables: ReadonlyMap<string, Table>,
  { side }: Database,
): Obstacle[] {
  const table = tables.get(name);
  if (table === undefined)
    return [
      { table: name, problem: 'does not exist', blocks: true, advice: { code: 'not-prepared', facts: { side } } },
    ];
  const missing = columnsWritten(name)
    .filter((column) => columnOf(table, column) === undefined)
    .map((column): Obstacle => ({
      table: name,
      problem: `has no column ${column}`,
      blocks: true,
      advice: { code: 'column-missing', facts: { statement: addColumnSql(name, column) } },
    }));
  if (table.hypertable?.losesRows === true) missing.push(losesRows(name));
  if (missing.length > 0 || hasUniqueKey(table, key)) return missing;
  const advice: Problem = { code: 'key-missing', facts: { side } };
  return [{ table: name, problem: `has no unique key (${key.join(', ')})`, blocks: name === REGISTRY, advice }];
}

function losesRows(table: string): Obstacle {
  const problem =
    'has compression on, and TimescaleDB before 2.18.1 loses rows that are written into compressed chunks';
  return { table, problem, blocks: true, advice: { code: 'timescaledb-too-old' } };
}

/** Throws an UnreachableError where the server is too old or its encoding cannot hold every message. */
export async function assertServer({ pool, side }: Database): Promise<void> {
  const { version, encoding } = await readServer(pool);
  const where = `the ${sideTitle(side)} database`;
  if (version < OLDEST_SERVER) {
    const message = `${where} is PostgreSQL ${Math.floor(version / 10_000)}; sensorctl needs 14 or newer (multiranges)`;
    throw new UnreachableError(message, { code: 'server-too-old' });
  }
  if (encoding === 'UTF8') return;
  throw new UnreachableError(`${where} has the encoding ${encoding}, which cannot hold every message`, {
    code: 'encoding-not-utf8',
  });
}

/** Adds a column that sensorctl writes, with the type that a new table gives it. */
export function addColumnSql(table: string, column: string): string {
  const readings = (READING_COLUMNS as Record<string, Record<string, string>>)[table];
  const type = table === REGISTRY ? REGISTRY_TYPES[column] : (readings?.[column] ?? KEY_TYPES[column]);
  if (type === undefined) throw new TypeError(`sensorctl writes no ${column} in ${table}`);
  return `alter table ${quoteIdentifier(table)} add column ${quoteIdentifier(column)} ${type.replace(' not null', '')};`;
}

/** A hypertable where the schema of TimescaleDB's functions is given. */
async function createTable(
  client: Queryable,
  table: Pick<Table, 'name'>,
  timescaleDbSchema: string | null,
): Promise<void> {
  const { name } = table.name;
  if (name === REGISTRY) {
    const types = Object.entries(REGISTRY_TYPES).map(([column, type]) => `${column} ${type}`);
    await client.query(`create table ${tableSql(table)} (${types.join(', ')})`);
    return;
  }
  const columns = Object.entries(READING_COLUMNS[name as ReadingTable]).map(
    ([column, type]) => `${quoteIdentifier(column)} ${type}`,
  );
  await client.query(`create table ${tableSql(table)} (
    "time" ${KEY_TYPES.time} not null,
    sensor_id ${KEY_TYPES.sensor_id} not null,
    ${columns.join(',\n    ')},
    constraint ${quoteIdentifier(`${name}_key`)} unique (${READING_KEY.join(', ')})
  )`);
  if (timescaleDbSchema !== null)
    await client.query(createHypertableSql(timescaleDbSchema), [tableSql(table), CHUNK_INTERVAL]);
  await client.query(`create index ${quoteIdentifier(`${name}_time_idx`)} on ${tableSql(table)} ("time" desc)`);
}
