import { JOIN_JOBS_PAUSED, LEAVE_JOBS_PAUSED, PAUSE_JOBS_ALONE, TRY_JOBS_PAUSED_ALONE } from '../../db/locks.js';
import type pg from 'pg';
import { readTimescaleDb } from '../tables/server-facts.js';
import { closeDatabase, openDatabase, type Database, type Queryable } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import type { TableName } from '../tables/table.js';

interface Job {
  readonly id: number;
  readonly procName: string;
  readonly table: string;
  readonly owner: string;
  /** The connected role may alter it. */
  readonly alterable: boolean;
}

/** A host that vanished is noticed by the server in half a minute, not after the two hours that TCP waits by itself. */
const HOLD_SESSION = `
  set idle_session_timeout = 0; set tcp_keepalives_idle = 15; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3`;
const BEAT_MS = 5_000;
const CALL_TIMEOUT_MS = 15_000;

/** An aggregate's policies go by its view's name, before TimescaleDB 2.9 by its storage's; ids below 1000 are the server's own. */
const FIND_JOBS = `
  with recursive place (schema, name) as (
    select hypertable_schema::text, hypertable_name::text from timescaledb_information.hypertables
    where (hypertable_schema, hypertable_name) in (select * from unnest($1::text[], $2::text[]))
    union
    select each.schema, each.name
    from place
    join timescaledb_information.continuous_aggregates as a
      on a.hypertable_schema = place.schema and a.hypertable_name = place.name
    cross join lateral (values
      (a.view_schema::text, a.view_name::text),
      (a.materialization_hypertable_schema::text, a.materialization_hypertable_name::text)
    ) as each (schema, name)
  )
  select job_id as id, proc_name::text as "procName", hypertable_name::text as "table", owner::text as owner,
    coalesce(pg_has_role(to_regrole(owner::text), 'usage'), false) as alterable
  from timescaledb_information.jobs
  join place on place.schema = hypertable_schema and place.name = hypertable_name
  where job_id >= 1000 and scheduled and proc_schema like '\\_timescaledb\\_%' and proc_name in (
    'policy_compression', 'policy_recompression', 'policy_columnstore', 'policy_retention',
    'policy_refresh_continuous_aggregate'
  )
  order by job_id`;

const REMEMBER = `
  insert into sensorctl.paused_job (job_id, proc_name, table_name, run_name)
  select job_id, proc_name, table_name, $4 from unnest($1::int[], $2::text[], $3::text[]) as job (job_id, proc_name, table_name)
  on conflict (job_id) do update set proc_name = excluded.proc_name, table_name = excluded.table_name`;

const FIND_BOOKKEEPING = "select to_regclass('sensorctl.paused_job') is not null as exists";
const FIND_REMEMBERED = 'select exists (select from sensorctl.paused_job) as exists';

/** Jobs that were deleted, or switched on by hand meanwhile, are not among them. */
const FIND_PAUSED = `
  select jobs.job_id as id, jobs.proc_name::text as "procName", table_name as "table", owner::text as owner,
    coalesce(pg_has_role(to_regrole(owner::text), 'usage'), false) as alterable
  from sensorctl.paused_job as paused
  join timescaledb_information.jobs on jobs.job_id = paused.job_id and jobs.proc_name = paused.proc_name
  where not scheduled
  order by jobs.job_id`;

const FORGET = 'delete from sensorctl.paused_job where not job_id = any ($1)';

/**
 * Runs `work` while the compression, retention and refresh policies of these hypertables, and of the continuous
 * aggregates on them, are paused; jobs that were off stay off. The last run to end on a target restores the jobs; after a
 * crash the next one does, or `restoreAbandonedPolicies`. What an operator switches on or deletes meanwhile stays so, and
 * changes to a job's configuration are kept. Policies that already run are not ended.
 *
 * Throws an UnreachableError before `work` where the connected role may not alter one of the jobs, and after it where they
 * could not be switched on again. A failure of `work` is thrown as it is; the jobs are then restored as far as possible.
 */
export async function withPausedPolicies<Result>(
  target: Database,
  tables: readonly TableName[],
  runName: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const { installed } = await readTimescaleDb(target.pool);
  if (installed === null) return await work();
  const hold = await Hold.take(target, tables, runName);
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    // The next command restores what cannot be restored now; the failure of the work is what has to be told.
    await hold.release().catch(() => undefined);
    throw error;
  }
  await hold.release();
  return result;
}

/**
 * Restores the policies that a crashed run left paused, unless a run is under way; returns the ids of the jobs that it
 * switched on. Throws an UnreachableError that names the jobs which the connected role may not alter.
 */
export async function restoreAbandonedPolicies(target: Database): Promise<readonly number[]> {
  for (const text of [FIND_BOOKKEEPING, FIND_REMEMBERED]) {
    const { rows } = await target.pool.query<{ exists: boolean }>(text);
    if (rows[0]?.exists !== true) return [];
  }
  const { installed } = await readTimescaleDb(target.pool);
  return installed === null ? [] : await restore(target, target.pool);
}

/** A run's share of the pause: a session of its own that holds the lock, and is replaced where it breaks. */
class Hold {
  readonly #connections: Database;
  readonly #keeper: NodeJS.Timeout;
  #session: pg.PoolClient | null = null;
  #beat = Promise.resolve();
  #beating = false;

