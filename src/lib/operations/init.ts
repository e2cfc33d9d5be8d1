import { namingSide, type Database } from '../db/database.js';
import { assertDistinct } from '../db/identity.js';
import type { Side } from '../domain/side.js';
import {
  addKeys,
  findSharedKeys,
  type KeyAddition,
  type KeyAdditions,
  type SharedKeys,
} from '../repository/repair/add-keys.js';
import { migrateBookkeeping } from '../repository/ledger/bookkeeping-schema.js';
import { queryableOf } from '../repository/compare/sides.js';
import { GUIDE_TABLES } from '../decoders/guide-tables.js';
import { holdsTables } from '../repository/schema/holds-tables.js';
import { withSchemaLock, type Brought } from '../repository/schema/apply.js';
import { readTables } from '../repository/tables/read-tables.js';
import { readTimescaleDb } from '../repository/tables/server-facts.js';
import type { Table } from '../repository/tables/table.js';
import {
  createDeclaredTables,
  findObstacles,
  type Obstacle,
  type TablePreparation,
} from '../repository/tables/declared-tables.js';
import { ALL_TABLES, assertServer, holdsGuideTables, prepareTimescaleDb } from '../repository/tables/reading-tables.js';

export type { Obstacle };

/** The outcome of `init` on one side. */
export interface SidePreparation {
  readonly side: Side;
  /** TimescaleDB's version; null where it is not in use. */
  readonly timescaleDb: string | null;
  readonly bookkeeping: { readonly from: number; readonly to: number };
  readonly tables: readonly TablePreparation[];
  readonly keysAdded: readonly KeyAddition[];
  /** What was brought from local; null where nothing was to be. */
  readonly brought: Brought | null;
  /** Obstacles that still stand in the way of dual write. */
  readonly obstacles: readonly Obstacle[];
}

export interface InitOptions {
  readonly addKeys: boolean;
  /** Brings to EC2 whatever it lacks of local's schema. */
  readonly bring: () => Promise<Brought>;
}

/** Prepares the sides side by side. Throws a UsageError where two of them are one database. */
export async function prepareSides(
  databases: readonly Database[],
  options: { addKeys: boolean },
): Promise<SidePreparation[]> {
  await assertTwo(databases);
  return await Promise.all(databases.map((database) => prepareSide(database, options)));
}

async function assertTwo([one, other]: readonly Database[]): Promise<void> {
  if (one !== undefined && other !== undefined) await assertDistinct(queryableOf(one), queryableOf(other));
}

/**
 * Prepares local, and then brings to EC2 what it lacks of local; `only` says which of the two. Throws a UsageError where
 * they are one database.
 */
export async function initSides(
  { local, ec2 }: { readonly local: Database; readonly ec2: Database },
  only: Side | 'both',
  options: InitOptions,
): Promise<SidePreparation[]> {
  await assertTwo([local, ec2]);
  const isFresh = !(await namingSide(local, () => holdsTables(local)));
  const here = only === 'ec2' ? [] : [await prepareSide(local, options)];
  return [...here, await prepareEc2(ec2, isFresh, options)];
}

/** Nothing of anybody's is brought where local held nothing before: EC2 then gets the guide's tables in its own way. */
async function prepareEc2(ec2: Database, isFresh: boolean, options: InitOptions): Promise<SidePreparation> {
  return await namingSide(ec2, async () => {
    await assertServer(ec2);
    const bookkeeping = await migrateBookkeeping(ec2);
    return await withSchemaLock(ec2, async () => {
      if (isFresh && !(await holdsTables(ec2))) return { ...(await prepareSide(ec2, options)), bookkeeping };
      const before = await readTables(ec2.pool, ALL_TABLES);
      const keys = options.addKeys ? await addKeys(ec2) : NO_KEYS;
      const brought = await options.bring();
      return { ...(await describeSide(ec2, keys)), bookkeeping, tables: await describeTables(ec2, before), brought };
    });
  });
}

/** Creates what is missing on one side by itself; runs any number of times, from any number of processes. */
export async function prepareSide(database: Database, options: { addKeys: boolean }): Promise<SidePreparation> {
  return await namingSide(database, async () => {
    await assertServer(database);
    const bookkeeping = await migrateBookkeeping(database);
    const tables = await makeGuidesTables(database);
    const keys = options.addKeys ? await addKeys(database) : NO_KEYS;
    return { ...(await describeSide(database, keys)), bookkeeping, tables };
  });
}

/** On a side without any table, or with some of the guide's; TimescaleDB is put in use for new ones alone. */
async function makeGuidesTables(database: Database): Promise<TablePreparation[]> {
  const found = (await readTables(database.pool, ALL_TABLES)).size;
  if (found === 0 && (await holdsTables(database))) return [];
  const isComplete = found === ALL_TABLES.length;
  const { installed } = await readTimescaleDb(database.pool);
  const timescaleDb = isComplete ? installed : await prepareTimescaleDb(database);
  return await createDeclaredTables(database, GUIDE_TABLES, timescaleDb !== null);
}

/** What is found on a side once everything was done; a side that holds none of the guide's tables lacks none. */
async function describeSide(
  database: Database,
  keys: KeyAdditions,
): Promise<Omit<SidePreparation, 'bookkeeping' | 'tables'>> {
  const obstacles = (await holdsGuideTables(database)) ? await findObstacles(database, GUIDE_TABLES) : [];
  return {
    side: database.side,
    timescaleDb: (await readTimescaleDb(database.pool)).installed,
    keysAdded: keys.added,
    brought: null,
    obstacles: obstacles.map((obstacle) => orCompressed(obstacle, keys, database.side)),
  };
}

async function describeTables({ pool }: Database, before: ReadonlyMap<string, Table>): Promise<TablePreparation[]> {
  return [...(await readTables(pool, ALL_TABLES))].map(([table, { hypertable }]) => ({
    table,
    action: before.has(table) ? 'kept' : 'created',
    hypertable: hypertable !== null,
  }));
}

const NO_KEYS: KeyAdditions = { added: [], compressed: [] };

/** Replaces the advice to add a key where that was just tried: to try it again is no help. */
function orCompressed(obstacle: Obstacle, { compressed }: KeyAdditions, side: Side): Obstacle {
  const found = compressed.find(({ table }) => table === obstacle.table);
  if (found === undefined || obstacle.advice.code !== 'key-missing') return obstacle;
  return {
    ...obstacle,
    problem: `${obstacle.problem}, and compressed chunks, in which duplicates cannot be removed`,
    advice: { code: 'duplicates-compressed', facts: { table: found.label, side } },
  };
}

/** The outcome that adding keys would have on one side. */
export interface KeyPreview {
  readonly side: Side;
  /** The tables that lack their key. */
  readonly tables: readonly SharedKeys[];
}

/** Says which rows share a key, and how they differ; changes nothing. */
export async function previewKeys(database: Database): Promise<KeyPreview> {
  return await namingSide(database, async () => {
    await assertServer(database);
    return { side: database.side, tables: await findSharedKeys(database) };
  });
}
