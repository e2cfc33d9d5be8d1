import { expect } from 'chai';
import { Stage } from '../support/cli.js';

const BAD_LEVEL = message({ level: 123_456 });
const NO_LEVEL = message({ RSSI: -60 });
const NOT_JSON = 'not json, with a "quote" and a ☂';

function message(data: object): string {
  return JSON.stringify({
    timestamp: '2025-07-01T00:00:00.000Z',
    sensorType: 'water-level',
    sensorId: 'AWD-1',
    data: { timestamp: 1_751_331_603_021, voltage: 385, ...data },
  });
}

interface Listed {
  readonly records: {
    id: number;
    keptOn: string;
    faults: { reason: string; sqlstate: string | null }[];
    body: string;
  }[];
}

describe('quarantine', () => {
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('quarantine commands');
    await stage.run(['init']);
    await stage.send([BAD_LEVEL, NO_LEVEL, NOT_JSON]);
    await stage.runJson(['consume', '--dual-write', '--drain']);
  });

  after(() => stage.close());

  async function list(...flags: string[]): Promise<Listed['records']> {
    return (await stage.runJson<Listed>(['quarantine', 'list', ...flags])).records;
  }

  async function idOf(body: string): Promise<number> {
    return (await list('--all')).find((record) => record.body === body)!.id;
  }

  it('lists each record with reason, SQLSTATE and the message as it came', async () => {
    const records = await list();
    expect(records.map((record) => record.body)).to.have.members([BAD_LEVEL, NO_LEVEL, NOT_JSON]);
    const [bad, broken] = [BAD_LEVEL, NOT_JSON].map((body) => records.find((record) => record.body === body)!);
    expect([bad!.keptOn, bad!.faults.map(({ sqlstate }) => sqlstate)]).to.deep.equal(['local', ['22003']]);
    expect(broken!.faults.map(({ reason }) => reason)).to.deep.equal(['not JSON']);
  });

  it('shows one record whole', async () => {
    const { stdout, code } = await stage.run(['quarantine', 'show', `local:${await idOf(BAD_LEVEL)}`]);
    expect(code).to.equal(0);
    expect(stdout).to.include(BAD_LEVEL).and.to.match(/22003/);
  });

  it('says which record does not exist, and what to type next', async () => {
    const { stderr, code } = await stage.run(['quarantine', 'show', 'local:999999']);
    expect(code).to.equal(2);
    expect(stderr)
      .to.match(/no record local:999999/)
      .and.to.match(/Next: sensorctl quarantine list/);
  });

  it('keeps open what fails again, and stores and closes what was mended', async () => {
    const failing = await stage.run(['quarantine', 'retry', '--all', '--json']);
    expect(failing.code).to.equal(1);
    expect(JSON.parse(failing.stdout)).to.include({ stored: 0 });
    expect(await list()).to.have.length(3);
    for (const pool of [stage.local, stage.ec2]) {
      await pool.query('alter table water_level_readings alter level_cm type numeric(9,2)');
    }
    const mended = await stage.run(['quarantine', 'retry', '--all', '--json'], { ENABLE_DUAL_WRITE: 'true' });
    expect(JSON.parse(mended.stdout)).to.include({ stored: 1 });
    for (const pool of [stage.local, stage.ec2]) {
      const { rows } = await pool.query('select level_cm from water_level_readings');
      expect(rows).to.deep.equal([{ level_cm: '123456.00' }]);
    }
    expect((await list()).map((record) => record.body)).to.have.members([NO_LEVEL, NOT_JSON]);
  });

  it('discards nothing where one and all are named, or a side that is not meant', async () => {
    for (const [args, message] of [
      [['local:1', '--all', '--side', 'local'], /local:1 and --all exclude each other/],
      [['local:1', '--side', 'ec2'], /--all/],
      [['--all'], /--all wants the side\nNext: give --side local or --side ec2/],
      [[], /no record is named/],
    ] as const) {
      const { code, stderr } = await stage.run(['quarantine', 'discard', ...args]);
      expect(code, stderr).to.equal(2);
      expect(stderr).to.match(message);
    }
    const { stderr } = await stage.run(['quarantine', 'retry', 'local:1', '--all']);
    expect(stderr).to.match(/exclude each other/);
  });

  it('discards without deleting', async () => {
    const id = await idOf(NO_LEVEL);
    expect(await stage.runJson(['quarantine', 'discard', `local:${id}`])).to.deep.equal({ discarded: 1 });
    expect(await stage.runJson(['quarantine', 'discard', `local:${id}`])).to.deep.equal({ discarded: 0 });
    expect((await list()).map((record) => record.body)).to.deep.equal([NOT_JSON]);
    expect((await list('--all')).map((record) => record.body)).to.have.members([BAD_LEVEL, NO_LEVEL, NOT_JSON]);
  });
});

