import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import type { Weight } from '../../src/lib/operations/verify-schema/finding.js';
import { verifySchema, type SchemaVerdict } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { Stage, TABLES } from '../support/cli.js';
import {
  blocking,
  closeSides,
  fingerprint,
  isAbout,
  openSides,
  prepareBoth,
  reset,
  type Sides,
} from '../support/schemas.js';

const SEED = 20_251;

/** Done to EC2, whose schema was equal: what is found, and where. */
interface Damage {
  readonly title: string;
  readonly sql: string;
  readonly local?: string;
  readonly weight: Weight;
  readonly table: string | null;
  readonly subject: string | RegExp;
}

const WATER = 'water_level_readings';

function onWater(title: string, change: string, weight: Weight, subject: string | RegExp): Damage {
  return { title, sql: `alter table ${WATER} ${change}`, weight, table: WATER, subject };
}

const RAISE = `create function twist() returns trigger language plpgsql as 'begin new.rssi := 0; return new; end'`;

const DAMAGES: readonly Damage[] = [
  { title: 'a missing table', sql: `drop table ${WATER}`, weight: 'blocks', table: WATER, subject: 'table' },
  {
    ...{ title: 'a view in place of a table', weight: 'blocks', table: 'moisture_readings', subject: 'kind' },
    sql: 'alter table moisture_readings rename to held; create view moisture_readings as select * from held',
  },
  onWater('a missing column', 'drop column rssi', 'blocks', 'column rssi'),
  onWater('a narrower numeric', 'alter level_cm type numeric(4,1)', 'blocks', 'type of level_cm'),
  onWater('a shorter text', 'alter sensor_id type varchar(50)', 'blocks', 'type of sensor_id'),
  onWater('a time without microseconds', 'alter "time" type timestamptz(0)', 'blocks', 'type of time'),
  onWater('a float of half the size', 'alter location_lat type real', 'blocks', 'type of location_lat'),
  onWater('a smaller integer', 'alter rssi type smallint', 'blocks', 'type of rssi'),
  onWater('mixed time types', `alter "time" type timestamp`, 'blocks', 'type of time'),
  onWater('a wider numeric', 'alter level_cm type numeric(8,3)', 'warns', 'type of level_cm'),
  onWater('a longer text', 'alter sensor_id type text', 'warns', 'type of sensor_id'),
  onWater('a NOT NULL that local has not', 'alter rssi set not null', 'blocks', 'nullability of rssi'),
  onWater('a NOT NULL that only local has', 'alter level_cm drop not null', 'notes', 'nullability of level_cm'),
  onWater('a default of a column that batches write', 'alter rssi set default 1', 'notes', 'default of rssi'),
  onWater('an additional column', 'add note text', 'notes', 'column note'),
  onWater('an additional column that nothing fills', 'add note text not null', 'blocks', 'column note'),
  onWater('a generated column', 'drop rssi, add rssi int generated always as (1) stored', 'blocks', 'default of rssi'),
  onWater('an identity', 'alter rssi set not null, alter rssi add generated always as identity', 'blocks', /of rssi/),
  onWater('a missing key', `drop constraint ${WATER}_key`, 'blocks', 'key (sensor_id, time)'),
  onWater('a key by other columns', 'add unique (rssi, time)', 'blocks', /^unique key /),
  onWater('a key that holds the key', 'add unique (sensor_id, time, rssi)', 'notes', /^unique key /),
  onWater('a check', 'add constraint low check (level_cm < 10)', 'blocks', 'check low'),
  onWater('an exclusion', `add exclude (rssi with =)`, 'blocks', /^exclusion /),
  onWater('row security', 'enable row level security', 'notes', 'row security'),
  onWater('a table that a crash empties', 'set unlogged', 'blocks', 'persistence'),
  {
    ...{ title: 'a key that is only checked at the end', weight: 'blocks', table: WATER },
    sql: `alter table ${WATER} drop constraint ${WATER}_key;
      alter table ${WATER} add constraint ${WATER}_key unique (sensor_id, time) deferrable`,
    subject: 'key (sensor_id, time)',
  },
  {
    ...{ title: 'a partial unique index', weight: 'blocks', table: WATER, subject: 'unique key once' },
    sql: `create unique index once on ${WATER} (sensor_id) where rssi > 0`,
  },
  {
    ...{ title: 'a missing index', weight: 'notes', table: WATER, subject: `index ${WATER}_time_idx` },
    sql: `drop index ${WATER}_time_idx`,
  },
  {
    ...{ title: 'a collation that counts A and a as one', weight: 'blocks', table: WATER },
    sql: `create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      alter table ${WATER} alter sensor_id type varchar(255) collate loose`,
    subject: 'collation of sensor_id',
  },
  {
    ...{ title: 'json for jsonb', weight: 'blocks', table: 'sensor_readings', subject: 'type of value' },
    sql: 'alter table sensor_readings alter value type json',
  },
  {
    ...{
      title: 'text for jsonb, with a default',
      weight: 'blocks',
      table: 'sensor_readings',
      subject: 'type of metadata',
    },
    sql: `alter table sensor_readings alter metadata type text; alter table sensor_readings alter metadata set default 'none'`,
  },
  {
    ...{ title: 'a trigger before the row', weight: 'blocks', table: WATER, subject: 'trigger twists' },
    sql: `${RAISE}; create trigger twists before insert on ${WATER} for each row execute function twist()`,
  },
  {
    ...{ title: 'a trigger after the row', weight: 'warns', table: WATER, subject: 'trigger twists' },
    sql: `${RAISE}; create trigger twists after insert on ${WATER} for each row execute function twist()`,
  },
  {
    ...{ title: 'a rule', weight: 'blocks', table: WATER, subject: 'rule away' },
    sql: `create rule away as on insert to ${WATER} do instead nothing`,
  },
  {
    ...{ title: 'a default of a column that no batch writes', weight: 'blocks', table: 'sensor_registry' },
    sql: 'alter table sensor_registry alter is_active set default false',
    subject: 'default of is_active',
  },
  {
    ...{ title: 'a registry without its key', weight: 'blocks', table: 'sensor_registry', subject: 'key (sensor_id)' },
    sql: 'alter table sensor_registry drop constraint sensor_registry_pkey',
  },
  {
    ...{ title: 'a foreign key to the registry', weight: 'notes', table: WATER, subject: 'foreign key known' },
    sql: `alter table ${WATER} add constraint known foreign key (sensor_id) references sensor_registry`,
  },
  {
    ...{ title: 'a foreign key to another table', weight: 'blocks', table: WATER, subject: 'foreign key owned' },
    sql: `create table owner (name varchar(255) primary key);
      alter table ${WATER} add constraint owned foreign key (sensor_id) references owner`,
  },
  {
    ...{ title: 'columns in another order', weight: 'notes', table: WATER, subject: 'order of columns' },
    sql: `alter table ${WATER} drop rssi; alter table ${WATER} add rssi integer`,
  },
  {
    ...{ title: 'missing bookkeeping', weight: 'blocks', table: null, subject: 'bookkeeping on ec2' },
    sql: 'drop schema sensorctl cascade',
  },
];

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
    expect(findings.filter(({ weight }) => weight !== 'notes')).to.deep.equal([]);
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
      await stage.ec2.query(report.script);
    });
  }

  it('mends damages that come together', async () => {
    const random = createRandom(SEED);
    const kept = DAMAGES.filter(({ title }) => title !== 'a missing table' && !title.startsWith('a view'));
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

  it('lets the script fail as a whole: what it did before is undone', async () => {
    await stage.ec2.query(`alter table ${WATER} drop constraint ${WATER}_key, alter level_cm type numeric(4,1)`);
    const { script } = await verifySchema(sides);
    // Taken since then.
    await stage.ec2.query(`create table surplus ()`);
    const before = await fingerprint(stage.ec2);
    const broken = script.replace('drop table surplus;', 'drop table surplus; select 1 / 0;');
    expect(broken).not.to.equal(script);
    const client = await stage.ec2.connect();
    expect(await client.query(broken).catch((error: unknown) => error)).to.have.property('code', '22012');
    await client.query('rollback');
    client.release();
    expect(await fingerprint(stage.ec2)).to.equal(before);
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
      expect(blocking(report)[0]?.mend).to.match(/^insert the 1200 rows: sensorctl verify-schema --sql/);
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
      expect(code).to.equal(1);
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
