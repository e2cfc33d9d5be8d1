import type { Database } from '../../db/database.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { TIMES } from '../../timing.js';

/** A COPY that waits for its client obeys no timeout of the server. Parameter: ms. */
const END_STALLED = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
    and application_name like 'sensorctl %' and query ilike 'copy %' and state = 'active'
    and wait_event in ('ClientRead', 'ClientWrite') and query_start < clock_timestamp() - $1 * interval '1 millisecond'`;

/** Ends copies whose process or host is frozen, so that what they hold is free; returns how many. */
export async function endStalledCopies({ pool }: Database, stalledMs = TIMES.stalledCopyMs): Promise<number> {
  return (await pool.query(END_STALLED, [stalledMs])).rowCount ?? 0;
}

/**
 * Does work that waits for locks; where one was not to be had, whoever holds it may be frozen in a COPY: that is ended
 * then, on all these sides, so that the next try finds the lock free. Throws what the work throws.
 */
export async function endingStalledCopies<Result>(
  sides: readonly Database[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (isLockTimeout(error)) await Promise.all(sides.map((side) => endStalledCopies(side)));
    throw error;
  }
}
