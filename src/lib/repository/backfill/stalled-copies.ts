import type { Database } from '../../db/database.js';

/** A COPY that waits for its client obeys no timeout of the server; none of ours takes nearly so long. Parameter: ms. */
const END_STALLED = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
    and application_name like 'sensorctl %' and query ilike 'copy %' and state = 'active'
    and wait_event in ('ClientRead', 'ClientWrite') and query_start < clock_timestamp() - $1 * interval '1 millisecond'`;

const STALLED_MS = 60_000;

/** Ends copies whose process or host is frozen, so that what they hold is free; returns how many. */
export async function endStalledCopies({ pool }: Database, stalledMs = STALLED_MS): Promise<number> {
  return (await pool.query(END_STALLED, [stalledMs])).rowCount ?? 0;
}