describe('quarantine, of rows of tables', function () {
  this.timeout(60_000);
  let stage: Stage;
  const WITH_EC2 = { ENABLE_DUAL_WRITE: 'true' };

  beforeEach(async () => {
    stage = await Stage.open('quarantined rows');
  });

  afterEach(() => stage.close());

  async function rowsOf(table: string): Promise<string[][]> {
    const sql = `select stored::text as row from ${table} as stored order by 1`;
    const sides = await Promise.all([stage.local, stage.ec2].map((pool) => pool.query<{ row: string }>(sql)));
    return sides.map(({ rows }) => rows.map(({ row }) => row));
  }

  it("a row that was pruned goes back whole, whatever its columns, where there is none of the guide's tables", async () => {
    await stage.local.query(`
      create schema "O d"; create type "O d".pair as (a int, "B" text);
      create table "O d"."T" ("K" bigint generated always as identity, "At" timestamp, pairs "O d".pair[], bytes bytea, doc jsonb,
        spot point, n numeric, one int generated always as (1) stored, made timestamptz default clock_timestamp(),
        primary key ("K", "At"));
      insert into "O d"."T" ("At", pairs, bytes, doc, spot, n)
      select '2025-07-01'::timestamp + make_interval(mins => i), array[row(i, 'x"y')::"O d".pair, null], '\\x00ff', '{"a": [1, null]}',
        '(1,2)', 12345678901234567890.5 from generate_series(1, 3) as i`);
    await stage.runJson(['init', '--yes']);
    await stage.runJson(['backfill', '--all', '--yes']);
    const [before] = await rowsOf('"O d"."T"');
    await stage.local.query('delete from "O d"."T" where "K" = 2');
    await stage.runJson(['backfill', '--all', '--prune', '--yes']);
    const { records } = await stage.runJson<Listed>(['quarantine', 'list']);
    expect(records).to.have.length(1);
    const name = `ec2:${records[0]!.id}`;
    expect(await stage.runJson(['quarantine', 'retry', name], WITH_EC2)).to.deep.equal({ stored: 1, failed: [] });
    expect(await rowsOf('"O d"."T"')).to.deep.equal([before, before]);
    expect((await stage.runJson<Listed>(['quarantine', 'list'])).records).to.deep.equal([]);
  });

  it('rows that shared a key go into a table that has none of them, once init --add-keys has set them aside', async () => {
    await stage.runJson(['init']);
    for (const pool of [stage.local, stage.ec2]) {
      await pool.query(`create table other_readings (like water_level_readings including all);
        alter table water_level_readings drop constraint water_level_readings_key`);
    }
    await stage.local.query(`
      insert into water_level_readings (time, sensor_id, level_cm, rssi)
      select '2025-07-01T00:00:00Z'::timestamptz + make_interval(secs => n / 2), 'W', 1.25, n % 2 from generate_series(0, 19) as n`);
    await stage.runJson(['init', '--add-keys', '--yes']);
    const { records } = await stage.runJson<Listed>(['quarantine', 'list']);
    expect(records, 'a record a row').to.have.length(10);
    const own = await stage.run(['quarantine', 'retry', '--all'], WITH_EC2);
    expect(own.code, own.stdout).to.equal(1);
    expect(own.stdout).to.include('water_level_readings holds a row with its key');
    const other = ['quarantine', 'retry', '--all', '--table', 'other_readings'];
    expect(await stage.runJson(other, WITH_EC2)).to.deep.equal({ stored: 10, failed: [] });
    const [here, there] = await rowsOf('other_readings');
    expect(here).to.have.length(10);
    expect(there).to.deep.equal(here);
  });
});
