import {
  findLosingTables,
  hasUniqueKey,
  readServer,
  readTableShapes,
  readTimescaleDb,
  type TableShape,
} from './catalog.js';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { withTransaction } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError, type Problem } from '../../errors.js';
import { PREPARE_ALONE } from '../../db/locks.js';
import { READING_COLUMNS, READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import { OWN_SCHEMA, tableOidSql, tableSql, timescaleSql } from '../../db/search-path.js';

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

const createHypertableSql = (table: string): string => `
  select ${timescaleSql('create_hypertable')}(${tableOidSql(quoteLiteral(table))}::regclass, 'time',
    chunk_time_interval => $1::interval, create_default_indexes => false)`;

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
    await pool.query(`create extension if not exists timescaledb schema ${OWN_SCHEMA}`);
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
    const existing = await readTableShapes(client, ALL_TABLES);
    const preparations: TablePreparation[] = [];
    for (const table of ALL_TABLES) {
      const shape = existing.get(table);
      if (shape === undefined) await createTable(client, table, timescaleDb);
      const hypertable = shape?.hypertable ?? (timescaleDb && table !== REGISTRY);
      preparations.push({ table, action: shape === undefined ? 'created' : 'kept', hypertable });
    }
    return preparations;
  });
}

/** Reads what stands in the way of writing batches into this side; empty when nothing does. */
export async function findObstacles(database: Database): Promise<Obstacle[]> {
  const shapes = await readTableShapes(database.pool, ALL_TABLES);
  return [
    ...obstaclesOf(REGISTRY, columnsWritten(REGISTRY), REGISTRY_KEY, shapes, database),
    ...READING_TABLES.flatMap((table) => obstaclesOf(table, columnsWritten(table), READING_KEY, shapes, database)),
  ];
}

/** The one obstacle that gives no error when batches are written, and may come at any time: null where it has not. */
export async function findLoss({ pool }: Database): Promise<Obstacle | null> {
  const losing = await findLosingTables(pool);
  const table = READING_TABLES.find((each) => losing.includes(each));
  return table === undefined ? null : losesRows(table);
}

/** The columns that a batch writes in a table; none of a table that is not one of the four. */
export function columnsWritten(table: string): readonly string[] {
  if (table === REGISTRY) return REGISTRY_COLUMNS;
  const columns = (READING_COLUMNS as Readonly<Record<string, object>>)[table];
  return columns === undefined ? [] : [...READING_KEY, ...Object.keys(columns)];
}

function obstaclesOf(
  table: string,
  columns: readonly string[],
  key: readonly string[],
  shapes: ReadonlyMap<string, TableShape>,
  { side }: Database,
): Obstacle[] {
  const shape = shapes.get(table);
  if (shape === undefined)
    return [{ table, problem: 'does not exist', blocks: true, advice: { code: 'not-prepared', facts: { side } } }];
  const missing = columns
    .filter((column) => !shape.columns.has(column))
    .map((column): Obstacle => ({
      table,
      problem: `has no column ${column}`,
      blocks: true,
      advice: { code: 'column-missing', facts: { statement: addColumnSql(table, column) } },
    }));
  if (shape.losesRows) missing.push(losesRows(table));
  if (missing.length > 0 || hasUniqueKey(shape, key)) return missing;
  const advice: Problem = { code: 'key-missing', facts: { side } };
  return [{ table, problem: `has no unique key (${key.join(', ')})`, blocks: table === REGISTRY, advice }];
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

async function createTable(client: Queryable, table: string, timescaleDb: boolean): Promise<void> {
  if (table === REGISTRY) {
    const types = Object.entries(REGISTRY_TYPES).map(([column, type]) => `${column} ${type}`);
    await client.query(`create table ${tableSql(REGISTRY)} (${types.join(', ')})`);
    return;
  }
  const columns = Object.entries(READING_COLUMNS[table as ReadingTable]).map(
    ([column, type]) => `${quoteIdentifier(column)} ${type}`,
  );
  const name = tableSql(table);
  await client.query(`create table ${name} (
    "time" ${KEY_TYPES.time} not null,
    sensor_id ${KEY_TYPES.sensor_id} not null,
    ${columns.join(',\n    ')},
    constraint ${quoteIdentifier(`${table}_key`)} unique (${READING_KEY.join(', ')})
  )`);
  if (timescaleDb) await client.query(createHypertableSql(table), [CHUNK_INTERVAL]);
  await client.query(`create index ${quoteIdentifier(`${table}_time_idx`)} on ${name} ("time" desc)`);
}
