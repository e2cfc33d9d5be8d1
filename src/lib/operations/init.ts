import { asUnreachable, type Database } from '../db/database.js';
import { assertDistinct } from '../db/identity.js';
import type { Side } from '../domain/side.js';
import { addKeys, type KeyAddition } from '../repository/repair/add-keys.js';
import { migrateBookkeeping } from '../repository/ledger/bookkeeping-schema.js';
import { queryableOf } from '../repository/compare/sides.js';
import {
  assertServer,
  createReadingTables,
  findObstacles,
  prepareTimescaleDb,
  type Obstacle,
  type TablePreparation,
} from '../repository/tables/reading-tables.js';

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
    const tables = await createReadingTables(database, timescaleDb !== null);
    const keysAdded = options.addKeys ? await addKeys(database) : [];
    return {
      side: database.side,
      timescaleDb,
      bookkeeping,
      tables,
      keysAdded,
      obstacles: await findObstacles(database),
    };
  } catch (error) {
    throw asUnreachable(error, database);
  }
}
