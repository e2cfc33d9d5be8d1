import type { Database, Queryable } from '../../db/database.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { ConflictError } from '../../errors.js';
import { HOLD_FENCE } from './fence.js';
import { readRecordedState } from './state.js';

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
