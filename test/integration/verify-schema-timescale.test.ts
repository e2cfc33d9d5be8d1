import { expect } from 'chai';
import { verifySchema } from '../../src/lib/operations/verify-schema/verify-schema.js';
import type { Weight } from '../../src/lib/operations/verify-schema/finding.js';
import { Stage, timescaleServers } from '../support/cli.js';
import { DAMAGES, WATER } from '../support/schema-damages.js';
import { blocking, closeSides, isAbout, openSides, prepareBoth, type Sides } from '../support/schemas.js';

const EMPTY = `
  drop materialized view if exists daily; drop materialized view if exists hourly;
  drop table if exists sensor_registry, water_level_readings, moisture_readings, sensor_readings cascade;
  drop schema if exists sensorctl cascade; drop function if exists blocker`;

const HOURLY = `
  create materialized view hourly with (timescaledb.continuous, timescaledb.materialized_only = false) as
  select time_bucket('1 hour', time) as hour, sensor_id, avg(level_cm) as level from ${WATER} group by 1, 2 with no data;
  select add_continuous_aggregate_policy('hourly', start_offset => interval '3 days', end_offset => interval '1 hour',
    schedule_interval => interval '1 hour')`;

const DAILY = `
  create materialized view daily with (timescaledb.continuous) as
  select time_bucket('1 day', hour) as day, sensor_id, max(level) as level from hourly group by 1, 2 with no data`;

/** Without zone, in three chunks of a day, all compressed, with a row stored twice and one that differs. */
const COMPRESSED = `
  drop table ${WATER};
  create table ${WATER} (time timestamp not null, sensor_id varchar(50) not null, location_lat double precision,
    location_lng double precision, level_cm numeric(4,1) not null, voltage numeric(4,2), rssi integer,
    temperature numeric(4,2), quality_score numeric(3,2));
  select create_hypertable('${WATER}', 'time', chunk_time_interval => interval '1 day');
  insert into ${WATER} (time, sensor_id, level_cm) select '2025-07-01'::timestamp + make_interval(hours => hour), 'A', level
  from generate_series(0, 71) as hour, unnest(array[1, 1, 2]) as level;
  alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select count(compress_chunk(chunk)) from show_chunks('${WATER}') as chunk`;

const COMPRESS = `
  insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01', 'A', 1), ('2025-07-02', 'A', 1);
  alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select count(compress_chunk(chunk)) from show_chunks('${WATER}') as chunk`;

/** All but those that rule each other out, and those by which no row can be inserted as below. */
const OF_HYPERTABLE = DAMAGES.filter(({ weight, table, plainOnly, title }) => {
  const isApart =
    /missing table|missing column|nothing fills|foreign key|shorter text|mixed|at the end|a generated/.test(title);
  return weight === 'blocks' && table === WATER && plainOnly !== true && !isApart;
});

/** Done to both sides; what is found, and whether the script brings EC2 in line so that it is found no more. */
interface Difference {
  readonly title: string;
  readonly local?: string;
  readonly ec2?: string;
  readonly weight: Weight;
  readonly subject: string;
  readonly mended: boolean;
  readonly table?: string;
}

const PLAIN = `create table plain as table ${WATER}; drop table ${WATER}; alter table plain rename to ${WATER};
  alter table ${WATER} alter time set not null, alter sensor_id set not null, alter level_cm set not null`;

const DIFFERENCES: readonly Difference[] = [
  {
    ...{
      title: 'a plain table with rows in place of a hypertable',
      weight: 'warns',
      subject: 'hypertable',
      mended: true,
    },
    ec2: `${PLAIN};
      insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01', 'A', 1), ('2025-07-03', 'A', 1)`,
  },
  {
    ...{ title: 'a plain table that still carries the blocker of a hypertable', weight: 'blocks', mended: true },
    ...{ subject: 'trigger ts_insert_blocker' },
    ec2: `${PLAIN};
      create function blocker() returns trigger language plpgsql as 'begin raise exception ''invalid''; end';
      create trigger ts_insert_blocker before insert on ${WATER} for each row execute function blocker()`,
  },
  {
    ...{ title: 'another chunk interval', weight: 'notes', subject: 'chunk interval', mended: false },
    ec2: `select set_chunk_time_interval('${WATER}', interval '7 days')`,
  },
  {
    ...{ title: 'compression on local alone', weight: 'notes', subject: 'compression', mended: true },
    local: `alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
      select add_compression_policy('${WATER}', interval '30 days')`,
  },
  {
    ...{ title: 'a retention policy on EC2 alone', weight: 'warns', subject: 'retention policy', mended: true },
    ec2: `select add_retention_policy('${WATER}', interval '90 days')`,
  },
  {
    ...{ title: 'a shorter retention on EC2', weight: 'warns', subject: 'retention policy', mended: true },
    local: `select add_retention_policy('${WATER}', interval '1 year')`,
    ec2: `select add_retention_policy('${WATER}', interval '90 days')`,
  },
  {
    ...{ title: 'a longer retention on EC2', weight: 'warns', subject: 'retention policy', mended: false },
    local: `select add_retention_policy('${WATER}', interval '90 days')`,
    ec2: `select add_retention_policy('${WATER}', interval '1 year')`,
  },
  {
    ...{ title: 'another space dimension', weight: 'warns', subject: 'dimensions', mended: false },
    ec2: `select add_dimension('${WATER}', 'sensor_id', number_partitions => 2)`,
  },
  {
    ...{ title: 'a continuous aggregate that EC2 lacks', weight: 'warns', mended: true },
    ...{ subject: 'continuous aggregate hourly', local: `${HOURLY}; ${DAILY}` },
  },
  {
    ...{ title: 'an aggregate over an aggregate', weight: 'warns', mended: true, table: 'hourly' },
    ...{ subject: 'continuous aggregate daily', local: `${HOURLY}; ${DAILY}`, ec2: HOURLY },
  },
  {
    ...{ title: 'a refresh policy that EC2 lacks', weight: 'warns', mended: true },
    ...{ subject: 'refresh policy of hourly', local: HOURLY, ec2: HOURLY.split(';')[0]! },
  },
];

