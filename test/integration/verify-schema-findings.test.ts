// Small schemas on which verify-schema was silent, or wrong.
import { expect } from 'chai';
import type { Finding } from '../../src/lib/operations/verify-schema/finding.js';
import { trackSides } from '../../src/lib/operations/track.js';
import { verifySchema, type SchemaReport } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { applySteps } from '../../src/lib/repository/schema/apply.js';
import { Stage } from '../support/cli.js';
import { blocking, closeSides, openSides, prepareBoth, type Sides } from '../support/schemas.js';

const NAMED = 'devices';

const isOfWriters = ({ subject }: Finding): boolean =>
  ['other writers', 'triggers for other writers'].includes(subject);

describe('verify-schema of small schemas', function () {
  this.timeout(40_000);
  let stage: Stage;
  let sides: Sides;

  before(async () => {
    stage = await Stage.open('verify findings');
    sides = openSides(stage);
    await prepareBoth(sides);
  });

  after(async () => {
    await closeSides(sides);
    await stage.close();
  });

  afterEach(async () => {
    for (const pool of [stage.local, stage.ec2]) {
      await pool.query(`drop view if exists seen; drop table if exists ${NAMED} cascade; drop table if exists child`);
    }
  });

  const verify = async (table = NAMED): Promise<SchemaReport> => await verifySchema(sides, [table]);
  /** Without what is said of every table that is not tracked. */
  const ofSchema = ({ findings }: SchemaReport): Finding[] =>
    findings.filter(({ subject }) => subject !== 'other writers');
  const found = (report: SchemaReport): string[] =>
    ofSchema(report).map(({ weight, subject }) => `${weight} ${subject}`);

  async function onBoth(sql: string): Promise<void> {
    await Promise.all([stage.local.query(sql), stage.ec2.query(sql)]);
  }

  it('does not make a table of a view, nor a key for one, on whichever side it is', async () => {
    await onBoth(`create table ${NAMED} (id int primary key)`);
    await stage.local.query(`create view seen as select * from ${NAMED}`);
    const alone = await verify('seen');
    expect(found(alone)).to.deep.equal(['blocks kind']);
    expect(alone.findings[0]).to.include({ local: 'view', ec2: 'does not exist', mend: null });
    expect(alone.script).not.to.contain('create table');
    await stage.ec2.query(`create view seen as select * from ${NAMED}`);
    expect(found(await verify('seen'))).to.deep.equal(['blocks kind']);
  });

  it('finds no difference between what its script made and what it made it from, though both print it differently', async () => {
    await stage.local.query(`create table ${NAMED} (id int primary key, kind varchar(9), state varchar(9),
      constraint known check (kind in ('A', 'B')), constraint open check (state not in ('x', 'y')) not valid);
      create unique index one_a on ${NAMED} (kind) where kind in ('A', 'B')`);
    await stage.ec2.query((await verify()).script);
    const printed = async (pool: Stage['local']): Promise<string> => {
      const { rows } = await pool.query<{ text: string }>(
        `select pg_get_constraintdef(oid) as text from pg_constraint where conname = 'known'`,
      );
      return rows[0]!.text;
    };
    expect(await printed(stage.local)).not.to.equal(await printed(stage.ec2));
    expect(found(await verify())).to.deep.equal([]);
  });

  it('still finds the check that means something else, and changes nothing by asking', async () => {
    await stage.local.query(`create table ${NAMED} (id int primary key, kind varchar(9), check (kind in ('A', 'B')))`);
    await stage.ec2.query(`create table ${NAMED} (id int primary key, kind varchar(9), check (kind in ('A')))`);
    expect(found(await verify())).to.deep.equal(['blocks check devices_kind_check', 'notes check devices_kind_check']);
    const { rows } = await stage.ec2.query(
      "select from pg_class where relname like 'sensorctl_copy%' union all select from pg_namespace where nspname like 'pg_temp%'",
    );
    expect(rows).to.deep.equal([]);
  });

  it('warns of a function and of a type that mean something else on EC2, and brings the function', async () => {
    await stage.local.query(`create function twice(n int) returns int language sql as 'select n * 2';
      create type state as enum ('on', 'off')`);
    await stage.ec2.query(`create function twice(n int) returns int language sql as 'select n * 3';
      create type state as enum ('on')`);
    const of = (each: SchemaReport): string[] =>
      ofSchema(each)
        .filter(({ weight }) => weight === 'warns')
        .map(({ subject }) => subject);
    const report = await verifySchema(sides);
    expect(of(report)).to.have.members(['function public.twice(integer)', 'type public.state']);
    expect((await applySteps(sides.ec2, report.steps, () => undefined)).map(({ problem }) => problem)).to.deep.equal([
      null,
    ]);
    const after = await verifySchema(sides);
    await onBoth('drop function twice(int); drop type state');
    expect(of(after)).to.deep.equal(['type public.state']);
    expect(after.steps).to.deep.equal([]);
  });

  it('warns of tables that are not tracked, and of triggers that are not whole, as of a partition made later', async () => {
    await onBoth(`create table ${NAMED} (id int primary key) partition by range (id)`);
    const tracking = async (): Promise<Partial<Finding>[]> => (await verify()).findings.filter(isOfWriters);
    const [untracked] = await tracking();
    expect(untracked).to.include({
      ...{ weight: 'warns', table: null, local: `not tracked: ${NAMED}`, mend: 'sensorctl init --track' },
    });
    await trackSides([sides.local, sides.ec2], { tables: [NAMED], dryRun: false });
    expect(await tracking()).to.deep.equal([]);
    await onBoth(`create table low partition of ${NAMED} for values from (0) to (10)`);
    await stage.local.query(`alter table ${NAMED} disable trigger sensorctl_gate`);
    const [broken] = await tracking();
    expect(broken).to.include({ weight: 'warns', table: NAMED, mend: 'sensorctl init --track' });
    expect(broken?.local).to.match(/trigger sensorctl_gate on \w+ is disabled.*trigger sensorctl_gate on low/);
    expect(broken?.ec2).to.match(/trigger sensorctl_gate on low does not exist/);
    await onBoth(`drop table ${NAMED}; delete from sensorctl.tracked_table`);
  });

  it('blocks where a table inherits, on either side: a key may be there twice, unseen', async () => {
    await onBoth(`create table ${NAMED} (id int primary key)`);
    for (const side of ['local', 'ec2'] as const) {
      await stage[side].query(`create table child () inherits (${NAMED}); insert into child values (1), (1)`);
      const [inherits, ...others] = blocking(await verify());
      expect(others).to.deep.equal([]);
      expect(inherits).to.include({ subject: 'table child', [side]: 'inherits' });
      expect(inherits?.mend).to.contain('no inherit');
      await stage[side].query('drop table child');
    }
  });

  it('blocks where EC2 lacks a partition that local has, which its script adds; warns where EC2 is cut otherwise', async () => {
    await onBoth(`create table ${NAMED} (id int primary key) partition by range (id);
      create table low partition of ${NAMED} for values from (0) to (10)`);
    await stage.local.query(`create table high partition of ${NAMED} for values from (10) to (20)`);
    const report = await verify();
    expect(blocking(report).map(({ subject }) => subject)).to.deep.equal(['partition high']);
    await stage.ec2.query(report.script);
    expect(found(await verify())).to.deep.equal([]);
    await stage.ec2.query(`drop table high; create table higher partition of ${NAMED} for values from (10) to (30)`);
    expect(found(await verify())).to.deep.equal(['warns partition high']);
    await stage.ec2.query(`create table others partition of ${NAMED} default`);
    expect(found(await verify())).to.deep.equal([]);
  });
});
