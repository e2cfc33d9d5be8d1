// A monitor of a database with a few hundred tables besides those of the guide, some of which other programs write.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import type { Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { Stage } from '../support/cli.js';

const MANY = 300;

/** Rows of an hour in each of many tables, and some of other kinds. */
const CREATE = `
  create schema "many of them";
  do $$ begin
    for place in 1..${MANY} loop
      execute format('create table "many of them".%I (noted timestamptz, id int, note text, primary key (noted, id))', 'Table ' || place);
      execute format('insert into "many of them".%I select date_trunc(''minute'', now()) - make_interval(mins => 10 + n), n from generate_series(1, 3) as n',
        'Table ' || place);
    end loop;
  end $$;
  create table orders (noted timestamptz, id int, primary key (noted, id));
  create table lookup (id int primary key, name text);
  insert into lookup select n, 'x' from generate_series(1, 40) as n;
  analyze lookup;
  create table logs (noted timestamptz primary key)`;

const WITHOUT_LOGS = { TABLES_EXCEPT: 'logs' };

describe('acceptance: monitor of many tables', function () {
  this.timeout(240_000);
  let stage: Stage;
  let directory: string;

  before(async () => {
    stage = await Stage.open('monitor tables');
    directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-report-'));
    await stage.runJson(['init']);
    for (const side of [stage.local, stage.ec2]) await side.query(CREATE);
    const { code, stderr } = await stage.run(['init', '--track', '--table', 'orders', '--yes']);
    expect(code, stderr).to.equal(0);
    await stage.runJson(['cutover', '--phase', '1', '--yes'], WITHOUT_LOGS);
  });

  after(async () => {
    await rm(directory, { recursive: true, force: true });
    await stage.close();
  });

  async function look(
    ...failOn: string[]
  ): Promise<Snapshot & { readonly code: number | null; readonly notes: string }> {
    const flags = failOn.length === 0 ? [] : ['--fail-on', failOn.join(',')];
    const { stdout, stderr, code } = await stage.run(
      ['monitor', '--once', '--json', '--no-record', ...flags],
      WITHOUT_LOGS,
    );
    return { ...(JSON.parse(stdout) as Snapshot), code, notes: stderr };
  }

  function kindsOf({ troubles }: Snapshot): string[] {
    return troubles.map(({ kind }) => kind).filter((kind) => kind !== 'no-consumer');
  }

  it('counts each by window or tells an estimate, says which are tracked, and what is left out', async () => {
    const snapshot = await look('apart>0', 'writers-missed>0', 'partly-tracked>0', 'not-handled>0');
    expect(kindsOf(snapshot)).to.deep.equal([]);
    expect(snapshot.code, snapshot.notes).to.equal(0);
    const byName = new Map(snapshot.tables.map((each) => [each.table, each]));
    expect(byName.size).to.equal(MANY + 6);
    expect(byName.get('many of them.Table 300')).to.deep.include({
      ...{ counted: 'window', apart: null, tracking: 'untracked', isNew: false, note: null },
    });
    for (const { table, counted, local, ec2 } of snapshot.tables) {
      if (table.startsWith('many')) expect([counted, local?.rows, ec2?.rows], table).to.deep.equal(['window', 3, 3]);
    }
    expect(byName.get('lookup')).to.deep.include({ counted: 'estimate', note: 'it has no axis of time' });
    expect(byName.get('lookup')?.ec2).to.deep.equal({ rows: 40, maxTime: null });
    expect(byName.get('orders')?.tracking).to.equal('tracked');
    expect(snapshot.leftOut).to.deep.equal([{ table: 'logs', reason: 'TABLES_EXCEPT names it' }]);
  });

  it('says of a new table that it is new, and of one that EC2 lacks that it cannot be moved', async () => {
    await stage.local.query('create table newcomer (noted timestamptz primary key)');
    const lacking = await look('not-handled>0');
    expect(lacking.code).to.equal(1);
    expect(lacking.troubles.find(({ kind }) => kind === 'not-handled')?.text).to.match(
      /^1 table cannot be moved: newcomer is missing on EC2 \(sensorctl verify-schema/,
    );
    await stage.ec2.query('create table newcomer (noted timestamptz primary key)');
    const snapshot = await look();
    expect(kindsOf(snapshot)).to.deep.equal([]);
    expect(snapshot.tables.filter(({ isNew }) => isNew).map(({ table }) => table)).to.deep.equal(['newcomer']);
  });

  it('a table that stays apart is trouble by its name, and more than three are one trouble', async () => {
    const add = (place: number, rows: number): Promise<unknown> =>
      stage.local.query(
        `insert into "many of them"."Table ${place}" select now() - interval '5 minutes', n from generate_series(1, $1) as n`,
        [rows],
      );
    await add(170, 7);
    const one = await look('apart>0');
    expect(one.code).to.equal(1);
    expect(one.troubles.filter(({ kind }) => kind === 'apart').map(({ text }) => text)).to.deep.equal([
      'Local holds 7 rows of many of them.Table 170 more than EC2, and the ledger knows nothing of it: another program writes there',
    ]);
    for (const place of [12, 13, 14]) await add(place, 2);
    const four = await look();
    const [apart, ...others] = four.troubles.filter(({ kind }) => kind === 'apart');
    expect(others).to.deep.equal([]);
    expect(apart?.text).to.match(/^4 tables hold other counts .* most of all many of them\.Table 170 \(7 rows\)/);
    expect(apart?.tables.length).to.equal(4);
  });

  it('shows the reading tables, the worst of the rest and totals in 80 columns', async () => {
    const { stdout } = await stage.run(['monitor', '--once', '--no-record'], WITHOUT_LOGS);
    const lines = stdout.trimEnd().split('\n');
    for (const line of lines) expect(line.length, line).to.be.at.most(80);
    const first = lines.findIndex((line) => line.startsWith('rows of the last'));
    expect(lines.slice(first + 1, first + 4).map((line) => line.split(' ')[0])).to.have.members([
      ...['water_level_readings', 'moisture_readings', 'sensor_readings'],
    ]);
    expect(lines[first + 4]).to.match(/^many of them\.Table 170 .* 7$/);
    expect(stdout).to.match(/^all 305 counted ones +913 .* 900 .* 13$/m);
    expect(stdout).to.match(/^tables +307 \(1 tracked, 306 untracked\); 1 new: newcomer; 1 left out; 2 /m);
  });

  it('what another writer entered explains what is apart, is counted, and --fail-on knows it', async () => {
    await stage.local.query(
      "insert into orders select now() - interval '5 minutes', n from generate_series(1, 5) as n",
    );
    const snapshot = await look('writers-missed>0', 'writers-pending>0');
    expect(snapshot.writers?.map(({ table, pending, missed }) => [table, pending, missed])).to.deep.equal([
      ['orders', 0, 1],
    ]);
    expect(snapshot.notes).to.contain('Failed: writers-missed>0').and.not.to.contain('writers-pending');
    expect(snapshot.tables.find(({ table }) => table === 'orders')?.apart?.rows).to.equal(5);
    const apart = snapshot.troubles.find(({ kind }) => kind === 'apart');
    expect(apart?.tables.map(({ table }) => table)).not.to.include('orders');
  });

  it('triggers that are not whole are trouble', async () => {
    await stage.ec2.query('alter table orders disable trigger user');
    const snapshot = await look('partly-tracked>0');
    expect(snapshot.code).to.equal(1);
    expect(snapshot.troubles.find(({ kind }) => kind === 'partly-tracked')?.text).to.match(
      /^The triggers of orders are not whole: on EC2 trigger sensorctl_\S+ on orders is disabled/,
    );
  });

  it('the report says how old the proof of each table is, whether it is tracked, and what is left out', async () => {
    await stage.run(['compare', '--all', '--table', 'lookup'], WITHOUT_LOGS);
    const output = path.join(directory, 'report.html');
    const report = await stage.runJson<MonitorReport>(['monitor', 'report', '--output', output], WITHOUT_LOGS);
    const byName = new Map(report.tables?.map((each) => [each.table, each]));
    expect(byName.size).to.equal(MANY + 7);
    expect(byName.get('lookup')).to.deep.include({ tracking: 'untracked', different: null, note: null });
    expect(byName.get('lookup')?.ageSeconds).to.be.within(0, 120);
    expect(byName.get('orders')).to.deep.include({ proven: null, tracking: 'partly tracked' });
    expect(report.leftOut).to.deep.equal([{ table: 'logs', reason: 'TABLES_EXCEPT names it' }]);
    expect(await readFile(output, 'utf8')).to.contain(
      '307 tables, 1 proven, 0 tracked, of which the 200 with the oldest',
    );
  });
});
