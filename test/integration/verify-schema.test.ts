import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import { verifySchema, type SchemaVerdict } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { applySteps } from '../../src/lib/repository/schema/apply.js';
import { Stage, TABLES } from '../support/cli.js';
import { DAMAGES, WATER } from '../support/schema-damages.js';
import { blocking, closeSides, isAbout, openSides, prepareBoth, reset, type Sides } from '../support/schemas.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(20_251);

const OLD_INSTALLATION = `
  create table sensor_registry (sensor_id varchar(255) primary key, sensor_type varchar(50), manufacturer varchar(255),
    model varchar(255), installation_date timestamp, last_seen timestamp, location_lat double precision,
    location_lng double precision, metadata jsonb, is_active boolean default true, created_at timestamp default now(),
    updated_at timestamp default now());
  create table ${WATER} (time timestamp not null, sensor_id varchar(255) not null, location_lat double precision,
    location_lng double precision, level_cm numeric(5,2) not null, voltage numeric(4,2), rssi integer,
    temperature numeric(4,2), quality_score numeric(3,2));
  create table moisture_readings (time timestamp not null, sensor_id varchar(255) not null, location_lat double precision,
    location_lng double precision, moisture_surface_pct numeric(5,2), moisture_deep_pct numeric(5,2),
    temp_surface_c numeric(4,2), temp_deep_c numeric(4,2), ambient_humidity_pct numeric(5,2),
    ambient_temp_c numeric(4,2), flood_status boolean, voltage numeric(4,2), quality_score numeric(3,2));
  create table sensor_readings (time timestamp not null, sensor_id varchar(255) not null, sensor_type varchar(50),
    location_lat double precision, location_lng double precision, value jsonb not null, metadata jsonb,
    quality_score numeric(3,2));
  insert into ${WATER} (time, sensor_id, level_cm) values
    ('2025-07-01', 'A', 1), ('2025-07-01', 'A', 1), ('2025-07-01', 'B', 1)`;

