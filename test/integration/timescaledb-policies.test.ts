import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { closeDatabase, type Database } from '../../src/lib/db/database.js';
import { restoreAbandonedPolicies, withPausedPolicies } from '../../src/lib/repository/timescaledb/paused-jobs.js';
import { UnreachableError } from '../../src/lib/errors.js';
import { eventually, startCli, type RunningCli } from '../support/cli.js';
import { localServer } from '../support/servers.js';
import { openTarget, TimescaleStage } from '../support/timescale.js';

const WATER = 'water_level_readings';
const MOISTURE = 'moisture_readings';

const TABLES = [WATER, MOISTURE].map(
  (table) => `
  create table ${table} (time timestamptz not null, sensor_id text not null, level int, unique (sensor_id, time));
  select create_hypertable('${table}', 'time');
  alter table ${table} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select add_compression_policy('${table}', interval '100 years');
  select add_retention_policy('${table}', interval '200 years')`,
);

const AGGREGATES = `
  create materialized view hourly with (timescaledb.continuous) as
  select time_bucket('1 hour', time) as hour, sensor_id, count(*) as n from ${WATER} group by 1, 2 with no data;
  create materialized view daily with (timescaledb.continuous) as
  select time_bucket('1 day', hour) as day, sensor_id, sum(n) as n from hourly group by 1, 2 with no data;
  alter materialized view hourly set (timescaledb.compress);
  select add_continuous_aggregate_policy('hourly', interval '3 days', interval '1 hour', interval '1 hour');
  select add_compression_policy('hourly', interval '100 years');
  select add_continuous_aggregate_policy('daily', interval '9 days', interval '1 day', interval '1 day');
  select add_retention_policy('daily', interval '200 years')`;

/** Off before any run, and not a policy. */
const BESIDE = `
  select alter_job(job_id, scheduled => false) from timescaledb_information.jobs
  where hypertable_name = 'daily' and proc_name = 'policy_retention';
  create procedure tidy(job int, config jsonb) language sql as 'select 1';
  select add_job('tidy', '1 day')`;

/** All of a job but when it runs next, which the scheduler itself moves. */
const JOBS = "select (to_jsonb(jobs) - 'next_start')::text from timescaledb_information.jobs order by job_id";
const REMEMBERED = 'select job_id from sensorctl.paused_job order by 1';

