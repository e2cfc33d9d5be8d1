import { expect } from 'chai';
import type { KeyPreview } from '../../src/lib/operations/init.js';
import pg from 'pg';
import type { PrintedPreparation } from '../../src/lib/cli/render-init.js';
import { Stage, TABLES, timescaleServers, type CliResult } from '../support/cli.js';

interface InitReport {
  readonly sides: readonly PrintedPreparation[];
}

const READING_TABLES = TABLES.slice(1);

/** Everything that init decides: columns, indexes, constraints, with names and definitions, of both schemas. */
const DESCRIBE_SCHEMA = `
  select format('%s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable) as item
  from information_schema.columns where table_schema in ('public', 'sensorctl')
  union all select indexdef from pg_indexes where schemaname in ('public', 'sensorctl')
  union all select format('%s %s', conname, pg_get_constraintdef(oid)) from pg_constraint
  where connamespace in ('public'::regnamespace, 'sensorctl'::regnamespace)
  union all select format('version %s at %s', version, applied_at) from sensorctl.schema_version
  order by 1`;

/** As existing installations have it: `timestamp` without zone, no key; a foreign column beside. */
const CREATE_KEYLESS = `
  create table water_level_readings (
    time timestamp not null, sensor_id varchar(255) not null, location_lat double precision, location_lng double precision,
    level_cm numeric(5,2) not null, voltage numeric(4,2), rssi integer, temperature numeric(4,2),
    quality_score numeric(3,2), note text
  )`;

/** Three copies of one row, two more rows that share a key and differ, one alone. */
const FILL_KEYLESS = `
  insert into water_level_readings (time, sensor_id, level_cm, rssi, note) values
    ('2025-07-01 00:00:00.000001', 'A', 1, -60, null), ('2025-07-01 00:00:00.000001', 'A', 1, -60, null),
    ('2025-07-01 00:00:00.000001', 'A', 1, -60, null), ('2025-07-01 00:00:00.000001', 'A', 1, -71, 'kept as json'),
    ('2025-07-01 00:00:00.000001', 'A', 2, -60, null), ('2025-07-01 00:00:01', 'A', 1, -60, null)`;

const READ_KEYLESS = 'select t::text as item from water_level_readings as t order by ctid';

