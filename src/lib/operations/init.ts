import { asUnreachable, type Database } from '../db/database.js';
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
import {
  createDeclaredTables,
  findObstacles,
  type Obstacle,
  type TablePreparation,
} from '../repository/tables/declared-tables.js';
import { assertServer, prepareTimescaleDb } from '../repository/tables/reading-tables.js';

export type { Obstacle };

/** What `init` found and did on one side. */
export interface SidePreparation {
  readonly side: Side;
  /** TimescaleDB's version; null where it is not in use. */
  readonly timescaleDb: string | null;
  readonly bookkeeping: { readonly from: number; readonly to: number };
  readonly tables: readonly TablePreparation[];
  readonly keysAdded: readonly KeyAddition[];
  /** What still stands in the way of dual write. */
  readonly obstacles: readonly Obstacle[];
}

/** Prepares the sides side by side. Throws a UsageError where two of them are one database. */
export async function prepareSides(
  databases: readonly Database[],
  options: { addKeys: boolean },
): Promise<SidePreparation[]> {
  const [one, other] = databases;
  if (one !== undefined && other !== undefined) await assertDistinct(queryableOf(one), queryableOf(other));
  return await Promise.all(databases.map((database) => prepareSide(database, options)));
}

/** Creates what is missing on one side; runs any number of times, from any number of processes. */
export async function prepareSide(database: Database, options: { addKeys: boolean }): Promise<SidePreparation> {
  try {
    await assertServer(database);
    const timescaleDb = await prepareTimescaleDb(database);
    const bookkeeping = await migrateBookkeeping(database);
    const tables = await createDeclaredTables(database, GUIDE_TABLES, timescaleDb !== null);
    const keys = options.addKeys ? await addKeys(database) : NO_KEYS;
    return {
      side: database.side,
      timescaleDb,
      bookkeeping,
      tables,
      keysAdded: keys.added,
      obstacles: (await findObstacles(database, GUIDE_TABLES)).map((obstacle) =>
        orCompressed(obstacle, keys, database.side),
      ),
    };
  } catch (error) {
    throw asUnreachable(error, database);
  }
}

const NO_KEYS: KeyAdditions = { added: [], compressed: [] };

/** What is in the way of adding a key, where that was just tried: to try it again is no help. */
function orCompressed(obstacle: Obstacle, { compressed }: KeyAdditions, side: Side): Obstacle {
  const found = compressed.find(({ table }) => table === obstacle.table);
  if (found === undefined || obstacle.advice.code !== 'key-missing') return obstacle;
  return {
    ...obstacle,
    problem: `${obstacle.problem}, and compressed chunks, in which duplicates cannot be removed`,
    advice: { code: 'duplicates-compressed', facts: { table: found.label, side } },
  };
}

/** What adding keys would find on one side. */
export interface KeyPreview {
  readonly side: Side;
  /** The tables that lack their key. */
  readonly tables: readonly SharedKeys[];
}

/** Says which rows share a key, and how they differ; changes nothing. */
export async function previewKeys(database: Database): Promise<KeyPreview> {
  try {
    await assertServer(database);
    return { side: database.side, tables: await findSharedKeys(database) };
  } catch (error) {
    throw asUnreachable(error, database);
  }
}
