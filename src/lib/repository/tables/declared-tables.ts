import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { PREPARE_ALONE } from '../../db/locks.js';
import { withTransaction } from '../../db/transaction.js';
import type { DeclaredTable, DeclaredTables, NewTable } from '../../domain/row.js';
import type { Side } from '../../domain/side.js';
import type { Problem } from '../../errors.js';
import { fitsDeclared } from './column-values.js';
import { findLosingTables, readTables } from './read-tables.js';
import { readOwnSchema, readTimescaleDb } from './server-facts.js';
import { columnOf, hasUniqueKey, tableSql, type Table } from './table.js';

/** Something that stands in the way of dual write. */
export interface Obstacle {
  readonly table: string;
  readonly problem: string;
  /** Nothing can be written to the table as it is; a missing key blocks the primary only. */
  readonly blocks: boolean;
  /** The problem and its facts, for advice. */
  readonly advice: Problem;
}

/** What `createDeclaredTables` found or did, a line a table. */
export interface TablePreparation {
  readonly table: string;
  readonly action: 'created' | 'kept';
  readonly hypertable: boolean;
}

const CHUNK_INTERVAL = '1 day';

const createHypertableSql = (timescaleDbSchema: string): string => `
  select ${quoteIdentifier(timescaleDbSchema)}.create_hypertable($1::regclass, $3::name,
    chunk_time_interval => $2::interval, create_default_indexes => false)`;

/** Creates those that are missing, as hypertables where TimescaleDB is in use; leaves the others as they are. */
export async function createDeclaredTables(
  database: Database,
  declared: DeclaredTables,
  timescaleDb: boolean,
): Promise<TablePreparation[]> {
  return await withTransaction(database.pool, async (client) => {
    await client.query(PREPARE_ALONE);
    const existing = await readTables(client, Object.keys(declared));
    const schema = await readOwnSchema(client);
    const timescaleDbSchema = timescaleDb ? (await readTimescaleDb(client)).schema : null;
    const preparations: TablePreparation[] = [];
    for (const [name, { create }] of Object.entries(declared)) {
      if (create === undefined) continue;
      const table = existing.get(name);
      if (table === undefined) await createTable(client, { name: { schema, name } }, { create, timescaleDbSchema });
      const hypertable = table === undefined ? timescaleDb && create.axis !== undefined : table.hypertable !== null;
      preparations.push({ table: name, action: table === undefined ? 'created' : 'kept', hypertable });
    }
    return preparations;
  });
}

/** A hypertable where it has an axis and the schema of TimescaleDB's functions is given. */
async function createTable(
  client: Queryable,
  table: Pick<Table, 'name'>,
  { create, timescaleDbSchema }: { readonly create: NewTable; readonly timescaleDbSchema: string | null },
): Promise<void> {
  const { name } = table.name;
  const { columns, uniqueKey, axis } = create;
  const lines = Object.entries(columns).map(([column, type]) => `${quoteIdentifier(column)} ${type}`);
  if (uniqueKey !== undefined) {
    const list = uniqueKey.map(quoteIdentifier).join(', ');
    lines.push(`constraint ${quoteIdentifier(`${name}_key`)} unique (${list})`);
  }
  await client.query(`create table ${tableSql(table)} (${lines.join(', ')})`);
  if (axis === undefined) return;
  if (timescaleDbSchema !== null)
    await client.query(createHypertableSql(timescaleDbSchema), [tableSql(table), CHUNK_INTERVAL, axis]);
  const index = quoteIdentifier(`${name}_${axis}_idx`);
  await client.query(`create index ${index} on ${tableSql(table)} (${quoteIdentifier(axis)} desc)`);
}

/** Reads what stands in the way of writing these tables on this side; empty when nothing does. */
export async function findObstacles({ pool, side }: Database, declared: DeclaredTables): Promise<Obstacle[]> {
  const tables = await readTables(pool, Object.keys(declared));
  return Object.entries(declared).flatMap(([name, each]) => obstaclesOf(name, each, { table: tables.get(name), side }));
}

/** The one obstacle that gives no error when batches are written, and may come at any time: null where it has not. */
export async function findLoss({ pool }: Database, declared: DeclaredTables): Promise<Obstacle | null> {
  const [losing] = await findLosingTables(pool, Object.keys(declared));
  return losing === undefined ? null : losesRows(losing);
}

interface OnSide {
  readonly table: Table | undefined;
  readonly side: Side;
}

const MISFIT: Problem = { code: 'decoder-misfit' };

function obstaclesOf(name: string, declared: DeclaredTable, { table, side }: OnSide): Obstacle[] {
  if (table === undefined) {
    const advice: Problem = declared.create === undefined ? MISFIT : { code: 'not-prepared', facts: { side } };
    return [{ table: name, problem: 'does not exist', blocks: true, advice }];
  }
  const found = Object.entries(declared.columns).flatMap(([column, type]) => columnObstacle(table, column, type) ?? []);
  const missing = found.map(({ problem, column }) => ({
    table: name,
    problem,
    blocks: true,
    advice: adviceOn(name, declared, column),
  }));
  if (table.hypertable?.losesRows === true) missing.push(losesRows(name));
  if (missing.length > 0 || hasKey(table, declared)) return missing;
  const isRequired = declared.write !== undefined && declared.write !== 'first';
  const advice: Problem = { code: 'key-missing', facts: { side } };
  const key = declared.key === undefined ? 'of the columns that are written' : `(${declared.key.join(', ')})`;
  return [
    {
      table: name,
      problem: `has no unique key ${key}`,
      blocks: isRequired,
      advice: declared.create === undefined ? MISFIT : advice,
    },
  ];
}

/** `column` is one that is missing; null where it is there, and does not fit. */
function columnObstacle(table: Table, name: string, type: string): { problem: string; column: string | null } | null {
  const column = columnOf(table, name);
  if (column === undefined) return { problem: `has no column ${name}`, column: name };
  if (column.generated != null) return { problem: `computes its column ${name} by itself`, column: null };
  if (fitsDeclared(column, type)) return null;
  return { problem: `has the column ${name} as ${column.type}, where the decoder writes ${type}`, column: null };
}

function adviceOn(table: string, declared: DeclaredTable, column: string | null): Problem {
  if (column === null || declared.create === undefined) return MISFIT;
  return { code: 'column-missing', facts: { statement: addWrittenColumnSql(table, declared, column) } };
}

/** Adds a column that the decoder writes, with the type that it has in a new table. */
export function addWrittenColumnSql(table: string, { columns, create }: DeclaredTable, column: string): string {
  const type = (create?.columns[column] ?? columns[column] ?? 'text').replace(' not null', '');
  return `alter table ${quoteIdentifier(table)} add column ${quoteIdentifier(column)} ${type};`;
}

function hasKey(table: Table, { key, columns }: DeclaredTable): boolean {
  if (key !== undefined) return hasUniqueKey(table, key);
  return table.uniqueKeys.some((each) => each.columns.every((name) => name in columns));
}

function losesRows(table: string): Obstacle {
  const problem =
    'has compression on, and TimescaleDB before 2.18.1 loses rows that are written into compressed chunks';
  return { table, problem, blocks: true, advice: { code: 'timescaledb-too-old' } };
}
