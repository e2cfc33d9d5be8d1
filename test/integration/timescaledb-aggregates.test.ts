import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { UnreachableError } from '../../src/lib/errors.js';
import { closeDatabase } from '../../src/lib/db/database.js';
import { parseInstant } from '../../src/lib/domain/time.js';
import type { TimeRange } from '../../src/lib/domain/time-range.js';
import {
  readOldestRow,
  refreshAggregates,
  type RefreshedAggregate,
} from '../../src/lib/repository/timescaledb/continuous-aggregates.js';
import { eventually } from '../support/cli.js';
import { localServer } from '../support/servers.js';
import { openTarget, TimescaleStage } from '../support/timescale.js';

const TABLE = 'readings';
const NAME = { schema: 'public', name: TABLE };
/** The youngest first: those that are computed from others. */
const FIND_AGGREGATES = `
  select view_name from timescaledb_information.continuous_aggregates
  order by length(materialization_hypertable_name) desc, materialization_hypertable_name desc`;

const createSql = (timeType = 'timestamptz', chunk = '1 day'): string => `
  create table ${TABLE} (time ${timeType} not null, sensor_id text not null, level int not null, unique (sensor_id, time));
  select create_hypertable('${TABLE}', 'time', chunk_time_interval => interval '${chunk}')`;

/** A row every ten minutes of two sensors. */
const insertSql = (from: string, to: string, level = 1): string => `
  insert into ${TABLE} select time, sensor_id, ${level} from generate_series('${from}'::timestamp, '${to}'::timestamp - interval '1 s', '10 min') as time,
    unnest(array['A', 'B']) as sensor_id on conflict (sensor_id, time) do update set level = excluded.level`;

interface Aggregated {
  readonly name: string;
  readonly bucket: string;
  readonly over?: string;
  readonly realTime?: boolean;
}

const aggregateSql = ({ name, bucket, over, realTime = false }: Aggregated): string => `
  create materialized view ${name} with (timescaledb.continuous, timescaledb.materialized_only = ${!realTime}) as
  select ${bucket} as bucket, sensor_id, ${over === undefined ? 'count(*)' : 'sum(n)'} as n,
    ${over === undefined ? 'sum(level)' : 'sum(total)'} as total
  from ${over ?? TABLE} group by 1, 2 with no data`;

const HOURLY = { name: 'hourly', bucket: "time_bucket('1 hour', time)" };
const DAILY = { name: 'daily', bucket: "time_bucket('1 day', time)" };
const DAILY_ON_HOURLY = { name: 'daily', bucket: "time_bucket('1 day', bucket)", over: 'hourly' };
const MONTHLY = { name: 'monthly', bucket: "time_bucket('1 month', time)" };

const FIRST_HISTORY = ['2025-01-20 10:17', '2025-02-05 03:33'] as const;
const LIVE = ['2025-03-25 05:05', '2025-04-02 07:07'] as const;