describe('verify-schema', function () {
  this.timeout(40_000);
  let stage: Stage;
  let sides: Sides;

  before(async () => {
    stage = await Stage.open('verify schema');
    sides = openSides(stage);
    await prepareBoth(sides);
  });

  after(async () => {
    await closeSides(sides);
    await stage.close();
  });

  afterEach(async () => {
    await reset(stage.ec2, sides.ec2);
  });

  it('finds nothing but notes between two sides that init has made', async () => {
    const { verdict, findings } = await verifySchema(sides);
    const heavy = findings.filter(({ weight }) => weight !== 'notes');
    expect(heavy.map(({ subject, weight, mend }) => [subject, weight, mend])).to.deep.equal([
      ['other writers', 'warns', 'sensorctl init --track'],
    ]);
    expect(verdict).to.equal('compatible');
  });

  for (const { title, sql, weight, table, subject } of DAMAGES) {
    it(`says that ${title} on EC2 ${weight}, and its script leaves nothing that blocks`, async () => {
      await stage.ec2.query(sql);
      const report = await verifySchema(sides);
      const found = report.findings.find((finding) => isAbout(finding, table, subject));
      expect(found?.weight, JSON.stringify(report.findings, null, 1)).to.equal(weight);
      expect(found?.reason).not.to.equal('');
      if (weight !== 'blocks') return expect(blocking(report)).to.deep.equal([]);
      expect(report.verdict).to.equal('blocked');
      if (title.startsWith('a view')) return expect(found?.mend).to.equal(null);
      expect(found?.mend).to.be.a('string');
      await stage.ec2.query(report.script);
      expect(blocking(await verifySchema(sides))).to.deep.equal([]);
    });
  }

  it('mends damages that come together, however often its script is applied', async () => {
    const random = createRandom(SEED);
    const kept = DAMAGES.filter(({ title }) => !/^a (missing table|view|partition)/.test(title));
    for (let round = 0; round < 5; round += 1) {
      const shuffled = kept.map((damage) => ({ damage, at: random() })).sort((a, b) => a.at - b.at);
      const done: string[] = [];
      for (const { damage } of shuffled.slice(0, 12)) {
        const isDone = await stage.ec2.query(damage.sql).then(
          () => true,
          () => false, // what one damage has taken away another cannot change
        );
        if (isDone) done.push(damage.title);
      }
      const about = `seed ${SEED}, round ${round}: ${done.join(', ')}`;
      expect(done, about).to.have.length.greaterThan(6);
      const report = await verifySchema(sides);
      expect(report.verdict, about).to.equal('blocked');
      await stage.ec2.query(report.script).catch((error: unknown) => {
        throw new Error(`${about}: ${String(error)}\n${report.script}`);
      });
      expect(blocking(await verifySchema(sides)), about).to.deep.equal([]);
      await stage.ec2.query(report.script);
      expect(blocking(await verifySchema(sides)), `${about}, applied twice`).to.deep.equal([]);
      await reset(stage.ec2, sides.ec2);
    }
  });

  it('says by hand what PostgreSQL refuses: a type that a view holds on to', async () => {
    await stage.ec2.query(`alter table ${WATER} alter level_cm type numeric(4,1);
      create view levels as select level_cm from ${WATER}`);
    const report = await verifySchema(sides);
    const [found, ...others] = blocking(report);
    expect(others).to.deep.equal([]);
    expect(found?.mend).to.match(/by hand, .* levels reads the column/);
    await stage.ec2.query(report.script);
    expect(blocking(await verifySchema(sides)).map(({ subject }) => subject)).to.deep.equal(['type of level_cm']);
  });

  it('carries out each step by itself: one that fails is undone whole and named, the others are done', async () => {
    await stage.ec2.query(`alter table ${WATER} drop constraint ${WATER}_key, alter level_cm type numeric(4,1);
      insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01', 'A', 1), ('2025-07-01', 'A', 1)`);
    const { steps } = await verifySchema(sides);
    const broken = steps.map((step) => ({
      ...step,
      sql: step.sql.replace('drop table surplus;', 'drop table surplus; select 1 / 0;'),
    }));
    expect(broken).not.to.deep.equal(steps);
    const failed = (await applySteps(sides.ec2, broken, () => undefined)).filter(({ problem }) => problem !== null);
    expect(failed.map(({ step, problem }) => `${step.what}: ${problem?.slice(0, 5)}`)).to.deep.equal([
      `${WATER}, key (sensor_id, time): 22012`,
    ]);
    expect((await stage.ec2.query(`select from ${WATER}`)).rowCount).to.equal(2);
    const after = await verifySchema(sides);
    expect(blocking(after).map(({ subject }) => subject)).to.deep.equal(['key (sensor_id, time)']);
    expect(
      (await applySteps(sides.ec2, after.steps, () => undefined)).filter(({ problem }) => problem !== null),
    ).to.deep.equal([]);
    expect((await verifySchema(sides)).steps).to.deep.equal([]);
    expect((await stage.ec2.query(`select from ${WATER}`)).rowCount).to.equal(1);
  });

  it('counts a check that EC2 has not validated as the same, and a table of local that a crash empties as unsafe', async () => {
    const check = `alter table ${WATER} add constraint low check (level_cm < 10)`;
    await stage.local.query(`${check}; alter table moisture_readings set unlogged`);
    await stage.ec2.query(`${check} not valid`);
    const report = await verifySchema(sides);
    await stage.local.query(`alter table ${WATER} drop constraint low`);
    expect(report.findings.filter(({ subject }) => subject === 'check low')).to.deep.equal([]);
    const [found, ...others] = blocking(report);
    expect(others).to.deep.equal([]);
    expect(found).to.include({ table: 'moisture_readings', subject: 'persistence', local: 'unlogged', ec2: 'logged' });
    await stage.local.query(found!.mend!);
    await stage.ec2.query(`alter table ${WATER} drop constraint low`);
    expect(blocking(await verifySchema(sides))).to.deep.equal([]);
  });

  describe('on a foreign key', () => {
    const REFERS = `alter table ${WATER} add constraint known foreign key (sensor_id) references sensor_registry not valid`;
    const ODD = `o'dd\\ "id"; --`;

    afterEach(async () => {
      await stage.local.query(`truncate ${WATER}, sensor_registry`);
    });

    it('names the registry rows that EC2 lacks, and inserts them as local has them', async () => {
      await stage.local.query(
        `insert into sensor_registry (sensor_id, sensor_type, metadata, last_seen, location_lat)
         values ($1, 'water-level', '{"a": "it''s"}', '2025-07-01 01:02:03.000004Z', 0.1), ('B', null, null, null, null)`,
        [ODD],
      );
      // A reading whose sensor local's registry does not know either.
      await stage.local.query(
        `insert into ${WATER} (time, sensor_id, level_cm) values (now(), 'C', 1), (now(), $1, 1)`,
        [ODD],
      );
      await stage.ec2.query(`insert into sensor_registry (sensor_id) values ('B'); ${REFERS}`);
      const report = await verifySchema(sides);
      const [found, ...others] = blocking(report);
      expect(others).to.deep.equal([]);
      expect(found).to.include({ table: WATER, subject: 'rows of sensor_registry for known', ec2: 'lacks 2' });
      await stage.ec2.query(report.script);
      expect(blocking(await verifySchema(sides))).to.deep.equal([]);
      const read = `select sensor_id, sensor_type, metadata, last_seen, location_lat from sensor_registry order by 1`;
      const [here, there] = await Promise.all([stage.local.query(read), stage.ec2.query(read)]);
      expect(there.rows.filter(({ sensor_id: id }) => id === ODD)).to.deep.equal(
        here.rows.filter(({ sensor_id: id }) => id === ODD),
      );
      expect(there.rows.map(({ sensor_id: id }) => id as string)).to.have.members([ODD, 'B', 'C']);
    });

    it('gives a count where the rows are many, and the rows in the script', async () => {
      await stage.local.query(
        `insert into sensor_registry (sensor_id) select 'S' || n from generate_series(1, 1200) as n`,
      );
      await stage.ec2.query(REFERS);
      const report = await verifySchema(sides);
      expect(blocking(report)[0]?.mend).to.match(/^insert the 1,200 rows: sensorctl verify-schema --sql/);
      await stage.ec2.query(report.script);
      expect((await stage.ec2.query('select from sensor_registry')).rowCount).to.equal(1200);
      expect((await verifySchema(sides)).verdict).to.equal('compatible');
    });
  });

  describe('on an existing installation: `timestamp` without zone, no keys, duplicates on both sides', () => {
    let old: Stage;

    before(async () => {
      old = await Stage.open('verify old');
      await Promise.all([old.local, old.ec2].map((pool) => pool.query(OLD_INSTALLATION)));
      await old.ec2.query(`insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01', 'A', 2)`);
    });

    after(async () => {
      await old.close();
    });

    it('blocks, names what mends each side, and blocks no more once that was done', async () => {
      const first = await old.run(['verify-schema', '--json']);
      expect(first.code, first.stderr).to.equal(1);
      const { verdict, findings } = JSON.parse(first.stdout) as SchemaVerdict;
      expect(verdict).to.equal('blocked');
      const keys = findings.filter(({ subject }) => subject === 'key (sensor_id, time)');
      expect(keys.map(({ weight, mend }) => `${weight} ${mend}`)).to.have.members(
        TABLES.slice(1).flatMap(() => [
          'blocks sensorctl init --side local --add-keys',
          'blocks sensorctl init --side ec2 --add-keys',
        ]),
      );
      expect(findings.filter(({ subject }) => subject.startsWith('type of'))).to.deep.equal([]);

      const { stdout: script, code } = await old.run(['verify-schema', '--sql']);
      expect(code, 'a script was written, for whatever comes after &&').to.equal(0);
      expect(script).to.contain('-- Not by this script:').and.to.contain('sensorctl init --side local --add-keys');
      await old.ec2.query(script);
      const { rows } = await old.ec2.query(`select sensor_id, time::text, level_cm from ${WATER} order by 1, 2, 3`);
      expect(rows.map((row) => Object.values(row as object).join(' '))).to.deep.equal([
        'A 2025-07-01 00:00:00 1.00',
        'B 2025-07-01 00:00:00 1.00',
      ]);
      const kept = await old.ec2.query('select sensor_id, reading_time, side, body from sensorctl.quarantine');
      expect(kept.rows).to.have.length(1);
      expect(kept.rows[0]).to.deep.include({ sensor_id: 'A', reading_time: '2025-07-01 00:00:00', side: 'ec2' });
      expect(JSON.parse((kept.rows[0] as { body: string }).body)).to.include({ level_cm: 2 });
      const second = JSON.parse((await old.run(['verify-schema', '--json'])).stdout) as SchemaVerdict;
      expect(blocking(second).every(({ mend }) => mend?.startsWith('sensorctl init --side local') === true)).to.equal(
        true,
      );

      await old.run(['init', '--side', 'local', '--add-keys']);
      const last = await old.run(['verify-schema']);
      expect(last.stdout).to.match(/Compatible: .*\nNext: sensorctl consume --dual-write\n$/);
      expect(last.code).to.equal(0);
    });
  });
});
