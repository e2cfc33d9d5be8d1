import { expect } from 'chai';
import type pg from 'pg';
import { localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TABLES =
  'create table kept (id int primary key, note text); insert into kept select n from generate_series(1, 10) as n';
const RECORD_EC2 = `
  select sensorctl.copy_state(3, 'ec2-only', coalesce((select epoch from sensorctl.state), 0) + 1, 'ec2', false, now(), now(), 'test', null, '{}')`;
const RECORD_LOCAL = `
  select sensorctl.copy_state(2, 'dual-write', (select epoch from sensorctl.state) + 1, 'local', false, now(), now(), 'test', null, '{}')`;
const STATEMENTS = [
  'insert into kept values (100)',
  'update kept set note = null',
  'delete from kept',
  'truncate kept',
  'copy kept from stdin',
];

describe('the gate of other writers', function () {
  this.timeout(30_000);
  let side: TrackedSide;
  let writer: pg.PoolClient;
  let changer: pg.PoolClient;

  beforeEach(async () => {
    side = await TrackedSide.open(await localServer(), 'gate', { sql: TABLES });
    await side.track('kept');
    [writer, changer] = [await side.pool.connect(), await side.pool.connect()];
  });

  afterEach(async () => {
    writer.release(true);
    changer.release(true);
    await side.close();
  });

  /** Resolves once the writer waits, for the gate unless it is said for what. */
  async function waits(what = "relation = 'sensorctl.gate'::regclass"): Promise<void> {
    for (;;) {
      const { rows } = await side.pool.query(`select from pg_locks where not granted and database = (
        select oid from pg_database where datname = current_database()) and ${what}`);
      if (rows.length > 0) return;
    }
  }

  /** What becomes of a statement that waits at the gate while `change` happens behind it. */
  async function meanwhile(begin: string, statement: string, change: string): Promise<string> {
    await changer.query('begin');
    await changer.query('lock table sensorctl.gate in exclusive mode');
    await writer.query(begin);
    const outcome = outcomeOf(writer.query(statement));
    await waits();
    await changer.query(change);
    await changer.query('commit');
    const found = await outcome;
    await writer.query('rollback');
    return found;
  }

  it('refuses every statement on the side that is not the primary, names the primary, and takes no lock', async () => {
    await side.run(RECORD_EC2);
    await changer.query('begin; lock table sensorctl.gate in exclusive mode');
    for (const statement of STATEMENTS) {
      const error = await writer.query(statement).then(
        () => null,
        (reason: unknown) => reason as pg.DatabaseError,
      );
      expect(error?.code, statement).to.equal('25006');
      expect(error?.message).to.contain('EC2 is the primary');
    }
    await changer.query('rollback');
    await side.run(RECORD_LOCAL);
    expect(await outcomeOf(writer.query('insert into kept values (100)'))).to.equal('done');
  });

  it('lets writers go on who waited while nothing changed, or the change went back', async () => {
    expect(await meanwhile('begin', "update kept set note = 'x'", 'select')).to.equal('done');
    expect(await meanwhile('begin isolation level repeatable read', "update kept set note = 'x'", 'select')).to.equal(
      'done',
    );
  });

  it('tells every writer who waited while the primary changed to try again, under each isolation level', async () => {
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      for (const statement of ["update kept set note = 'x'", 'insert into kept values (100)', 'delete from kept']) {
        expect(
          await meanwhile(`begin isolation level ${level}`, statement, RECORD_EC2),
          `${level}: ${statement}`,
        ).to.equal('40001');
        await side.run(RECORD_LOCAL);
        expect(await meanwhile(`begin isolation level ${level}`, statement, `${RECORD_EC2}; ${RECORD_LOCAL}`)).to.equal(
          '40001',
        );
      }
    }
  });

  it('tells transactions whose snapshot is older than the change to try again', async () => {
    for (const level of ['repeatable read', 'serializable']) {
      await writer.query(`begin isolation level ${level}`);
      await writer.query('select count(*) from kept');
      await side.run(`${RECORD_EC2}; ${RECORD_LOCAL}`);
      expect(await outcomeOf(writer.query("update kept set note = 'x'")), level).to.equal('40001');
      await writer.query('rollback');
    }
  });

  it('tells a statement whose snapshot is older than the change to try again, though it never waited at the gate', async () => {
    // An operator's trigger, which fires before ours, waits: the statement has its snapshot.
    await side.run(`create function wait() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(1); return null; end';
      create trigger a_first before update on kept for each statement execute function wait()`);
    for (const change of [RECORD_EC2, RECORD_LOCAL]) {
      await changer.query('begin; select pg_advisory_xact_lock(1)');
      const outcome = outcomeOf(writer.query("update kept set note = 'x'"));
      await waits("locktype = 'advisory'");
      await changer.query(`${change}; commit`);
      expect(await outcome).to.equal('40001');
    }
    expect(await outcomeOf(writer.query("update kept set note = 'x'"))).to.equal('done');
  });

  it('is held until the end of the transaction, and keeps the switch waiting', async () => {
    await writer.query('begin; insert into kept values (101)');
    await changer.query("begin; set local lock_timeout = '100ms'");
    expect(await outcomeOf(changer.query('lock table sensorctl.gate in exclusive mode'))).to.equal('55P03');
    await changer.query('rollback');
    await writer.query('commit');
    await changer.query('begin; lock table sensorctl.gate in exclusive mode; rollback');
  });

  it('stands open to sensorctl itself', async () => {
    await side.run(RECORD_EC2);
    await writer.query("begin; select set_config('sensorctl.writer', pg_current_xact_id()::text || ' * ', true)");
    for (const statement of STATEMENTS.slice(0, 4)) await writer.query(statement);
    await writer.query('rollback');
  });
});

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'done',
    (error: unknown) => (error as pg.DatabaseError).code ?? String(error),
  );
}
