import type { Database, Queryable } from '../../db/database.js';
import { runTransaction, type Statement } from '../../db/transaction.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { ConflictError } from '../../errors.js';
import { readRecordedState } from './state.js';

/**
 * The fence keeps one primary an epoch. Each transaction that writes as primary holds it shared and then, in a later
 * statement, reads the record: under READ COMMITTED that statement's snapshot is newer than the lock, so it sees whatever
 * the last holder of the exclusive lock has committed. In one statement the record could be older than the lock. Both are
 * statements of the function `assert_primary`, and the lock is one on a table that nobody has rights on: functions take
 * it, for the roles that may call them.
 */

/** Goes first in a transaction that relies on who is the primary: a change of that waits for it. */
export const HOLD_FENCE = 'select sensorctl.hold_fence()';

const CLOSE_FENCE: Statement = { text: 'select sensorctl.close_fence()' };

/** Goes first in a transaction that writes as primary; it fails where the record says otherwise. */
export function assertPrimary(side: Side, epoch: number): Statement[] {
  return [{ text: 'select sensorctl.assert_primary($1, $2)', values: [side, epoch], name: 'sensorctl primary' }];
}

/** Goes before the statement that locks the fence, in its transaction: how long it may wait. */
export function waitForFence(waitMs: number): Statement {
  return { text: "select set_config('lock_timeout', $1, true)", values: [`${Math.max(1, Math.floor(waitMs))}ms`] };
}

const END_HOLDERS = `
  select pid, pg_terminate_backend(pid) as ended from pg_locks
  where locktype = 'relation' and relation = to_regclass('sensorctl.fence') and granted and pid <> pg_backend_pid()
    and database = (select oid from pg_database where datname = current_database())
    and mode <> 'AccessShareLock'`;

/** Waits until no transaction that began to write under an older record is left; false where some still hold on. */
export async function waitForWriters({ pool }: Database, waitMs: number): Promise<boolean> {
  try {
    await runTransaction(pool, [waitForFence(waitMs), CLOSE_FENCE]);
    return true;
  } catch (error) {
    if (isLockTimeout(error)) return false;
    throw error;
  }
}

/** Ends, on the server, the sessions whose transactions still hold the fence; returns how many. */
export async function endWriters({ pool }: Database): Promise<number> {
  const { rows } = await pool.query<{ pid: number; ended: boolean }>(END_HOLDERS);
  return rows.filter(({ ended }) => ended).length;
}

/**
 * Holds, in an open transaction of a side, that it goes on deciding until the transaction ends: what overwrites rows of the
 * other side would else put older ones over those that came there as to the primary. Throws a ConflictError where it does
 * not decide. The record is read by another session, as this one's snapshot may be older than the lock.
 */
export async function holdAsPrimary(client: Queryable, database: Pick<Database, 'side' | 'pool'>): Promise<void> {
  await client.query(HOLD_FENCE);
  await assertDecides(database);
}

/**
 * Throws a ConflictError where a side does not decide any more. What overwrites the other side's rows asks after it has
 * locked them: newer ones cannot be there yet, then.
 */
export async function assertDecides({ side, pool }: Pick<Database, 'side' | 'pool'>): Promise<void> {
  const { primary } = await readRecordedState(pool);
  if (primary === side) return;
  throw lostRole(`${sideTitle(side)} is not the primary any more: what ${sideTitle(primary)} holds stays`);
}

/**
 * Holds, in an open transaction, that a side does not become the primary before the transaction ends. Throws a
 * ConflictError where it is the primary.
 */
export async function holdAsSecondary(client: Queryable, side: Side): Promise<void> {
  await client.query(HOLD_FENCE);
  if ((await readRecordedState(client)).primary !== side) return;
  throw lostRole(`${sideTitle(side)} is the primary: what only it has is never deleted`);
}

function lostRole(message: string): ConflictError {
  return new ConflictError(message, { code: 'phase-changed' });
}
