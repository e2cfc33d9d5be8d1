import type { Database } from '../../db/database.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { runTransaction } from '../../db/transaction.js';
import type { MigrationState } from '../../domain/migration.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import { ConflictError, UsageError } from '../../errors.js';
import { silentLogger, type Logger } from '../../logger.js';
import { endWriters, waitForFence } from './fence.js';
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
 * primary when `last` was read, and asks the other one where that side names it, or does not answer. Without `last`, as when
 * a process starts, both are asked: a side that was restored from an older copy still names itself. A switch that was
 * committed and not completed is completed on the way. Throws where the side that may decide does not answer, and a
 * ConflictError where both name themselves in one epoch.
 */
export async function findDecidingState(
  sides: MigrationSides,
  last: Side | null = null,
  logger: Logger = silentLogger,
): Promise<DecidingState> {
  const own = required(sides, last ?? 'local');
  let state: MigrationState;
  try {
    state = await readState(own.pool);
  } catch (error) {
    return await otherAlone(sides, own.side, error);
  }
  if (state.primary !== own.side) return await decideByEpoch({ database: own, state }, required(sides, state.primary));
  const rival = last === null ? await findNamingItself(sides[otherSide(own.side)]) : null;
  return rival === null ? { state, primary: own } : await decideBetween([{ state, primary: own }, rival], logger);
}

/** A side whose own record makes it the primary; null also where it does not answer. */
async function findNamingItself(database: Database | null): Promise<DecidingState | null> {
  const state = database === null ? null : await readState(database.pool).catch(() => null);
  if (database === null || state?.primary !== database.side || state.phase === null) return null;
  return { state, primary: database };
}

/** Each names itself: the one with the lower epoch was restored from an older copy, and is put behind the fence again. */
async function decideBetween([one, other]: [DecidingState, DecidingState], logger: Logger): Promise<DecidingState> {
  const { epoch } = one.state;
  if (epoch === other.state.epoch) {
    throw new ConflictError(`both sides record themselves as the primary in epoch ${epoch}; nothing is written`, {
      code: 'two-primaries',
    });
  }
  const [deciding, restored] = epoch > other.state.epoch ? [one, other] : [other, one];
  // A record of draining is no copy: whoever reads it once that is over puts the side behind the fence.
  if (deciding.state.attempt !== null) return deciding;
  const [older, newer] = [sideTitle(restored.primary.side), sideTitle(deciding.primary.side)];
  logger.warn(
    `the record on ${older} was restored from an older copy: ${newer} is the primary, and ${older} takes no batch`,
    {
      epoch: deciding.state.epoch,
      olderEpoch: restored.state.epoch,
      next: { code: 'record-restored' },
    },
  );
  await copyRecord(restored.primary, deciding.state);
  return deciding;
}

/** The other side decides alone where its own record makes it the primary: nobody else can have taken that away. */
async function otherAlone(sides: MigrationSides, silent: Side, error: unknown): Promise<DecidingState> {
  const other = await findNamingItself(sides[otherSide(silent)]);
  if (other === null) throw error;
  return other;
}

/** Where the two records do not both name their own side, the higher epoch decides; it is copied to the other side. */
async function decideByEpoch(
  pointing: { readonly database: Database; readonly state: MigrationState },
  other: Database,
): Promise<DecidingState> {
  const theirs = await readState(other.pool);
  if (theirs.epoch > pointing.state.epoch) {
    if (theirs.primary === other.side) return { state: theirs, primary: other };
    await copyRecord(pointing.database, theirs);
    return { state: await readState(pointing.database.pool), primary: pointing.database };
  }
  if (theirs.epoch < pointing.state.epoch) await copyRecord(other, pointing.state);
  return { state: await readState(other.pool), primary: other };
}

/** A wait for the fence longer than this, in ms, is one for a transaction that hangs. */
const FENCE_MS = 2_000;

/**
 * Copies the record that decides to the other side, unless one as new is there; any process may, any number of times. No
 * batch is taken there meanwhile, and whoever relies on the old record (a backfill that prunes) is ended if it hangs: a
 * COPY that stalls obeys no timeout.
 */
export async function copyRecord(database: Database, state: MigrationState): Promise<void> {
  const copy = [waitForFence(FENCE_MS), ...copyState(state)];
  try {
    await runTransaction(database.pool, copy);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    await endWriters(database);
    await runTransaction(database.pool, copy);
  }
}

function required(sides: MigrationSides, side: Side): Database {
  const database = sides[side];
  if (database !== null) return database;
  throw new UsageError(`the migration needs ${sideTitle(side)}, and EC2_DB_HOST is not set`, {
    code: 'ec2-not-set',
  });
}
