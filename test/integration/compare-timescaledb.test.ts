import { expect } from 'chai';
import { timescaleServers } from '../support/cli.js';
import { disagreements, Pair } from '../support/compared.js';

const WATER = 'water_level_readings';
const COLUMNS = `"time" timestamptz not null, sensor_id varchar(255) not null, level_cm numeric(5,2), rssi integer`;
const JUDGED = {
  name: WATER,
  columns: [
    { name: 'time', as: 'timestamptz' },
    { name: 'sensor_id', as: 'text' },
    { name: 'level_cm', as: 'numeric' },
    { name: 'rssi', as: 'integer' },
  ],
  key: ['sensor_id', 'time'],
};
const DAYS_AGO = (days: number): string => `now() - interval '${days} days'`;

describe('compare on TimescaleDB', () => {
  let pair: Pair | undefined;

  before(async function () {
    pair = await Pair.open('compare timescaledb', await timescaleServers(this));
    await pair.query('create extension timescaledb');
  });

  after(() => pair?.close());

  afterEach(async () => {
    await pair?.query(`drop table if exists ${WATER} cascade`);
  });

  /** The same readings on both sides: every 20 minutes for 20 days up to yesterday, of two sensors. */
  async function fill({ local = 'timestamptz', localChunks = '1 day', chunks = '1 day' } = {}): Promise<void> {
    const { rows } = await pair!.local.query<{ until: string }>(
      `select date_trunc('hour', ${DAYS_AGO(1)})::text as until`,
    );
    const create = (type: string): string => `create table ${WATER} (${COLUMNS.replace('timestamptz', type)})`;
    const hypertable = (interval: string): string => `
      select create_hypertable('${WATER}', 'time', chunk_time_interval => interval '${interval}');
      create unique index on ${WATER} (sensor_id, "time")`;
    await pair!.local.query(`${create(local)}; ${hypertable(localChunks)}`);
    await pair!.ec2.query(`${create('timestamptz')}${chunks === 'none' ? '' : `; ${hypertable(chunks)}`}`);
    await pair!.query(`
      insert into ${WATER} select '${rows[0]!.until}'::timestamptz - step * interval '20 minutes', 'AWD-' || step % 2, step % 90, -step
      from generate_series(0, 20 * 72) as step`);
  }

  async function expectAgreement(from: string, request: Parameters<Pair['compare']>[0] = {}) {
    const compared = await pair!.compare({ tables: [WATER], ...request });
    const found = await disagreements(pair!, { ...JUDGED, where: from }, compared.found);
    expect(found).to.deep.equal([]);
    return compared;
  }

  for (const chunks of ['1 day', '7 days', 'none']) {
    const title = chunks === 'none' ? 'a plain table' : `chunks of ${chunks}`;
    it(`finds a row that was damaged, and no other, between chunks of 1 day and ${title} on EC2`, async () => {
      await fill({ chunks });
      expect((await expectAgreement('true')).report).to.include({ verdict: 'identical' });
      await pair!.ec2.query(`
        update ${WATER} set level_cm = level_cm + 0.01 where rssi = -700;
        delete from ${WATER} where rssi = -900;
        insert into ${WATER} select "time" + interval '1 microsecond', sensor_id, level_cm, rssi from ${WATER} where rssi = -100`);
      const { found } = await expectAgreement('true');
      expect(found.map(({ kind }) => kind).sort()).to.deep.equal(['different', 'missing on ec2', 'missing on local']);
    });
  }

  it('reads compressed chunks of one side: equal rows are equal, a row damaged inside is named', async () => {
    await fill({ local: 'timestamp' });
    await pair!.ec2.query(`
      update ${WATER} set rssi = rssi - 1 where rssi = -300;
      alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
      select compress_chunk(c) from show_chunks('${WATER}') c`);
    const { rows } = await pair!.ec2.query<{ compressed: number }>(
      `select count(*)::int as compressed from timescaledb_information.chunks where is_compressed`,
    );
    expect(rows[0]!.compressed).to.be.greaterThan(15);
    for (const digest of ['hash_record_extended', 'md5'] as const) {
      const { found } = await expectAgreement('true', { digest });
      expect(found).to.have.length(1);
      expect(found[0]).to.deep.include({ kind: 'different', columns: { rssi: { local: '-300', ec2: '-301' } } });
    }
  });

  it('leaves a continuous aggregate and what waits for its refresh as they are', async () => {
    await fill();
    await pair!.ec2.query(`create materialized view hourly with (timescaledb.continuous) as
      select time_bucket('1 hour', "time") as hour, sensor_id, avg(level_cm) as level from ${WATER} group by 1, 2 with no data`);
    await pair!.ec2.query("call refresh_continuous_aggregate('hourly', null, null)");
    const content = async (): Promise<object[]> =>
      (await pair!.ec2.query<{ level: string }>('select * from hourly order by hour, sensor_id')).rows;
    await pair!.ec2.query(`update ${WATER} set level_cm = 99 where rssi = -200`);
    const before = await content();
    expect((await expectAgreement('true')).found).to.have.length(1);
    expect(await content()).to.deep.equal(before);
  });

  describe('with retention', () => {
    const KEPT = 8;

    async function retain(side: 'local' | 'ec2', days: number): Promise<void> {
      await pair![side]
        .query(`select add_retention_policy('${WATER}', interval '${days} days', schedule_interval => interval '100 years',
        initial_start => '2100-01-01')`);
    }

    async function policyOf(side: 'local' | 'ec2'): Promise<number> {
      const { rows } = await pair![side].query<{ id: number }>(
        `select job_id as id from timescaledb_information.jobs where hypertable_name = '${WATER}'`,
      );
      return rows[0]!.id;
    }

    /** Drops by the policy, as its job would. */
    async function drop(side: 'local' | 'ec2'): Promise<void> {
      await pair![side].query(`call run_job(${await policyOf(side)})`);
    }

    for (const both of [false, true]) {
      it(`leaves out and names what ${both ? 'both sides' : 'EC2'} may have dropped, and reports what was damaged after it`, async () => {
        await fill();
        await retain('ec2', KEPT);
        await drop('ec2');
        if (both) {
          await retain('local', KEPT + 5);
          await drop('local');
        }
        await pair!.ec2.query(`
          update ${WATER} set rssi = 0 where "time" < ${DAYS_AGO(KEPT)};
          delete from ${WATER} where "time" in (select min("time") from ${WATER} where "time" >= ${DAYS_AGO(KEPT)});
          update ${WATER} set rssi = 0 where rssi = -10`);
        const { report, found } = await pair!.compare({ tables: [WATER] });
        expect(found.map(({ kind }) => kind)).to.deep.equal(['missing on ec2', 'different']);
        expect(report.verdict).to.equal('different');
        const [leftOut, ...others] = report.leftOut;
        expect(others).to.deep.equal([]);
        expect(leftOut).to.include({ table: WATER, reason: 'retention on EC2 drops it' });
        const judged = await disagreements(pair!, { ...JUDGED, where: `"time" >= '${leftOut!.before}'` }, found);
        expect(judged).to.deep.equal([]);
      });
    }

    it('leaves out what local drops by the age of its chunks, and reports what was damaged after it', async () => {
      await fill();
      await pair!.local.query(`
        update _timescaledb_catalog.chunk set creation_time = range_start
        from timescaledb_information.chunks where chunk_name = table_name and hypertable_name = '${WATER}';
        select add_retention_policy('${WATER}', drop_created_before => interval '${KEPT} days',
          schedule_interval => interval '100 years', initial_start => '2100-01-01')`);
      await drop('local');
      const lacking = `select from ${WATER} where "time" < ${DAYS_AGO(KEPT + 1)}`;
      expect([
        (await pair!.local.query(lacking)).rowCount,
        (await pair!.ec2.query(lacking)).rowCount! > 300,
      ]).to.deep.equal([...[0, true]]);
      const { report } = await pair!.compare({ tables: [WATER] });
      expect(report.verdict).to.equal('identical');
      expect(report.leftOut.map(({ reason }) => reason)).to.deep.equal(['retention on local drops it']);
      await pair!.ec2.query(`update ${WATER} set rssi = 0 where rssi = -10`);
      expect((await pair!.compare({ tables: [WATER] })).found.map(({ kind }) => kind)).to.deep.equal(['different']);
    });

    it('leaves out what is due by the age of its chunk, though its times are yet to come', async () => {
      await fill();
      await pair!.query(`insert into ${WATER} values (now() + interval '3 days', 'forecast', 1, 1)`);
      await pair!.local.query(`
        update _timescaledb_catalog.chunk set creation_time = now() - interval '9 days'
        from timescaledb_information.chunks where chunk_name = table_name and range_start > now();
        select add_retention_policy('${WATER}', drop_created_before => interval '${KEPT} days',
          schedule_interval => interval '100 years', initial_start => '2100-01-01')`);
      await pair!.ec2.query(`update ${WATER} set rssi = 7 where sensor_id = 'forecast'`);
      expect((await pair!.compare({ tables: [WATER] })).found).to.deep.equal([]);
    });

    describe('on an axis of integers', () => {
      const COUNTED = 'counted_events';

      beforeEach(async () => {
        await pair!.query(`
          create table ${COUNTED} (at bigint not null, id integer not null, value integer, primary key (id, at));
          select create_hypertable('${COUNTED}', 'at', chunk_time_interval => 100);
          create function counted_now() returns bigint language sql stable as 'select 2000::bigint';
          select set_integer_now_func('${COUNTED}', 'counted_now');
          insert into ${COUNTED} select at, at % 7, 1 from generate_series(0, 1999) as at`);
      });

      afterEach(async () => {
        await pair!.query(`drop table ${COUNTED}; drop function counted_now`);
      });

      async function retainCounted(policy: string): Promise<void> {
        const { rows } = await pair!.local.query<{ id: number }>(`
          select add_retention_policy('${COUNTED}', ${policy}, schedule_interval => interval '100 years',
            initial_start => '2100-01-01') as id`);
        // The job of TimescaleDB 2.26 takes an age of chunks for no policy of such a table; drop_chunks does.
        const drops = policy.startsWith('drop_after')
          ? `call run_job(${rows[0]!.id})`
          : `select drop_chunks('${COUNTED}', created_before => now() - interval '${KEPT} days')`;
        await pair!.local.query(drops);
        const { rows: held } = await pair!.local.query<{ first: string }>(`select min(at) as first from ${COUNTED}`);
        expect(Number(held[0]!.first), 'dropped some').to.be.greaterThan(500);
      }

      async function expectLeftOut(before: string): Promise<void> {
        const { report } = await pair!.compare({ tables: [COUNTED] });
        expect(report).to.include({ verdict: 'identical' });
        expect(report.leftOut).to.deep.equal([{ table: COUNTED, before, reason: 'retention on local drops it' }]);
        await pair!.ec2.query(`insert into ${COUNTED} values (1950, 70, 1)`);
        const { found } = await pair!.compare({ tables: [COUNTED] });
        expect(found.map(({ kind, key }) => [kind, key.at])).to.deep.equal([['missing on local', '1950']]);
      }

      it('leaves out what a policy drops by the clock of the table', async () => {
        await retainCounted('drop_after => 1250::bigint');
        await expectLeftOut('750');
      });

      it('leaves out what is older than every chunk where the clock of the table is that of another role', async () => {
        await retainCounted('drop_after => 1250::bigint');
        await pair!.local.query(`
          drop role if exists stranger_to_clocks; create role stranger_to_clocks;
          alter function counted_now() owner to stranger_to_clocks`);
        await expectLeftOut('700');
        await pair!.local.query('alter function counted_now() owner to current_user; drop role stranger_to_clocks');
      });

      it('leaves out what is older than every chunk where they are dropped by their age', async () => {
        await pair!.local.query(`
          update _timescaledb_catalog.chunk set creation_time = now() - interval '9 days'
          from timescaledb_information.chunks where chunk_name = table_name and range_end_integer <= 900`);
        await retainCounted(`drop_created_before => interval '${KEPT} days'`);
        await expectLeftOut('900');
      });
    });

    it('takes an EC2 that lacks everything after the cutoff for different', async () => {
      await fill();
      await retain('local', KEPT);
      await pair!.ec2.query(`truncate ${WATER}`);
      const { report } = await pair!.compare({ tables: [WATER] });
      expect(report.verdict).to.equal('different');
      expect(report.tables[0]!.missingOnEc2).to.equal(report.tables[0]!.local.rows).and.to.be.greaterThan(400);
    });

    it('reports a row that lies barely after the cutoff, though the cutoff goes on moving', async () => {
      await fill();
      await retain('local', KEPT);
      await pair!.local.query(`insert into ${WATER} values (${DAYS_AGO(KEPT)} + interval '1 minute', 'late', 1, 1)`);
      const { found } = await pair!.compare({ tables: [WATER] });
      expect(found.map(({ kind, key }) => ({ kind, sensor: key.sensor_id }))).to.deep.equal([
        { kind: 'missing on ec2', sensor: 'late' },
      ]);
    });

    it('names nothing that a policy drops by the clock of a server ahead of UTC', async () => {
      await fill({ local: 'timestamp', localChunks: '6 hours' });
      await retain('local', KEPT);
      const client = await pair!.local.connect();
      await client.query("set timezone = 'Pacific/Kiritimati'");
      await client.query(`call run_job(${await policyOf('local')})`);
      const { rows } = await client.query<{ early: boolean }>(`
        select min("time") - interval '10 seconds' > now() at time zone 'UTC' - interval '${KEPT} days' as early from ${WATER}`);
      client.release(true);
      expect(rows[0]!.early, 'dropped more than a clock in UTC would have').to.be.true;
      const { report } = await pair!.compare({ tables: [WATER] });
      expect(report).to.include({ verdict: 'identical' });
      expect(report.tables[0]!.local.rows).to.be.greaterThan(400);
    });

    it('takes nothing for missing that a policy drops between the digests and the look', async () => {
      await fill();
      // Looked at before the readings, once all digests are made.
      await pair!.query('create table watched (id integer primary key)');
      await pair!.local.query('insert into watched values (1)');
      await pair!.ec2.query(`update ${WATER} set rssi = 0 where rssi in (-10, -1200)`);
      const { report, found } = await pair!.compare({ tables: ['watched', WATER] }, async ({ table }) => {
        if (table !== 'watched') return;
        await retain('ec2', KEPT);
        await drop('ec2');
      });
      await pair!.query('drop table watched');
      expect(found.map(({ kind, columns }) => ({ kind, ...columns.rssi }))).to.deep.equal([
        { kind: 'missing on ec2' },
        { kind: 'different', local: '-10', ec2: '0' },
      ]);
      expect(report.leftOut.map(({ table }) => table)).to.deep.equal([WATER]);
    });
  });
});
