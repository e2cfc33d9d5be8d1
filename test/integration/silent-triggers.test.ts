// Triggers of the operator's on tracked tables: they fired on the primary, and what they wrote is brought like other rows.
import { expect } from 'chai';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { silentLogger } from '../../src/lib/logger.js';
import { prepareSides } from '../../src/lib/operations/init.js';
import { switchPrimary } from '../../src/lib/operations/cutover/switch.js';
import { verifySchema } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { readRecordedState } from '../../src/lib/repository/phase/state.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { ec2Server, localServer } from '../support/servers.js';
import { openRepository, TrackedSide } from '../support/tracked.js';

const WHY = { by: 'test', reason: null, overriddenGates: [] };
const TABLES = ['note', 'audit', 'latest', 'place'];
/** Each side's triggers would number and stamp rows for themselves, and change a row once more. */
const SQL = `
  create table note (id int primary key, about text, body text);
  create table place (name text primary key, body text);
  create table audit (id bigserial primary key, what text, at timestamptz default clock_timestamp());
  create table latest (about text primary key, body text, changes int);
  create function marked() returns trigger language plpgsql as 'begin new.body := new.body || ''!''; return new; end';
  create function remembered() returns trigger language plpgsql as $$ begin
    insert into audit (what) values (tg_op || ' ' || coalesce(new.id, old.id));
    if new is not null then
      insert into latest values (new.about, new.body, 1)
      on conflict (about) do update set body = excluded.body, changes = latest.changes + 1;
    end if;
    return null;
  end $$;
  create trigger a before insert or update on note for each row execute function marked();
  create trigger b after insert or update or delete on note for each row execute function remembered();
  create trigger c before insert on place for each row execute function marked()`;

describe('triggers of tracked tables on the secondary', function () {
  this.timeout(60_000);
  let local: TrackedSide;
  let ec2: TrackedSide;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'silent triggers', { side: 'local', sql: SQL });
    ec2 = await TrackedSide.open(await ec2Server(), 'silent triggers', { side: 'ec2', sql: SQL });
    await prepareSides([local.database, ec2.database], { addKeys: false });
    for (const side of [local, ec2]) await side.track(...TABLES);
    const first = await recordFirstPhase(local.database, WHY);
    await copyRecord(ec2.database, await changePhase(local.database, first, { ...WHY, phase: 2 }));
  });

  afterEach(async () => {
    await local.close();
    await ec2.close();
  });

  async function go(from: TrackedSide, to: TrackedSide): Promise<void> {
    await switchPrimary({
      ...{ from: from.database, to: to.database, state: await readRecordedState(from.database.pool), why: WHY },
      ...{ targetPhase: from === local ? 3 : 2, keepLocalCurrent: false, endWriters: false, force: false },
      ...{ maxPauseMs: 20_000, stop: new AbortController().signal, logger: silentLogger, onStep: () => undefined },
    });
  }

  async function contentOf({ pool }: TrackedSide): Promise<Record<string, string[]>> {
    const read = async (table: string): Promise<[string, string[]]> => {
      const { rows } = await pool.query<{ row: string }>(
        `select stored::text as row from ${table} as stored order by 1`,
      );
      return [table, rows.map(({ row }) => row)];
    };
    return Object.fromEntries(await Promise.all(TABLES.map(read)));
  }

  async function expectAlike(audited: number): Promise<void> {
    const here = await contentOf(local);
    expect(await contentOf(ec2)).to.deep.equal(here);
    expect(here.audit).to.have.length(audited);
  }

  const change = "update note set body = 'c' where id = 1; delete from note where id = 2";

  it('stay silent for repairs both ways, and fire for programs on whichever side is the primary', async () => {
    await local.run("insert into note values (1, 'x', 'a'), (2, 'x', 'b'), (3, 'y', 'c')");
    await local.run(change);
    await go(local, ec2);
    await expectAlike(5);
    await ec2.run("insert into note values (4, 'x', 'd'); delete from note where id = 1");
    await go(ec2, local);
    await expectAlike(7);
  });

  it('stay silent for what consumers send, too', async () => {
    const sides = { primary: local.database, secondary: ec2.database };
    const repository = await openRepository(sides, { concurrency: 1 });
    try {
      const rows = [1, 2].map((id) => ({ table: 'note', values: { id, about: 'x', body: 'a' } }));
      const places = ['p', 'q'].map((name) => ({ table: 'place', values: { name, body: 'b' } }));
      const units = [...rows, ...places].map((row) => ({ rows: [row] }));
      for (const batch of await repository.primary.write({ units, rejects: [] })) repository.secondary!.enqueue(batch);
      await repository.idle();
      const sent = await contentOf(ec2);
      expect([sent.note, sent.place]).to.deep.equal([
        ['(1,x,a!)', '(2,x,a!)'],
        ['(p,b!)', '(q,b!)'],
      ]);
      expect(sent.audit, 'before anybody has brought it').to.deep.equal([]);
    } finally {
      await repository.close();
    }
    await go(local, ec2);
    await expectAlike(2);
  });

  it('are said by verify-schema to be silent, or to fire, by what the role of EC2 may do', async () => {
    const ofTriggers = async (database: Database): Promise<{ weight: string; reason: string }[]> => {
      const { findings } = await verifySchema({ local: local.database, ec2: database }, ['note']);
      return findings.filter(({ subject }) => /^trigger [ab]$/.test(subject));
    };
    const silent = await ofTriggers(ec2.database);
    expect(silent.map(({ weight }) => weight)).to.deep.equal(['notes', 'notes']);
    for (const { reason } of silent) expect(reason).to.match(/in replica role, in which it does not fire/);
    const role = 'silent_triggers_reader';
    await ec2.run(`create role ${role} login password 'x'; grant usage on schema sensorctl to ${role};
      grant select on sensorctl.schema_version to ${role}`);
    const connection = { ...ec2.database.connection, user: role, password: 'x' };
    const asReader = openDatabase({
      side: 'ec2',
      connection,
      poolMax: 2,
      callTimeoutMs: 20_000,
      applicationName: 'test',
    });
    try {
      const found = await ofTriggers(asReader);
      expect(found.map(({ weight }) => weight)).to.deep.equal(['warns', 'warns']);
      for (const { reason } of found) expect(reason).to.match(/fires on EC2, too/);
    } finally {
      await closeDatabase(asReader);
      await ec2.run(`drop owned by ${role}; drop role ${role}`);
    }
  });
});