describe('policies that a run pauses', () => {
  let stage: TimescaleStage;
  let original: string[];

  before(async function () {
    stage = await TimescaleStage.open(this, 'policies');
    for (const sql of [...TABLES, AGGREGATES, BESIDE]) await stage.pool.query(sql);
    original = await stage.read(JOBS);
  });

  afterEach(async () => {
    await restoreAbandonedPolicies(stage.target);
    expect(await stage.read(REMEMBERED)).to.deep.equal([]);
  });

  after(() => (stage as TimescaleStage | undefined)?.close());

  it('are those of the table and of every aggregate on it, off from before the work to its end, and as they were then', async () => {
    const [off, remembered] = await paused(stage.target, [WATER], async () => [await switchedOff(), await remembers()]);
    expect(off).to.have.members([
      ...`${WATER} policy_compression,${WATER} policy_retention,hourly policy_compression`.split(','),
      ...['hourly', 'daily'].map((name) => `${name} policy_refresh_continuous_aggregate`),
      'daily policy_retention',
    ]);
    expect(remembered).to.have.length(5);
    expect(await stage.read(JOBS)).to.deep.equal(original);
    expect(await switchedOff()).to.deep.equal(['daily policy_retention']);
  });

  it('are restored when the work fails, and its failure is told', async () => {
    const failure = new Error('the work failed');
    const outcome = await paused(stage.target, [WATER], () => Promise.reject(failure)).catch((error: unknown) => error);
    expect(outcome).to.equal(failure);
    expect(await stage.read(JOBS)).to.deep.equal(original);
  });

  it('are restored exactly by the next command after kill -9, and not while the run lives', async () => {
    const holder = await startHolder(WATER);
    const [off, ids] = [await switchedOff(), await remembers()];
    expect(off).to.have.length(6);
    expect(await restoreAbandonedPolicies(stage.target)).to.deep.equal([]);
    expect(await switchedOff()).to.deep.equal(off);
    await kill(holder);
    const restored: number[] = [];
    await eventually('the lock of the killed run is gone', async () => {
      restored.push(...(await restoreAbandonedPolicies(stage.target)));
      return restored.length > 0;
    });
    expect(restored.map(String)).to.deep.equal(ids);
    expect(await stage.read(JOBS)).to.deep.equal(original);
    expect(await restoreAbandonedPolicies(stage.target)).to.deep.equal([]);
  });

  it('stay paused until the last of two runs ends, whichever ends first', async () => {
    for (const lastTable of [WATER, MOISTURE]) {
      const firstTable = lastTable === WATER ? MOISTURE : WATER;
      await paused(stage.target, [lastTable], async () => {
        await paused(stage.target, [firstTable], async () => expect(await switchedOff()).to.have.length(8));
        expect(await switchedOff()).to.have.length(8);
      });
      expect(await stage.read(JOBS)).to.deep.equal(original);
    }
  });

  it('stay paused for a run when another one on the same table is killed', async () => {
    const holder = await startHolder(WATER);
    await paused(stage.target, [WATER], async () => {
      const off = await switchedOff();
      await kill(holder);
      await eventually('the session of the killed run is gone', async () => (await holders()) === 1);
      expect(await restoreAbandonedPolicies(stage.target)).to.deep.equal([]);
      expect(await switchedOff()).to.deep.equal(off);
    });
    expect(await stage.read(JOBS)).to.deep.equal(original);
  });

  it('are all restored when ten runs start and end at once', async () => {
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        paused(stage.target, [index % 2 === 0 ? WATER : MOISTURE], async () => {
          const off = await switchedOff();
          expect(off).to.include(`${index % 2 === 0 ? WATER : MOISTURE} policy_retention`);
        }),
      ),
    );
    expect(await stage.read(JOBS)).to.deep.equal(original);
  });

  it('are paused again when the session that holds them breaks and another command restores them meanwhile', async () => {
    await paused(stage.target, [WATER], async () => {
      const [off, [pid]] = [await switchedOff(), await stage.read(HOLDERS)];
      const other = await stage.pool.connect();
      try {
        await other.query('begin');
        const alone = other.query("select pg_advisory_xact_lock(hashtextextended('sensorctl.paused_jobs', 0))");
        await eventually('the other waits for the lock', async () => (await stage.read(WAITING))[0] === '1');
        await stage.pool.query('select pg_terminate_backend($1)', [pid]);
        await alone;
        await other.query('select alter_job(job_id, scheduled => true) from sensorctl.paused_job');
        await other.query('delete from sensorctl.paused_job');
        await other.query('commit');
      } finally {
        other.release();
      }
      await eventually('the run has paused them again', async () => (await switchedOff()).length === off.length);
      expect(await holders()).to.equal(1);
    });
    expect(await stage.read(JOBS)).to.deep.equal(original);
  });

  it('stay as an operator sets them meanwhile: switched on, deleted, configured otherwise', async () => {
    const jobOf = async (table: string, proc: string): Promise<string> => {
      const sql = 'select job_id from timescaledb_information.jobs where hypertable_name = $1 and proc_name = $2';
      return (await stage.read(sql, [table, proc]))[0]!;
    };
    const [compression, retention] = [
      await jobOf(MOISTURE, 'policy_compression'),
      await jobOf(MOISTURE, 'policy_retention'),
    ];
    await paused(stage.target, [MOISTURE], async () => {
      await stage.pool.query("select alter_job($1, scheduled => true, schedule_interval => '5 hours')", [compression]);
      await stage.pool.query('select remove_retention_policy($1)', [MOISTURE]);
    });
    expect(await onOf(compression)).to.deep.equal(['true 05:00:00']);
    expect(await onOf(retention)).to.deep.equal([]);

    await stage.pool.query("select add_retention_policy($1, interval '300 years')", [MOISTURE]);
    const renewed = await jobOf(MOISTURE, 'policy_retention');
    await paused(stage.target, [MOISTURE], async () => {
      await stage.pool.query("select alter_job($1, schedule_interval => '6 hours')", [compression]);
      expect(await onOf(compression)).to.deep.equal(['false 06:00:00']);
    });
    expect(await onOf(compression)).to.deep.equal(['true 06:00:00']);
    expect(await onOf(renewed)).to.deep.equal(['true 1 day']);
    original = await stage.read(JOBS);
  });

  it('of another owner stop the run before its work, with the statements that the owner can run', async () => {
    const role = await createRole();
    try {
      let worked = false;
      const error = await paused(role, [WATER], () => Promise.resolve((worked = true))).catch((each: unknown) => each);
      expect(worked).to.equal(false);
      expect(error).to.be.instanceOf(UnreachableError);
      const { message } = error as UnreachableError;
      const ids = await stage.read(
        'select job_id from timescaledb_information.jobs where hypertable_name = $1 order by 1',
        [WATER],
      );
      for (const id of ids) {
        expect(message).to.contain(id);
        expect(nextStepFor(error)).to.contain(`select alter_job(${id}, scheduled => false)`);
      }
      expect(await stage.read(JOBS)).to.deep.equal(original);
      await stage.pool.query(
        'select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where job_id >= 1000',
      );
      expect(await paused(role, [WATER], () => Promise.resolve('done'))).to.equal('done');
      await stage.pool.query(
        `select alter_job(job_id, scheduled => true) from timescaledb_information.jobs where job_id >= 1000
          and not (hypertable_name = 'daily' and proc_name = 'policy_retention')`,
      );
      expect(await stage.read(JOBS)).to.deep.equal(original);
    } finally {
      await closeDatabase(role);
    }
  });

  it('that a role may not switch on are named by it, and stay remembered for one that may', async () => {
    const holder = await startHolder(WATER);
    await kill(holder);
    await eventually('the session of the killed run is gone', async () => (await holders()) === 0);
    const role = await createRole();
    try {
      const error = await restoreAbandonedPolicies(role).catch((each: unknown) => each);
      expect(error).to.be.instanceOf(UnreachableError);
      const ids = await remembers();
      expect(ids).to.have.length(5);
      for (const id of ids) expect(nextStepFor(error)).to.contain(`alter_job(${id}, scheduled => true)`);
    } finally {
      await closeDatabase(role);
    }
    expect(await restoreAbandonedPolicies(stage.target)).to.have.length(5);
    expect(await stage.read(JOBS)).to.deep.equal(original);
  });

  const HOLDERS = `
    select pid from pg_locks where locktype = 'advisory' and granted and mode = 'ShareLock'
      and database = (select oid from pg_database where datname = current_database())`;

  const WAITING = `
    select count(*) from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`;

  async function holders(): Promise<number> {
    return (await stage.read(HOLDERS)).length;
  }

  async function remembers(): Promise<string[]> {
    return await stage.read(REMEMBERED);
  }

  async function switchedOff(): Promise<string[]> {
    return await stage.read(
      "select format('%s %s', hypertable_name, proc_name) from timescaledb_information.jobs where not scheduled order by job_id",
    );
  }

  async function onOf(job: string): Promise<string[]> {
    const sql =
      "select format('%s %s', scheduled::text, schedule_interval) from timescaledb_information.jobs where job_id = $1";
    return await stage.read(sql, [job]);
  }

  async function startHolder(table: string): Promise<RunningCli> {
    const holder = await startCli([JSON.stringify(stage.connection), table], {
      program: [process.execPath, '--import', 'tsx', 'test/support/hold-policies.ts'],
    });
    await holder.printed('holding');
    return holder;
  }

  async function kill(holder: RunningCli): Promise<void> {
    holder.kill('SIGKILL');
    await holder.wait();
  }

  /** May write everything, but owns nothing. */
  async function createRole(): Promise<Database> {
    const name = 'policies_role';
    await stage.pool.query(`
      do $$ begin create role ${name} login password 'p'; exception when duplicate_object then null; end $$;
      grant usage on schema sensorctl to ${name}; grant all on all tables in schema public, sensorctl to ${name}`);
    return openTarget({ ...stage.connection, user: name, password: 'p' });
  }
});

async function paused<Result>(
  target: Database,
  tables: readonly string[],
  work: () => Promise<Result>,
): Promise<Result> {
  return await withPausedPolicies(
    target,
    tables.map((name) => ({ schema: 'public', name })),
    'test',
    work,
  );
}

describe('policies on a database without TimescaleDB', () => {
  it('are none: the work is done, and nothing is remembered or restored', async () => {
    const plain = await TimescaleStage.prepare(
      await localServer(),
      'no policies',
      `create table ${WATER} (time timestamptz)`,
    );
    try {
      expect(await paused(plain.target, [WATER], () => Promise.resolve('done'))).to.equal('done');
      expect(await restoreAbandonedPolicies(plain.target)).to.deep.equal([]);
      expect(await plain.read(REMEMBERED)).to.deep.equal([]);
    } finally {
      await plain.close();
    }
  });
});