describe('init', function () {
  this.timeout(30_000);
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('init');
  });

  afterEach(async () => {
    await stage.close();
  });

  it('creates four tables with their keys, and the bookkeeping, on both sides', async () => {
    const { sides } = await stage.runJson<InitReport>(['init']);
    expect(sides.map(({ side }) => side)).to.deep.equal(['local', 'ec2']);
    for (const { tables, bookkeeping, obstacles, timescaleDb } of sides) {
      expect(tables).to.deep.equal(TABLES.map((table) => ({ table, action: 'created', hypertable: false })));
      expect(bookkeeping.from).to.equal(0);
      expect(bookkeeping.to).to.be.greaterThan(0);
      expect(obstacles).to.deep.equal([]);
      expect(timescaleDb).to.equal(null);
    }
    const schema = await itemsOf(stage.local, DESCRIBE_SCHEMA);
    for (const table of READING_TABLES) {
      expect(schema).to.include(`public.${table} time timestamp with time zone NO`);
      expect(schema).to.include(`${table}_key UNIQUE (sensor_id, "time")`);
    }
    expect(schema).to.include('sensor_registry_pkey PRIMARY KEY (sensor_id)');
    expect(withoutTimes(await itemsOf(stage.ec2, DESCRIBE_SCHEMA))).to.deep.equal(withoutTimes(schema));
  });

  it('changes nothing the second time', async () => {
    await stage.runJson<InitReport>(['init']);
    const before = await itemsOf(stage.local, DESCRIBE_SCHEMA);
    const { sides } = await stage.runJson<InitReport>(['init']);
    expect(await itemsOf(stage.local, DESCRIBE_SCHEMA)).to.deep.equal(before);
    for (const { tables, bookkeeping } of sides) {
      expect(tables.map(({ action }) => action)).to.deep.equal(TABLES.map(() => 'kept'));
      expect(bookkeeping.from).to.equal(bookkeeping.to);
    }
  });

  it('prepares one side only where asked to, or where EC2 is not set', async () => {
    const report = await stage.runJson<InitReport>(['init', '--side', 'ec2']);
    expect(report.sides.map(({ side }) => side)).to.deep.equal(['ec2']);
    expect(await hasTable(stage.local)).to.equal(false);
    const { stdout } = await stage.run(['init', '--json'], { EC2_DB_HOST: undefined });
    expect((JSON.parse(stdout) as InitReport).sides.map(({ side }) => side)).to.deep.equal(['local']);
  });

  it('leaves one schema when ten processes start at once', async () => {
    // Held before the first change until all ten are there: they go on at the same moment.
    const gate = await stage.local.connect();
    await gate.query('begin');
    await gate.query('lock table pg_namespace in share row exclusive mode');
    const running = Array.from({ length: 10 }, () => stage.run(['init', '--json']));
    await stage.eventuallyBlocked(10);
    await gate.query('rollback');
    gate.release();
    const results = await Promise.all(running);
    expectAllDone(results);
    const created = results.flatMap(({ stdout }) => (JSON.parse(stdout) as InitReport).sides);
    for (const side of ['local', 'ec2']) {
      const here = created.filter((each) => each.side === side);
      expect(here.filter(({ bookkeeping }) => bookkeeping.from === 0)).to.have.length(1);
      expect(here.flatMap(({ tables }) => tables).filter(({ action }) => action === 'created')).to.have.length(4);
    }
    const schema = await itemsOf(stage.local, DESCRIBE_SCHEMA);
    await stage.runJson(['init']);
    expect(await itemsOf(stage.local, DESCRIBE_SCHEMA)).to.deep.equal(schema);
  });

  it('logs in with a password of any characters, from the environment and from .env.local', async () => {
    const passwords = { local: '@!#$%^&*\'"`\\ /:?= ü漢🔑', ec2: `@!#$%^&*'" \\ ü漢` };
    await createOwner(stage.local, stage.settings.TIMESCALE_DB!, passwords.local);
    await createOwner(stage.ec2, stage.settings.EC2_DB_NAME!, passwords.ec2);
    const { code, stderr } = await stage.run(
      ['init'],
      {
        TIMESCALE_USER: stage.settings.TIMESCALE_DB,
        TIMESCALE_PASSWORD: passwords.local,
        EC2_DB_USER: stage.settings.EC2_DB_NAME,
        EC2_DB_PASSWORD: undefined,
      },
      { '.env.local': `EC2_DB_PASSWORD=\`${passwords.ec2}\`  # quoted\n` },
    );
    expect(stderr).to.equal('');
    expect(code).to.equal(0);
    await dropOwner(stage.local, stage.settings.TIMESCALE_DB!);
    await dropOwner(stage.ec2, stage.settings.EC2_DB_NAME!);
  });

  describe('on a table that has no key, holds duplicates, and has `timestamp` without zone', () => {
    beforeEach(async () => {
      await stage.local.query(CREATE_KEYLESS);
      await stage.local.query(FILL_KEYLESS);
    });

    it('leaves it as it is, names --add-keys, and exits with 1', async () => {
      const before = await itemsOf(stage.local, READ_KEYLESS);
      const { code, stdout } = await stage.run(['init']);
      expect(code).to.equal(1);
      expect(stdout).to.match(
        /local: water_level_readings has no unique key \(sensor_id, time\)\.\s+Next: sensorctl init --side local --add-keys/,
      );
      expect(await itemsOf(stage.local, READ_KEYLESS)).to.deep.equal(before);
      expect(await itemsOf(stage.local, DESCRIBE_SCHEMA)).not.to.include('water_level_readings_key');
      expect(await countQuarantine(stage.local)).to.equal(0);
    });

    it('removes exact duplicates, moves differing rows to the quarantine, and adds the key', async () => {
      const before = await itemsOf(stage.local, READ_KEYLESS);
      const { sides } = await stage.runJson<InitReport>(['init', '--add-keys', '--side', 'local']);
      expect(sides[0]!.keysAdded).to.deep.equal([
        { table: 'water_level_readings', duplicatesRemoved: 2, quarantined: 2 },
      ]);
      expect(sides[0]!.obstacles).to.deep.equal([]);
      expect(await itemsOf(stage.local, READ_KEYLESS)).to.deep.equal([before[0], before[5]]);
      const { rows } = await stage.local.query<Record<string, string>>(
        'select side, table_name, sensor_id, reading_time, body from sensorctl.quarantine order by quarantine_id',
      );
      expect(rows.map(({ body, ...about }) => ({ ...about, ...(JSON.parse(body!) as object) }))).to.have.deep.members(
        [
          { level_cm: 1, rssi: -71, note: 'kept as json' },
          { level_cm: 2, rssi: -60, note: null },
        ].map((differing) => ({
          ...{ side: 'local', table_name: 'water_level_readings', reading_time: '2025-07-01 00:00:00.000001' },
          ...{ time: '2025-07-01T00:00:00.000001', sensor_id: 'A', location_lat: null, location_lng: null },
          ...{ voltage: null, temperature: null, quality_score: null },
          ...differing,
        })),
      );
      const again = await stage.local
        .query("insert into water_level_readings (time, sensor_id, level_cm) values ('2025-07-01 00:00:01', 'A', 9)")
        .catch((error: unknown) => error);
      expect(again).to.have.property('code', '23505');
      expect((await stage.runJson<InitReport>(['init', '--add-keys'])).sides[0]!.keysAdded).to.deep.equal([]);
    });

    it('counts a record of the quarantine once, however many equal rows it stands for', async () => {
      await stage.local.query(`insert into water_level_readings (time, sensor_id, level_cm, rssi, note)
        values ('2025-07-01 00:00:00.000001', 'A', 1, -71, 'kept as json')`);
      const { sides } = await stage.runJson<InitReport>(['init', '--add-keys', '--side', 'local']);
      expect(sides[0]!.keysAdded).to.deep.equal([
        { table: 'water_level_readings', duplicatesRemoved: 3, quarantined: 2 },
      ]);
      expect(await countQuarantine(stage.local)).to.equal(2);
    });

    it('names as the next step the other side, with --add-keys', async () => {
      const { stdout } = await stage.run(['init', '--add-keys', '--side', 'local']);
      expect(stdout).to.match(/\nNext: sensorctl init --side ec2 --add-keys\n$/);
    });

    it('says with --dry-run which rows share a key and how they differ, and changes nothing', async () => {
      const before = await itemsOf(stage.local, READ_KEYLESS);
      const dryRun = ['init', '--add-keys', '--dry-run', '--side', 'local'];
      const { stdout, code } = await stage.run(dryRun);
      expect(code).to.equal(0);
      expect(stdout).to.match(
        /local: water_level_readings: 1 key shared; 2 duplicates would be removed, 2 rows moved to the quarantine\n/,
      );
      expect(stdout).to.match(/They differ in: level_cm \(1\), note \(1\), rssi \(1\)\n/);
      expect(stdout)
        .to.include('  A 2025-07-01T00:00:00.000001: ')
        .and.to.include('rssi is -60 where it stays, -71 where it goes');
      expect(stdout).to.match(/Next: sensorctl init --side local --add-keys {4}# does it\n$/);
      const { sides } = await stage.runJson<{ sides: KeyPreview[] }>(dryRun);
      expect(sides[0]!.tables[0]).to.deep.include({ keys: 1, duplicatesRemoved: 2, quarantined: 2, compressed: false });
      expect(sides[0]!.tables[0]!.examples).to.deep.include({
        key: { sensor_id: 'A', time: '2025-07-01T00:00:00.000001' },
        columns: { level_cm: { kept: '1.00', moved: '2.00' } },
      });
      expect(await itemsOf(stage.local, READ_KEYLESS)).to.deep.equal(before);
      expect(await itemsOf(stage.local, "select to_regnamespace('sensorctl')::text as item")).to.deep.equal([null]);
    });

    it('leaves table and quarantine as they were when adding the key fails', async () => {
      const before = await itemsOf(stage.local, READ_KEYLESS);
      // The name of the key is taken: everything before it has been done by then.
      await stage.local.query('create table water_level_readings_key ()');
      const { code, stderr } = await stage.run(['init', '--add-keys', '--side', 'local']);
      expect(code).to.equal(3);
      expect(stderr).to.contain('Error: the local database at ').and.to.contain('water_level_readings_key');
      expect(await itemsOf(stage.local, READ_KEYLESS)).to.deep.equal(before);
      expect(await countQuarantine(stage.local)).to.equal(0);
    });

    it('explains --add-keys before it acts', async () => {
      const { stderr } = await stage.run(['init', '--add-keys', '--side', 'local']);
      expect(stderr).to.contain('exact duplicate rows are removed');
    });
  });

  it('names what it asks about a line each, where nobody can be asked, and does nothing', async () => {
    await stage.local.query('create table public.notes (id integer primary key)');
    const { code, stdout, stderr } = await stage.run(['init']);
    expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
    expect(stderr).to.match(/^To be carried out on EC2:\n {2}table public\.notes\n[^]*\nNext: give --yes\n$/m);
    expect(stderr).not.to.match(/Error|\\x0a/);
    expect(await itemsOf(stage.ec2, "select to_regclass('public.notes')::text as item")).to.deep.equal([null]);
  });

  it('accepts a keyed table with `timestamp` without zone, and names a column that is missing', async () => {
    await stage.local.query(CREATE_KEYLESS);
    await stage.local.query('alter table water_level_readings add primary key (time, sensor_id)');
    await stage.local.query(
      'create table moisture_readings (time timestamp, sensor_id varchar(255), unique (sensor_id, time))',
    );
    const { code, stdout } = await stage.run(['init', '--side', 'local', '--json']);
    const obstacles = (JSON.parse(stdout) as InitReport).sides[0]!.obstacles;
    expect(code).to.equal(1);
    expect(new Set(obstacles.map(({ table }) => table))).to.deep.equal(new Set(['moisture_readings']));
    for (const { next } of obstacles) await stage.local.query(next);
    await stage.runJson(['init', '--side', 'local']);
  });
});

