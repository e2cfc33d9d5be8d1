import { namingSide, type Database } from '../db/database.js';
import { assertDistinctIfKnown } from '../db/identity.js';
import type { Side } from '../domain/side.js';
import { findResting, removeAll, type Removal, type Resting } from '../repository/writers/remove-all.js';

/** The things that were taken off a side, or the reason why nothing was. */
export interface SideRemoval extends Removal {
  readonly side: Side;
  readonly resting: readonly Resting[];
}

export interface RemoveOptions {
  /** Removes though a phase, entries or open records rest on it; never what is under way. */
  readonly abandon: boolean;
  readonly dryRun: boolean;
}

/** Takes everything of sensorctl off the sides: off all of them, or, where something rests on one, off none. */
export async function removeSides(databases: readonly Database[], options: RemoveOptions): Promise<SideRemoval[]> {
  const [one, other] = databases;
  if (one !== undefined && other !== undefined) await assertDistinctIfKnown(one.pool, other.pool);
  const found: { database: Database; resting: Resting[] }[] = [];
  for (const database of databases)
    found.push({ database, resting: await namingSide(database, () => findResting(database)) });
  const isHeld = found.some(({ resting }) => resting.some(({ isRunning }) => isRunning || !options.abandon));
  const removals: SideRemoval[] = [];
  for (const { database, resting } of found) {
    const removal = isHeld || options.dryRun ? NOTHING : await namingSide(database, () => removeAll(database));
    removals.push({ side: database.side, resting, ...removal });
  }
  return removals;
}

const NOTHING: Removal = { tables: [], bookkeeping: false };
