import { expect } from 'chai';
import type { SideRemoval } from '../../src/lib/operations/remove.js';
import type { SideTracking } from '../../src/lib/operations/track.js';
import { Stage, TABLES } from '../support/cli.js';

/** Everything in the catalogs that is not the server's own. */
const CATALOGS = `
  select string_agg(item, E'\\n' order by item) as item from (
    select 'schema ' || nspname as item from pg_namespace where oid >= 16384
    union all select 'relation ' || oid::regclass from pg_class where oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace
    union all select 'trigger ' || tgname || ' on ' || tgrelid::regclass from pg_trigger where not tgisinternal
    union all select 'function ' || oid::regprocedure from pg_proc where oid >= 16384
  ) as items`;

describe('init --track and --remove', function () {
  this.timeout(60_000);
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('init track');
  });

  afterEach(async () => {
    await stage.close();
  });

  const fetch = async (side: 'local' | 'ec2', sql: string): Promise<string> =>
    String((await stage[side].query<{ item: string }>(sql)).rows[0]?.item);

  it('asks first, and says what it would do', async () => {
    const asked = await stage.run(['init', '--track']);
    expect(asked.code).to.equal(2);
    expect(asked.stderr).to.contain('--yes');
    expect(await fetch('local', 'select count(*) as item from pg_trigger where not tgisinternal')).to.equal('0');
    await stage.run(['init']);
    const { tracking } = await stage.runJson<{ tracking: SideTracking[] }>(['init', '--track', '--dry-run']);
    expect(tracking.map(({ side, tables }) => [side, tables.map(({ table }) => table)])).to.deep.equal([
      ['local', TABLES.toSorted()],
      ['ec2', TABLES.toSorted()],
    ]);
    expect(await fetch('local', 'select count(*) as item from sensorctl.tracked_table')).to.equal('0');
  });

  it('tracks all tables of both sides, or some, and keeps what is whole', async () => {
    await stage.run(['init', '--track', '--table', 'sensor_registry', '--yes']);
    const track = async () =>
      (await stage.runJson<{ tracking: SideTracking[] }>(['init', '--track', '--yes'])).tracking;
    const actions = (sides: SideTracking[]) => sides.map(({ tables }) => tables.map(({ action }) => action));
    expect(actions(await track())).to.deep.equal([
      ['tracked', 'tracked', 'kept', 'tracked'],
      ['tracked', 'tracked', 'kept', 'tracked'],
    ]);
    await stage.ec2.query('drop trigger sensorctl_gate on sensor_registry');
    expect(actions(await track())).to.deep.equal([
      ['kept', 'kept', 'kept', 'kept'],
      ['kept', 'kept', 'renewed', 'kept'],
    ]);
    await stage.local.query("insert into sensor_registry (sensor_id) values ('a')");
    expect(await fetch('local', 'select keys as item from sensorctl.ledger')).to.equal('a');
  });

  it('takes everything off both sides, and leaves no trace', async () => {
    await stage.local.query('create table note (id int primary key)');
    await stage.run(['init', '--yes']);
    await stage.local.query('drop schema sensorctl cascade');
    await stage.ec2.query('drop schema sensorctl cascade');
    const before = [await fetch('local', CATALOGS), await fetch('ec2', CATALOGS)];
    await stage.runJson(['init', '--track', '--yes']);
    const { removal } = await stage.runJson<{ removal: SideRemoval[] }>(['init', '--remove', '--yes']);
    expect(removal.map(({ bookkeeping, tables }) => [bookkeeping, tables.length])).to.deep.equal([
      [true, 1],
      [true, 1],
    ]);
    expect([await fetch('local', CATALOGS), await fetch('ec2', CATALOGS)]).to.deep.equal(before);
    expect((await stage.run(['init', '--remove', '--yes'])).code).to.equal(0);
  });

  it('refuses while an entry, a phase, or a running consumer rests on it', async () => {
    await stage.runJson(['init', '--track', '--yes']);
    await stage.local.query("insert into sensor_registry (sensor_id) values ('a')");
    const refused = async (...flags: string[]): Promise<string> => {
      const { code, stdout } = await stage.run(['init', '--remove', '--yes', ...flags]);
      expect(code).to.equal(1);
      expect(await fetch('ec2', 'select count(*) as item from sensorctl.tracked_table')).to.equal('4');
      return stdout;
    };
    expect(await refused()).to.contain('the ledger holds 1 entries');
    await stage.local.query('delete from sensorctl.ledger');
    await stage.local.query("select sensorctl.record_first_phase('test', null, '{}')");
    expect(await refused()).to.contain('phase 1 is recorded');
    await stage.local.query(`insert into sensorctl.consumer (consumer_id, host, pid, write_mode, lease_until)
      values (gen_random_uuid(), 'h', 1, 'dual-write', now() + interval '1 hour')`);
    expect(await refused('--abandon')).to.contain('the consumer on h');
    await stage.local.query('update sensorctl.consumer set ended_at = now()');
    expect((await stage.run(['init', '--remove', '--yes', '--abandon'])).code).to.equal(0);
    expect(await fetch('local', "select count(*) as item from pg_namespace where nspname = 'sensorctl'")).to.equal('0');
  });
});
