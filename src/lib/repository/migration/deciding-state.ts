import type { Database } from '../../db/database.js';
import { runTransaction } from '../../db/transaction.js';
import type { MigrationState } from '../../domain/migration.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import { UsageError } from '../../errors.js';
import { copyState, readState } from './state.js';

/** Both sides; null where the settings name none. */
export type MigrationSides = Readonly<Record<Side, Database | null>>;

/** The record that decides, and the side that holds it: the primary that it names itself. */
export interface DecidingState {
  readonly state: MigrationState;
  readonly primary: Database;
}

/**
 * Finds the record that decides: a side's own record that names it as the primary. Begins with the side that was the
 * primary when last looked, and asks the other one where that side names it, or does not answer. A switch that was
 * committed and not completed is completed on the way. Throws where the side that may decide does not answer.
 */
export async function findDecidingState(sides: MigrationSides, last: Side = 'local'): Promise<DecidingState> {
  const own = required(sides, last);
  let state: MigrationState;
  try {
    state = await readState(own.pool);
  } catch (error) {
    return await otherAlone(sides, last, error);
  }
  if (state.primary === last) return { state, primary: own };
  return await settle({ database: own, state }, required(sides, state.primary));
}

/** The other side decides alone where its own record makes it the primary: nobody else can have taken that away. */
async function otherAlone(sides: MigrationSides, silent: Side, error: unknown): Promise<DecidingState> {
  const other = sides[otherSide(silent)];
  const state = other === null ? null : await readState(other.pool).catch(() => null);
  if (other === null || state?.primary !== other.side || state.phase === null) throw error;
  return { state, primary: other };
}

/** Of two records that do not both name their own side the higher epoch decides; it is copied to the other side. */
async function settle(
  pointing: { readonly database: Database; readonly state: MigrationState },
  other: Database,
): Promise<DecidingState> {
  const theirs = await readState(other.pool);
  if (theirs.epoch > pointing.state.epoch) {
    if (theirs.primary === other.side) return { state: theirs, primary: other };
    await completeSwitch(pointing.database, theirs);
    return { state: await readState(pointing.database.pool), primary: pointing.database };
  }
  if (theirs.epoch < pointing.state.epoch) await completeSwitch(other, pointing.state);
  return { state: await readState(other.pool), primary: other };
}

/** Copies the record of a committed switch to the side that becomes the primary; any process may, any number of times. */
export async function completeSwitch({ pool }: Database, state: MigrationState): Promise<void> {
  await runTransaction(pool, copyState(state));
}

function required(sides: MigrationSides, side: Side): Database {
  const database = sides[side];
  if (database !== null) return database;
  throw new UsageError(`the migration needs ${sideTitle(side)}, and EC2_DB_HOST is not set`, {
    next: 'set EC2_DB_HOST in .env.local (see .env.dual-write)',
  });
}