describe('init on TimescaleDB', function () {
  this.timeout(40_000);
  let stage: Stage | undefined;

  before(async function () {
    stage = await Stage.open('init timescale', await timescaleServers(this));
  });

  after(async () => {
    await stage?.close();
  });

  it('makes hypertables with chunks of a day, by ten processes at once', async () => {
    const results = await Promise.all(Array.from({ length: 10 }, () => stage!.run(['init', '--json'])));
    expectAllDone(results);
    for (const pool of [stage!.local, stage!.ec2]) {
      const items = await itemsOf(
        pool,
        `select hypertable_name || ' ' || column_name || ' ' || time_interval as item
         from timescaledb_information.dimensions order by 1`,
      );
      expect(items).to.have.members(READING_TABLES.map((table) => `${table} time 1 day`));
    }
  });

  it('adds the key to an existing hypertable, over all its chunks', async () => {
    await stage!.local.query('drop table water_level_readings');
    await stage!.local.query(CREATE_KEYLESS);
    await stage!.local.query("select create_hypertable('water_level_readings', 'time')");
    await stage!.local.query(FILL_KEYLESS);
    await stage!.local.query(
      `insert into water_level_readings (time, sensor_id, level_cm)
       select '2024-01-01'::timestamp + make_interval(days => day), 'B', level
       from generate_series(0, 60) as day, unnest(array[1, 1, 2]) as level`,
    );
    const { sides } = await stage!.runJson<InitReport>(['init', '--add-keys', '--side', 'local']);
    expect(sides[0]!.tables.find(({ table }) => table === 'water_level_readings')).to.include({
      action: 'kept',
      hypertable: true,
    });
    expect(sides[0]!.keysAdded).to.deep.equal([
      { table: 'water_level_readings', duplicatesRemoved: 2 + 61, quarantined: 2 + 61 },
    ]);
    expect(await itemsOf(stage!.local, 'select count(*)::text as item from water_level_readings')).to.deep.equal([
      '63',
    ]);
  });

  it('names a table with compressed chunks, and goes on with the others', async () => {
    await stage!.local.query(`
      alter table water_level_readings drop constraint if exists water_level_readings_key;
      alter table moisture_readings drop constraint if exists moisture_readings_key;
      drop index if exists water_level_readings_key;
      alter table water_level_readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
      select compress_chunk(c) from show_chunks('water_level_readings') as c;
      insert into moisture_readings (time, sensor_id) values ('2025-07-01', 'M'), ('2025-07-01', 'M')`);
    await stage!.local
      .query(`insert into water_level_readings (time, sensor_id, level_cm) values ('2024-01-01', 'B', 1),
        ('2024-01-01', 'B', 1), ('2024-01-01', 'B', 9);
      select compress_chunk(c, true) from show_chunks('water_level_readings') as c`);
    const dryRun = await stage!.runJson<{ sides: KeyPreview[] }>([
      'init',
      '--add-keys',
      '--dry-run',
      '--side',
      'local',
    ]);
    const found = dryRun.sides[0]!.tables.map(({ table, keys, duplicatesRemoved, quarantined, compressed }) =>
      [table, keys, duplicatesRemoved, quarantined, compressed].join(' '),
    );
    expect(found).to.have.members(['water_level_readings 1 2 1 true', 'moisture_readings 1 1 0 false']);
    const { code, stdout } = await stage!.run(['init', '--add-keys', '--side', 'local', '--json']);
    expect(code).to.equal(1);
    const [side] = (JSON.parse(stdout) as InitReport).sides;
    expect(side!.keysAdded).to.deep.equal([{ table: 'moisture_readings', duplicatesRemoved: 1, quarantined: 0 }]);
    expect(side!.obstacles.map(({ table, problem }) => `${table} ${problem}`)).to.deep.equal([
      'water_level_readings has no unique key (sensor_id, time), and compressed chunks, in which duplicates cannot be removed',
    ]);
    const [sql, command] = side!.obstacles[0]!.next.replace('on local: ', '').split('; then ');
    expect(command).to.equal('sensorctl init --side local --add-keys');
    await stage!.local.query(sql!);
    const again = await stage!.runJson<InitReport>(['init', '--add-keys', '--side', 'local']);
    expect(again.sides[0]!.keysAdded, 'what the dry run said').to.deep.equal([
      { table: 'water_level_readings', duplicatesRemoved: 2, quarantined: 1 },
    ]);
  });
});