describe('continuous aggregates that are refreshed', () => {
  let stage: TimescaleStage;

  before(async function () {
    stage = await TimescaleStage.open(this, 'aggregates');
  });

  afterEach(async () => {
    for (const name of await stage.read(FIND_AGGREGATES)) await stage.pool.query(`drop materialized view ${name}`);
    await stage.pool.query(`drop table if exists ${TABLE}`);
  });

  after(() => (stage as TimescaleStage | undefined)?.close());

  describe('equal what the rows say, after history came in far below the newest row', () => {
    const zoned: readonly Aggregated[] = [
      { name: 'monthly_berlin', bucket: "time_bucket('1 month', time, 'Europe/Berlin')" },
      { name: 'daily_berlin', bucket: "time_bucket('1 day', time, 'Europe/Berlin')" },
    ];
    const plain: readonly Aggregated[] = [
      HOURLY,
      MONTHLY,
      { name: 'weekly', bucket: `time_bucket('7 days', time, "offset" => interval '1 day')` },
      { name: 'quarterly', bucket: "time_bucket('3 months', time)", realTime: true },
      { ...DAILY_ON_HOURLY, bucket: "time_bucket('1 day', bucket)" },
      { name: 'yearly', bucket: "time_bucket('1 year', bucket)", over: 'daily' },
    ];
    const cases = [
      { type: 'timestamptz', aggregates: [...plain, ...zoned, origin('timestamptz')] },
      { type: 'timestamp', aggregates: [...plain, origin('timestamp')] },
    ];
    for (const { type, aggregates } of cases) {
      it(`with ${type}: ${aggregates.map(({ name }) => name).join(', ')}`, async () => {
        await build(createSql(type), ...aggregates.map(aggregateSql), insertSql(...LIVE));
        await refreshAll(aggregates);
        for (const each of aggregates) expect(await read(each), each.name).to.deep.equal(await compute(each));
        await stage.pool.query(insertSql(...FIRST_HISTORY));
        await stage.pool.query(insertSql('2025-03-30 00:40', '2025-03-30 03:20', 5));
        for (const each of aggregates) expect(await read(each), each.name).not.to.deep.equal(await compute(each));
        const ranges = [range(...FIRST_HISTORY), range('2025-03-30 00:40', '2025-03-30 03:20')];
        const done = await refresh(ranges);
        expect(done.map(({ name }) => name)).to.have.members(aggregates.map(({ name }) => `"public"."${name}"`));
        for (const each of aggregates) expect(await read(each), each.name).to.deep.equal(await compute(each));
        expect(done.flatMap(({ left }) => left)).to.deep.equal([]);
      });
    }

    it('and its chunks, and those of the aggregate, were compressed', async () => {
      await build(
        createSql(),
        aggregateSql(HOURLY),
        `alter table ${TABLE} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id')`,
        'alter materialized view hourly set (timescaledb.compress)',
        ...[insertSql('2025-01-25', '2025-02-02'), insertSql(...LIVE)],
      );
      await refreshAll([HOURLY]);
      await stage.pool.query(`select compress_chunk(c) from show_chunks('${TABLE}') c`);
      await stage.pool.query("select compress_chunk(c) from show_chunks('hourly') c");
      await stage.pool.query(insertSql(...FIRST_HISTORY, 3));
      await refresh([range(...FIRST_HISTORY)]);
      expect(await read(HOURLY)).to.deep.equal(await compute(HOURLY));
    });
  });

  it('are refreshed in whole buckets that the ranges touch, and in no others; neighbours as one', async () => {
    await build(createSql(), aggregateSql(HOURLY), insertSql('2025-01-01', '2025-01-04'));
    const done = await refresh([
      range('2025-01-02 10:59:59.999999', '2025-01-02 11:00:00.000001'),
      range('2025-01-02 12:30', '2025-01-02 13:00'),
      range('2025-01-02 15:00', '2025-01-02 16:00'),
      range('2025-01-02 15:10', '2025-01-02 15:20'),
    ]);
    const refreshed = [range('2025-01-02 10:00', '2025-01-02 13:00'), range('2025-01-02 15:00', '2025-01-02 16:00')];
    expect(done).to.deep.equal([{ name: '"public"."hourly"', refreshed, left: [] }]);
    const hours = await stage.read("select distinct to_char(bucket, 'HH24') as h from hourly order by h");
    expect(hours).to.deep.equal(['10', '11', '12', '15']);
  });

  it('keep the first bucket whole where it is simply the beginning of history, and end with the bucket of the newest row', async () => {
    await build(createSql(), aggregateSql(MONTHLY), insertSql('2025-01-20 10:17', '2025-02-03'));
    const [done] = await refresh([range('2020-01-01', '2030-01-01')]);
    expect(done).to.deep.include({ refreshed: [range('2025-01-01', '2025-03-01')], left: [] });
    expect(await read(MONTHLY)).to.deep.equal(await compute(MONTHLY));
  });

  describe('lose no bucket whose rows were dropped', () => {
    const both = [HOURLY, MONTHLY];

    beforeEach(async () => {
      await build(createSql(), ...both.map(aggregateSql), insertSql('2025-01-10', '2025-03-20'));
      await refreshAll(both);
    });

    it('by hand: from the first bucket on that is held whole they equal the rows, before it they stay', async () => {
      await stage.pool.query(`select drop_chunks('${TABLE}', older_than => '2025-02-10'::timestamptz)`);
      await stage.pool.query(insertSql('2025-02-10', '2025-03-05', 7));
      const before = await readAll(both);
      const done = await refresh([range('2025-01-01', '2025-03-05')]);
      expect(done.map(({ left }) => left)).to.deep.equal([[], [range('2025-02-01', '2025-03-01')]]);
      await expectSplit(HOURLY, before, '2025-02-10');
      await expectSplit(MONTHLY, before, '2025-03-01');
    });

    it('by a retention policy that is paused: its cutoff counts, even where rows were copied back', async () => {
      await stage.pool.query(
        `select alter_job(add_retention_policy('${TABLE}', now() - '2025-02-10 12:30'::timestamptz), scheduled => false)`,
      );
      await stage.pool.query(`select drop_chunks('${TABLE}', older_than => '2025-02-10'::timestamptz)`);
      await stage.pool.query(insertSql('2025-02-08 06:00', '2025-02-12', 7));
      const before = await readAll(both);
      await refresh([range('2025-02-08 06:00', '2025-02-12')]);
      await expectSplit(HOURLY, before, '2025-02-10 13:00');
      expect(await read(MONTHLY)).to.deep.equal(before.get(MONTHLY.name));
    });

    it('between rows that were copied back and those that were kept', async () => {
      await stage.pool.query(`select drop_chunks('${TABLE}', older_than => '2025-02-10'::timestamptz)`);
      await stage.pool.query(insertSql('2025-01-15', '2025-01-17', 7));
      const before = await readAll(both);
      await refresh([range('2025-01-15', '2025-01-17')]);
      for (const each of both) expect(await read(each), each.name).to.deep.equal(before.get(each.name));
    });

    it('and gain those that they lacked where the ranges cover them whole', async () => {
      await stage.pool.query(`select drop_chunks('${TABLE}', older_than => '2025-02-10'::timestamptz)`);
      await stage.pool.query(insertSql('2025-01-02 10:30', '2025-01-03', 7));
      const before = await readAll(both);
      const done = await refresh([range('2025-01-02 10:30', '2025-01-03')]);
      expect(done[0]).to.deep.include({
        refreshed: [range('2025-01-02 11:00', '2025-01-03')],
        left: [range('2025-01-02 10:00', '2025-01-02 11:00')],
      });
      const gained = (await read(HOURLY)).filter((row) => !before.get('hourly')!.includes(row));
      expect(gained).to.have.length(13 * 2);
      expect(await read(HOURLY)).to.include.members(before.get('hourly')!);
      expect(await read(MONTHLY)).to.deep.equal(before.get('monthly'));
    });

    it('of an aggregate from which another one is computed', async () => {
      await build(aggregateSql(DAILY_ON_HOURLY));
      await refreshAll([DAILY_ON_HOURLY]);
      await stage.pool.query("select drop_chunks('hourly', older_than => '2025-02-10'::timestamptz)");
      const before = await readAll([DAILY_ON_HOURLY]);
      await stage.pool.query(insertSql('2025-01-20 12:00', '2025-03-05', 7));
      await refresh([range('2025-01-20 12:00', '2025-03-05')]);
      const [rows, computed] = [await read(DAILY_ON_HOURLY), await compute(DAILY)];
      const isKept = (row: string): boolean => row < '2025-01-21';
      expect(rows.filter(isKept)).to.deep.equal(before.get('daily')!.filter(isKept));
      expect(rows.filter((row) => !isKept(row))).to.deep.equal(computed.filter((row) => !isKept(row)));
      expect(rows).not.to.deep.equal(before.get('daily'));
    });

    it('where only wide buckets would show it, by the oldest row before the rows were copied back', async () => {
      await stage.pool.query('drop materialized view hourly');
      await stage.pool.query(`select drop_chunks('${TABLE}', older_than => '2025-02-10'::timestamptz)`);
      const oldestBefore = await readOldestRow(stage.target, NAME);
      expect(oldestBefore).to.equal(instant('2025-02-10'));
      await stage.pool.query(insertSql('2025-01-15', '2025-01-17', 7));
      const before = await read(MONTHLY);
      const done = await refreshAggregates(stage.target, NAME, [range('2025-01-15', '2025-01-17')], { oldestBefore });
      expect(done).to.deep.equal([
        { name: '"public"."monthly"', refreshed: [], left: [range('2025-01-01', '2025-02-01')] },
      ]);
      expect(await read(MONTHLY)).to.deep.equal(before);
    });
  });

  it('stay live above their watermark where they are real-time, with what is on top of them brought up to date', async () => {
    const hourly = { ...HOURLY, realTime: true };
    await build(
      createSql(),
      aggregateSql(hourly),
      aggregateSql(DAILY_ON_HOURLY),
      insertSql('2025-01-01', '2025-01-10'),
    );
    await stage.pool.query("call refresh_continuous_aggregate('hourly', '2025-01-01', '2025-01-05')");
    await stage.pool.query("call refresh_continuous_aggregate('daily', '2025-01-01', '2025-01-09')");
    await stage.pool.query(insertSql('2025-01-04 12:00', '2025-01-08 12:00', 7));
    const done = await refresh([range('2025-01-04 12:00', '2025-01-08 12:00')]);
    expect(done[0]?.refreshed.at(-1)?.to).to.equal(instant('2025-01-05'));
    expect(await read(hourly)).to.deep.equal(await compute(hourly));
    const first = (rows: string[]): string[] => rows.filter((row) => row < '2025-01-09');
    expect(first(await read(DAILY_ON_HOURLY))).to.deep.equal(first(await compute(DAILY)));
    await stage.pool.query(insertSql('2025-01-05', '2025-01-10', 9));
    expect(await read(hourly)).to.deep.equal(await compute(hourly));
  });

  it('that were never refreshed and are real-time are left to show every row by themselves', async () => {
    const hourly = { ...HOURLY, realTime: true };
    await build(createSql(), aggregateSql(hourly), insertSql('2025-01-01', '2025-01-10'));
    expect(await refresh([range('2025-01-08', '2025-01-10')])).to.deep.equal([
      { name: '"public"."hourly"', refreshed: [], left: [] },
    ]);
    expect(await read(hourly)).to.deep.equal(await compute(hourly));
  });

  it('are right after five refreshes of the same ranges at once', async () => {
    await build(
      createSql(),
      aggregateSql(HOURLY),
      aggregateSql(DAILY_ON_HOURLY),
      insertSql('2025-01-01', '2025-03-01'),
    );
    await Promise.all(Array.from({ length: 5 }, () => refresh([range('2025-01-01', '2025-03-01')])));
    expect(await read(HOURLY)).to.deep.equal(await compute(HOURLY));
    expect(await read(DAILY_ON_HOURLY)).to.deep.equal(await compute(DAILY));
  });

  it('wait for a refresh of the same buckets that is under way', async () => {
    await build(createSql(), aggregateSql(HOURLY), insertSql('2025-01-01', '2025-01-03'));
    const [storage] = await stage.read(
      `select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
       from timescaledb_information.continuous_aggregates`,
    );
    const blocker = await stage.pool.connect();
    let other, ours;
    try {
      // The other refresh has begun, and hangs until its storage is let go.
      await blocker.query(`begin; lock table ${storage} in share mode`);
      other = stage.pool.query("call refresh_continuous_aggregate('hourly', '2025-01-01', '2025-01-03')");
      await eventually('the other refresh hangs', async () => (await stage.read(REFRESHING))[0] === '1');
      const [failed] = await stage.read(FAILED);
      let done = false;
      ours = refresh([range('2025-01-01', '2025-01-03')]).finally(() => (done = true));
      await eventually('ours has tried', async () => Number((await stage.read(FAILED))[0]) > Number(failed));
      expect(done).to.equal(false);
    } finally {
      await blocker.query('commit');
      blocker.release();
      await Promise.all([other, ours]);
    }
    expect(await read(HOURLY)).to.deep.equal(await compute(HOURLY));
  });

  it('are cut smaller where a piece takes longer than the server allows, and end where pace throws', async () => {
    await stage.pool.query(`
      create or replace function slowly(level int) returns int language plpgsql immutable as
      $$ begin perform pg_sleep(0.004); return level; end $$`);
    await build(
      createSql(),
      `create materialized view hourly with (timescaledb.continuous, timescaledb.materialized_only = true) as
       select ${HOURLY.bucket} as bucket, sensor_id, count(*) as n, sum(slowly(level)) as total from ${TABLE} group by 1, 2 with no data`,
      insertSql('2025-01-01', '2025-01-04'),
    );
    const all = range('2025-01-01', '2025-01-04');
    let pieces = 0;
    const pace = (): Promise<void> => ((pieces += 1) === 3 ? Promise.reject(new Error('enough')) : Promise.resolve());
    const ended = await refreshAggregates(stage.target, NAME, [all], { pace, pieceTimeoutMs: 500 }).catch(String);
    expect(ended).to.equal('Error: enough');
    await refreshAggregates(stage.target, NAME, [all], { pace: () => Promise.resolve(), pieceTimeoutMs: 500 });
    expect(await read(HOURLY)).to.deep.equal(await compute(HOURLY));
  });

  it('of another owner are named, with what to grant', async () => {
    await build(createSql(), aggregateSql(HOURLY), insertSql('2025-01-01', '2025-01-03'));
    await stage.pool.query(`
      do $$ begin create role aggregates_role login password 'p'; exception when duplicate_object then null; end $$;
      grant all on all tables in schema public to aggregates_role`);
    const role = openTarget({ ...stage.connection, user: 'aggregates_role', password: 'p' });
    try {
      const all = [range('2025-01-01', '2025-01-03')];
      const error = await refreshAggregates(role, NAME, all).catch((each: unknown) => each);
      expect(error).to.be.instanceOf(UnreachableError);
      expect((error as UnreachableError).message).to.contain('"public"."hourly"');
      expect(nextStepFor(error)).to.contain('to aggregates_role');
    } finally {
      await closeDatabase(role);
    }
  });

  const REFRESHING = `
    select count(*) from pg_stat_activity where datname = current_database()
      and query ilike 'call refresh_continuous_aggregate%' and state = 'active' and wait_event_type = 'Lock'`;

  /** A session in which a refresh failed is ended, and tells of it then. */
  const FAILED = 'select xact_rollback from pg_stat_database where datname = current_database()';

  async function build(...statements: readonly string[]): Promise<void> {
    for (const sql of statements) await stage.pool.query(sql);
  }

  async function refresh(ranges: readonly TimeRange[]): Promise<readonly RefreshedAggregate[]> {
    return await refreshAggregates(stage.target, NAME, ranges);
  }

  async function refreshAll(aggregates: readonly Aggregated[]): Promise<void> {
    for (const { name } of aggregates)
      await stage.pool.query(`call refresh_continuous_aggregate('${name}', null, null)`);
  }

  /** `2025-01-02 10:00:00 A 6 6`, in order. */
  async function read({ name }: Aggregated): Promise<string[]> {
    return await stage.read(
      `select format('%s %s %s %s', to_char(bucket, 'YYYY-MM-DD HH24:MI:SS'), sensor_id, n, total) as row from ${name} order by 1`,
    );
  }

  async function readAll(aggregates: readonly Aggregated[]): Promise<Map<string, string[]>> {
    const entries = aggregates.map(async (each) => [each.name, await read(each)] as const);
    return new Map(await Promise.all(entries));
  }

  /** The same from the rows themselves; buckets of buckets are buckets of rows. */
  async function compute({ bucket }: Aggregated): Promise<string[]> {
    const ofRows = bucket.replace(', bucket)', ', time)');
    return await stage.read(
      `select format('%s %s %s %s', to_char(${ofRows}, 'YYYY-MM-DD HH24:MI:SS'), sensor_id, count(*), sum(level)) as row
       from ${TABLE} group by ${ofRows}, sensor_id order by 1`,
    );
  }

  async function expectSplit(each: Aggregated, before: Map<string, string[]>, at: string): Promise<void> {
    const [rows, computed] = [await read(each), await compute(each)];
    expect(rows.filter((row) => row < at)).to.deep.equal(before.get(each.name)!.filter((row) => row < at));
    expect(rows.filter((row) => row >= at)).to.deep.equal(computed.filter((row) => row >= at));
    expect(rows).not.to.deep.equal(before.get(each.name));
    expect(rows).not.to.deep.equal(computed);
  }
});

describe('continuous aggregates on a database without TimescaleDB', () => {
  it('are none', async () => {
    const plain = await TimescaleStage.prepare(
      await localServer(),
      'no aggregates',
      `create table ${TABLE} (time timestamptz)`,
    );
    try {
      expect(await refreshAggregates(plain.target, NAME, [range('2025-01-01', '2025-02-01')])).to.deep.equal([]);
      expect(await readOldestRow(plain.target, NAME)).to.equal(null);
    } finally {
      await plain.close();
    }
  });
});

function origin(type: string): Aggregated {
  return { name: 'by_origin', bucket: `time_bucket('3 days', time, origin => ${type} '2001-01-03 02:00')` };
}

function range(from: string, to: string): TimeRange {
  return { from: instant(from), to: instant(to) };
}

function instant(text: string): number {
  return parseInstant(text.includes(':') ? text : `${text} 00:00`)!;
}
