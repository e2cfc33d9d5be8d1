/**
 * Every lock by which processes of sensorctl agree among themselves. The keys of advisory locks are hashes of names, the
 * same on any server; none of them stands in the way of ingestion, since any role that can connect may take one. The
 * fence, which does, is a table that only sensorctl's roles can lock (`repository/phase/fence.ts`).
 */

/** Lets one process at a time prepare a database, and stops nobody else. */
export const PREPARE_ALONE = 'lock table sensorctl.schema_version in share update exclusive mode';

/** One process at a time brings a schema; held by a transaction, which holds nothing else. */
export const BRING_SCHEMA_ALONE = "select pg_advisory_xact_lock(hashtextextended('sensorctl.bring_schema', 0))";

/** Held shared by every run that wants background jobs paused; whoever gets it alone knows that no run is left. */
const JOBS_PAUSED = "hashtextextended('sensorctl.paused_jobs', 0)";
export const JOIN_JOBS_PAUSED = `select pg_advisory_lock_shared(${JOBS_PAUSED})`;
export const LEAVE_JOBS_PAUSED = `select pg_advisory_unlock_shared(${JOBS_PAUSED}) as given`;
export const TRY_JOBS_PAUSED_ALONE = `select pg_try_advisory_xact_lock(${JOBS_PAUSED}) as alone`;

/** One run pauses jobs at a time: the second one sees what the first has switched off. */
export const PAUSE_JOBS_ALONE = "select pg_advisory_xact_lock(hashtextextended('sensorctl.pause_jobs', 0))";

/** $1: the id of a backfill. One process plans it. */
export const TRY_PLANNING =
  "select pg_try_advisory_lock(hashtextextended('sensorctl.backfill ' || $1::text, 0)) as mine";

/** $1: the id of a comparison. One process carries it on. */
export const TRY_COMPARING =
  "select pg_try_advisory_lock(hashtextextended('sensorctl.comparison ' || $1::text, 0)) as mine";

/**
 * What writes rows of a tracked table to the secondary from what it has read before holds the first, from before it reads to
 * its commit; what only adds rows that the primary has accepted holds the other, side by side. SQL for the table's name.
 */
export const lockTargetSql = (name: string): string =>
  `pg_advisory_xact_lock(hashtextextended('sensorctl.target ' || ${name}, 0))`;
export const joinTargetSql = (name: string): string =>
  `pg_advisory_xact_lock_shared(hashtextextended('sensorctl.target ' || ${name}, 0))`;