describe('verify-schema on TimescaleDB', function () {
  this.timeout(40_000);
  let stage: Stage | undefined;
  let sides: Sides;

  before(async function () {
    stage = await Stage.open('verify timescale', await timescaleServers(this));
    sides = openSides(stage);
  });

  after(async () => {
    if (stage === undefined) return;
    await closeSides(sides);
    await stage.close();
  });

  beforeEach(async () => {
    for (const pool of [stage!.local, stage!.ec2]) for (const sql of EMPTY.split(';')) await pool.query(sql);
    await prepareBoth(sides);
  });

  it('finds nothing but notes between two sides that init has made, and that nothing is tracked', async () => {
    const { findings } = await verifySchema(sides);
    const subjects = findings.filter(({ weight }) => weight !== 'notes').map(({ subject }) => subject);
    expect(subjects).to.deep.equal(['other writers']);
  });

  for (const { title, local = '', ec2 = '', weight, subject, mended, table = WATER } of DIFFERENCES) {
    it(`says that ${title} ${weight}, ${mended ? 'which its script mends' : 'and leaves it'}`, async () => {
      await stage!.local.query(local);
      await stage!.ec2.query(ec2);
      const report = await verifySchema(sides);
      const found = report.findings.find((finding) => isAbout(finding, table, subject));
      expect(found?.weight, JSON.stringify(report.findings, null, 1)).to.equal(weight);
      await stage!.ec2.query(report.script);
      const after = await verifySchema(sides);
      expect(blocking(after)).to.deep.equal([]);
      expect(after.findings.some((finding) => isAbout(finding, table, subject))).to.equal(!mended);
    });
  }

  it('mends types, time, and key of a hypertable whose chunks are compressed', async () => {
    await stage!.ec2.query(COMPRESSED);
    const report = await verifySchema(sides);
    expect(blocking(report).map(({ subject }) => subject)).to.have.members([
      ...['type of time', 'type of sensor_id', 'type of level_cm', 'key (sensor_id, time)'],
    ]);
    await stage!.ec2.query(report.script);
    expect(blocking(await verifySchema(sides))).to.deep.equal([]);
    const { rows } = await stage!.ec2.query(
      `select count(*)::int as rows, min(time)::text, (select count(*)::int from sensorctl.quarantine) as kept from ${WATER}`,
    );
    expect(rows).to.deep.equal([{ rows: 72, min: '2025-07-01 00:00:00+00', kept: 72 }]);
  });

  it('mends whatever else blocks where chunks are compressed, and leaves compression on as it was', async () => {
    for (const { sql } of OF_HYPERTABLE) await stage!.ec2.query(sql);
    await stage!.ec2.query(COMPRESS);
    const report = await verifySchema(sides);
    for (const { title, table, subject } of OF_HYPERTABLE) {
      expect(
        blocking(report).some((finding) => isAbout(finding, table, subject)),
        title,
      ).to.equal(true);
    }
    await stage!.ec2.query(report.script);
    const after = await verifySchema(sides);
    expect(blocking(after)).to.deep.equal([]);
    expect(after.findings.find((finding) => isAbout(finding, WATER, 'compression'))?.ec2).to.match(/^on, segment by/);
  });

  it('makes hypertables of tables that EC2 lacks, also where it has not used TimescaleDB yet', async () => {
    const reopen = async (): Promise<void> => {
      // The pool's sessions have the extension loaded that was dropped under them.
      await closeSides(sides);
      sides = openSides(stage!);
    };
    await stage!.ec2.query('drop extension timescaledb cascade; drop table if exists sensor_registry');
    await reopen();
    const report = await verifySchema(sides);
    await stage!.ec2.query(report.script);
    await reopen();
    const after = await verifySchema(sides);
    const subjects = after.findings.filter(({ weight }) => weight !== 'notes').map(({ subject }) => subject);
    expect(subjects).to.deep.equal(['other writers']);
    expect(after.findings.filter(({ subject }) => subject === 'hypertable')).to.deep.equal([]);
  });
});