  private constructor(
    private readonly target: Database,
    private readonly tables: readonly TableName[],
    private readonly runName: string,
  ) {
    const { side, connection, pool } = target;
    this.#connections = openDatabase({
      ...{ side, connection, poolMax: 2, callTimeoutMs: pool.options.query_timeout ?? CALL_TIMEOUT_MS },
      applicationName: pool.options.application_name ?? 'sensorctl',
    });
    this.#keeper = setInterval(() => {
      if (!this.#beating) this.#beat = this.#keep();
    }, BEAT_MS);
  }

  static async take(target: Database, tables: readonly TableName[], runName: string): Promise<Hold> {
    const hold = new Hold(target, tables, runName);
    try {
      await hold.#join();
      return hold;
    } catch (error) {
      await hold.release().catch(() => undefined);
      throw error;
    }
  }

  /** Gives the share back and, as the last one, restores the jobs. */
  async release(): Promise<void> {
    clearInterval(this.#keeper);
    try {
      await this.#beat;
      await this.#leave();
      await restore(this.target, this.#connections.pool);
    } catch (error) {
      throw notRestored(error, this.target);
    } finally {
      await closeDatabase(this.#connections);
    }
  }

  async #join(): Promise<void> {
    const session = await this.#connections.pool.connect();
    try {
      await session.query(HOLD_SESSION);
      await session.query(JOIN_JOBS_PAUSED);
      await repeatCollisions(() => pause(this.target, this.#connections.pool, this.tables, this.runName));
      this.#session = session;
    } catch (error) {
      session.release(true);
      throw error;
    }
  }

  /**
   * Ends the session: a lock is gone with it, whatever became of the unlocking. Throws where a session that answers did not
   * hold the lock: another one holds it then, and would keep the policies off for good.
   */
  async #leave(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    if (session === null) return;
    const given = await session.query<{ given: boolean }>(LEAVE_JOBS_PAUSED).then(
      ({ rows }) => rows[0]?.given === true,
      () => true,
    );
    session.release(true);
    if (!given) throw new Error('the lock by which they are paused was not held by the session that took it');
  }

  /** While the lock was lost another run may have restored the jobs: a new share pauses them again. */
  async #keep(): Promise<void> {
    this.#beating = true;
    const isAlive = await this.#session?.query('select').then(
      () => true,
      () => false,
    );
    if (isAlive !== true) {
      this.#session?.release(true);
      this.#session = null;
      // The server may be away: the next beat tries again.
      await this.#join().catch(() => undefined);
    }
    this.#beating = false;
  }
}

async function pause(target: Database, pool: pg.Pool, tables: readonly TableName[], runName: string): Promise<void> {
  await withTransaction(pool, async (client) => {
    await client.query(PAUSE_JOBS_ALONE);
    const jobs = await readJobs(client, FIND_JOBS, [
      tables.map(({ schema }) => schema),
      tables.map(({ name }) => name),
    ]);
    if (jobs.length === 0) return;
    const forbidden = jobs.filter((job) => !job.alterable);
    if (forbidden.length > 0) throw notAllowed(forbidden, 'paused', target);
    const ids = jobs.map(({ id }) => id);
    await client.query(REMEMBER, [ids, jobs.map((job) => job.procName), jobs.map((job) => job.table), runName]);
    await switchJobs(client, ids, 'scheduled => false');
  });
}

/** Jobs that may not be altered stay remembered, for a run whose role may. */
async function restore(target: Database, pool: pg.Pool): Promise<readonly number[]> {
  const { restored, forbidden } = await repeatCollisions(() =>
    withTransaction(pool, async (client) => {
      const { rows } = await client.query<{ alone: boolean }>(TRY_JOBS_PAUSED_ALONE);
      if (rows[0]?.alone !== true) return { restored: [], forbidden: [] };
      const jobs = await readJobs(client, FIND_PAUSED, []);
      const restored = jobs.filter((job) => job.alterable).map(({ id }) => id);
      const forbidden = jobs.filter((job) => !job.alterable);
      if (restored.length > 0) await switchJobs(client, restored, 'scheduled => true, if_exists => true');
      await client.query(FORGET, [forbidden.map(({ id }) => id)]);
      return { restored, forbidden };
    }),
  );
  if (forbidden.length > 0) throw notAllowed(forbidden, 'switched on again', target);
  return restored;
}

async function switchJobs(client: Queryable, ids: readonly number[], change: string): Promise<void> {
  const { schema } = await readTimescaleDb(client);
  const alter = `${quoteIdentifier(schema ?? 'public')}.alter_job(job_id, ${change})`;
  await client.query(`select ${alter} from unnest($1::int[]) as job (job_id)`, [ids]);
}

async function readJobs(client: Queryable, sql: string, values: readonly unknown[]): Promise<Job[]> {
  return (await client.query<Job & Record<string, unknown>>(sql, [...values])).rows;
}

function notAllowed(jobs: readonly Job[], what: string, { side, connection }: Database): UnreachableError {
  const names = jobs.map(({ id, procName, table, owner }) => `${id} (${procName} on ${table}, owned by ${owner})`);
  const scheduled = what === 'paused' ? 'false' : 'true';
  const statements = jobs.map(({ id }) => `select alter_job(${id}, scheduled => ${scheduled});`);
  const owners = [...new Set(jobs.map(({ owner }) => owner))];
  return new UnreachableError(
    `on the ${sideTitle(side)} database the role ${connection.user} may not alter jobs that must be ${what}: ${names.join(', ')}`,
    { code: 'jobs-not-owned', facts: { statements, owners, user: connection.user } },
  );
}

function notRestored(error: unknown, { side }: Database): Error {
  if (error instanceof UnreachableError) return error;
  return new UnreachableError(
    `the TimescaleDB policies that were paused on the ${sideTitle(side)} database could not be switched on again: ${describeFault(error)}`,
    { code: 'policies-not-restored', cause: error },
  );
}