async function itemsOf(pool: pg.Pool, sql: string): Promise<string[]> {
  return (await pool.query<{ item: string }>(sql)).rows.map(({ item }) => item);
}

function withoutTimes(schema: readonly string[]): string[] {
  return schema.map((item) => item.replace(/ at .*/, ''));
}

async function hasTable(pool: pg.Pool): Promise<boolean> {
  return (await itemsOf(pool, "select (to_regclass('sensor_registry') is not null)::text as item"))[0] === 'true';
}

async function countQuarantine(pool: pg.Pool): Promise<number> {
  return Number((await itemsOf(pool, 'select count(*)::text as item from sensorctl.quarantine'))[0]);
}

function expectAllDone(results: readonly CliResult[]): void {
  expect(results.map(({ code, stderr }) => `${String(code)} ${stderr}`)).to.deep.equal(results.map(() => '0 '));
}

/** A role of the database's name that owns it. */
async function createOwner(pool: pg.Pool, database: string, password: string): Promise<void> {
  const role = pg.escapeIdentifier(database);
  await pool.query(`create role ${role} login password ${pg.escapeLiteral(password)}`);
  await pool.query(`alter database ${role} owner to ${role}`);
  await pool.query(`grant create on schema public to ${role}`);
}

async function dropOwner(pool: pg.Pool, database: string): Promise<void> {
  const role = pg.escapeIdentifier(database);
  await pool.query(`reassign owned by ${role} to current_user`);
  await pool.query(`drop owned by ${role}`);
  await pool.query(`drop role ${role}`);
}
