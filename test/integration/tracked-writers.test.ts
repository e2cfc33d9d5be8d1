import { expect } from 'chai';
import pg from 'pg';
import { readTables } from '../../src/lib/repository/tables/read-tables.js';
import { SKIP_EVERY_TABLE, tablesSkippedSql } from '../../src/lib/repository/writers/own-writes.js';
import { isTracked, readTracking } from '../../src/lib/repository/writers/tracking.js';
import { localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TABLES = `
  create table parent (id int primary key, note text);
  create table child (id int primary key, parent_id int references parent on delete cascade on update cascade, note text);
  create table orphan (id int primary key, parent_id int references parent on delete set null);
  create table pair (a text, "B b" timestamptz, note text, primary key ("B b", a));
  create table keyless (time timestamptz not null, value int);
  create table bare (value int);
  create table dropped (id int, gone_soon int, name text primary key, note text);
  alter table dropped drop column gone_soon;
  create table parted (id int, region text, note text, primary key (id, region)) partition by list (region);
  create table parted_a partition of parted for values in ('a');
  create table parted_b (note text, region text not null, id int not null, primary key (id, region));
  alter table parted attach partition parted_b for values in ('b');
  create table elder (id int primary key, note text);
  create table younger (extra text, primary key (id)) inherits (elder);
  create schema other; create table other."odd "" name" (id int primary key)`;

const ALL = [
  'parent',
  'child',
  'orphan',
  'pair',
  'keyless=time',
  'bare',
  'dropped',
  'parted',
  'elder',
  'younger',
  'other.odd " name',
];

describe('the ledger of other writers', function () {
  this.timeout(60_000);
  let side: TrackedSide;

  before(async () => {
    side = await TrackedSide.open(await localServer(), 'tracked writers', { sql: TABLES });
    await side.track(...ALL);
  });

  after(() => side.close());

  it('has the exact keys that each kind of statement touched', async () => {
    expect(await side.entered("insert into parent values (1, 'a'), (2, 'b'), (3, 'c')")).to.deep.equal([
      'parent +1,2,3',
    ]);
    expect(await side.entered('insert into child select id, id from parent')).to.deep.equal(['child +1,2,3']);
    expect(await side.entered('insert into orphan select id, id from parent')).to.deep.equal(['orphan +1,2,3']);
    expect(await side.entered("update parent set note = 'x' where id < 3")).to.deep.equal(['parent +1,2']);
    expect(
      await side.entered(
        "insert into parent values (3, 'up'), (4, 'new') on conflict (id) do update set note = excluded.note",
      ),
    ).to.have.members(['parent +3', 'parent +4']);
    expect(await side.entered('insert into parent values (4) on conflict do nothing')).to.deep.equal([]);
    expect(await side.entered('delete from parent where id = 4')).to.deep.equal(['parent -4']);
    expect(await side.entered('delete from parent where id = 4')).to.deep.equal([]);
    expect(
      await side.entered(
        "merge into parent using (values (1), (3), (5)) as given (id) on parent.id = given.id \
      when matched and parent.id = 1 then update set note = 'm' when matched then delete when not matched then insert values (given.id)",
      ),
    ).to.have.members(['parent +1', 'parent -3', 'parent +5', 'child -3', 'orphan +3']);
  });

  it('has what cascades take along', async () => {
    await side.run(
      'insert into parent values (10), (11), (12); insert into child values (10, 10), (11, 11); insert into orphan values (10, 10), (11, 11)',
    );
    expect(await side.entered('delete from parent where id between 10 and 12')).to.have.members([
      'parent -10,11,12',
      'child -10,11',
      'orphan +10,11',
    ]);
    await side.run('insert into parent values (20); insert into child values (20, 20)');
    expect(await side.entered('update parent set id = 21 where id = 20')).to.have.members([
      'parent +21 -20',
      'child +20',
    ]);
    expect(await side.entered('truncate parent cascade')).to.have.members([
      'parent whole',
      'child whole',
      'orphan whole',
    ]);
  });

  it('names rows by all columns of the key, in its order, as sensorctl writes values', async () => {
    const client = await side.pool.connect();
    try {
      await client.query(
        "set timezone = 'Asia/Bangkok'; set datestyle = 'German'; set standard_conforming_strings = off; set search_path = other, public",
      );
      expect(await side.entered('select 1')).to.deep.equal([]);
      const before = (await side.entries()).length;
      await client.query(
        "insert into public.pair values ('x\"y', '2025-07-01 07:00:00.000001', 'n'), ('gone', '2025-07-01 07:00', 'n')",
      );
      await client.query("update public.pair set a = 'z', note = 'm' where a = 'gone'");
      const [insert, update] = (await side.entries()).slice(before);
      expect(insert?.keys).to.deep.equal([
        ['2025-07-01 00:00:00.000001+00', 'x"y'],
        ['2025-07-01 00:00:00+00', 'gone'],
      ]);
      expect([update?.keys, update?.gone]).to.deep.equal([
        [['2025-07-01 00:00:00+00', 'z']],
        [['2025-07-01 00:00:00+00', 'gone']],
      ]);
    } finally {
      client.release(true);
    }
  });

  it('goes on after a column of the key is renamed, and knows dropped columns', async () => {
    expect(await side.entered("insert into dropped values (1, 'k1', 'n')")).to.deep.equal(['dropped +k1']);
    await side.run('alter table dropped rename name to "new name"');
    expect(await side.entered(`update dropped set "new name" = 'k2'`)).to.deep.equal(['dropped +k2 -k1']);
    await side.run('alter table dropped drop column "new name"');
    expect(await side.entered("insert into dropped values (2, 'n')")).to.deep.equal(['dropped whole']);
  });

  it('names places where there is no key, and the whole table where there is neither', async () => {
    const at = (minute: number): string => `2025-07-01 00:0${minute}:00+00`;
    expect(
      await side.entered(`insert into keyless values ('${at(1)}', 1), ('${at(1)}', 1), ('${at(2)}', 2)`),
    ).to.deep.equal([`keyless +${at(1)},${at(1)},${at(2)}`]);
    expect(await side.entered(`update keyless set value = 3 where value = 2`)).to.deep.equal([
      `keyless +${at(2)} -${at(2)}`,
    ]);
    expect(await side.entered(`delete from keyless where value = 3`)).to.deep.equal([`keyless -${at(2)}`]);
    expect(await side.entered('insert into bare values (1)')).to.deep.equal(['bare whole']);
    expect(await side.entered('update bare set value = 2', 'delete from bare', 'delete from bare')).to.deep.equal([
      'bare whole',
      'bare whole',
    ]);
  });

  it('knows partitions, through the root and by name, and rows that move', async () => {
    expect(await side.entered("insert into parted (id, region) values (1, 'a'), (2, 'b')")).to.deep.equal([
      'parted +1/a,2/b',
    ]);
    expect(await side.entered("insert into parted_b (id, region) values (3, 'b')")).to.deep.equal(['parted +3/b']);
    expect(await side.entered("update parted set region = 'b' where id = 1")).to.deep.equal(['parted +1/b -1/a']);
    expect(
      await side.entered("update parted_b set note = 'n' where id = 3", 'delete from parted_b where id = 3'),
    ).to.deep.equal(['parted +3/b', 'parted -3/b']);
    expect(await side.entered('truncate parted_a')).to.deep.equal(['parted whole']);
  });

  it('knows children by inheritance as tables of their own, whoever writes them', async () => {
    expect(
      await side.entered(
        "insert into elder values (1, 'n')",
        "insert into younger values (1, 'n', 'e'), (2, 'n', 'e')",
      ),
    ).to.deep.equal(['elder +1', 'younger +1,2']);
    expect(await side.entered("update elder set note = 'm' where id = 1")).to.have.members(['elder +1', 'younger +1']);
    expect(await side.entered('delete from elder where id = 2')).to.deep.equal(['younger -2']);
  });

  it('stands or falls with what was written, under each isolation level', async () => {
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      expect(
        await side.entered(`begin isolation level ${level}; insert into parent values (50);
        savepoint one; insert into parent values (51); rollback to one; insert into parent values (52); commit`),
      ).to.deep.equal(['parent +50', 'parent +52']);
      expect(
        await side.entered(`begin isolation level ${level}; delete from parent where id >= 50; rollback`),
      ).to.deep.equal([]);
      await side.run('delete from parent where id >= 50');
    }
  });

  it('lets two serializable programs write beside each other', async () => {
    const [one, other] = [await side.pool.connect(), await side.pool.connect()];
    try {
      for (const client of [one, other]) await client.query('begin isolation level serializable');
      await one.query('insert into parent values (60)');
      await other.query("insert into pair values ('s', now())");
      await one.query('commit');
      await other.query('commit');
    } finally {
      one.release(true);
      other.release(true);
    }
  });

  it('enters many rows in entries of a thousand keys, or their times where no key changed', async () => {
    await side.run(
      'create table many (id int primary key, time timestamptz, note text); create table ids (id int primary key, note text)',
    );
    await side.track('many=time', 'ids');
    const before = (await side.entries()).length;
    await side.run('insert into ids select n from generate_series(1, 2500) as n');
    const keyed = (await side.entries()).slice(before);
    expect(keyed.map(({ keys }) => keys?.length).sort()).to.deep.equal([1000, 1000, 500]);
    expect(new Set(keyed.flatMap(({ keys }) => (keys ?? []).map(([id]) => id))).size).to.equal(2500);
    const insert =
      "insert into many select n, '2025-07-01Z'::timestamptz + n * interval '1 second' from generate_series(1, 6000) as n";
    expect(await side.entered(insert)).to.deep.equal(['many times']);
    expect(await side.entered("update many set note = 'n'")).to.deep.equal(['many times']);
    const shifted = (await side.entries()).length;
    await side.run('update many set id = case id when 1 then 6001 else id end');
    const entries = (await side.entries()).slice(shifted);
    const named = (list: 'keys' | 'gone') => entries.flatMap((entry) => (entry[list] ?? []).map(([id]) => id));
    expect(named('keys').length).to.equal(6000);
    expect(named('gone')).to.deep.equal(['1']);
    const deleted = (await side.entries()).length;
    await side.run('delete from many');
    expect((await side.entries()).slice(deleted).flatMap(({ gone }) => gone ?? []).length).to.equal(6000);
  });

  it('enters rows without a usual time by their keys, however many others there are', async () => {
    await side.run('create table sentinels (id int primary key, time timestamptz); insert into sentinels values (0)');
    await side.track('sentinels=time');
    expect(
      await side.entered(`insert into sentinels select n, case n when 7 then 'infinity' when 8 then null when 9 then '-infinity'
      when 10 then '290000-01-01Z' else '2025-07-01Z'::timestamptz + n * interval '1 hour' end from generate_series(1, 6000) as n`),
    ).to.deep.equal(['sentinels times', 'sentinels +10,7,8,9']);
  });

  it("names odd tables, and types that are not the server's own", async () => {
    expect(await side.entered('insert into other."odd "" name" values (1)')).to.deep.equal(['other.odd " name +1']);
    await side.run(`create type mood as enum ('ok', 'bad'); create domain code as text; create type point2 as (x int, y int);
      create table typed (m mood, c code, p point2, primary key (m, c, p))`);
    await side.track('typed');
    expect(await side.entered("insert into typed values ('ok', 'c', row(1, 2)::point2)")).to.deep.equal([
      'typed +ok/c/(1,2)',
    ]);
  });

  it('needs no right of the writer on the schema sensorctl', async () => {
    await side.run("create role poor_writer login password 'p'; grant insert, select on parent to poor_writer");
    const { host, port, database } = side.database.connection;
    const client = new pg.Client({ host, port, database, user: 'poor_writer', password: 'p' });
    await client.connect();
    try {
      await client.query('insert into parent values (70)');
      expect((await side.entries()).at(-1)?.keys).to.deep.equal([['70']]);
      await expectCode(client.query('select * from sensorctl.ledger'), '42501');
      await expectCode(client.query("select sensorctl.enter_keys('parent', '[]', null)"), '42501');
    } finally {
      await client.end();
      await side.run('drop owned by poor_writer; drop role poor_writer');
    }
  });

  it('is left alone by what sensorctl enters itself, for these tables and this transaction alone', async () => {
    const client = await side.pool.connect();
    try {
      const before = (await side.entries()).length;
      await client.query('begin');
      await client.query(`select ${tablesSkippedSql(['pair', 'parent'], 'true')}`);
      await client.query('insert into parent values (80)');
      await client.query('insert into child values (80, 80)');
      await client.query('commit');
      await client.query('insert into parent values (81)');
      await client.query('begin');
      await client.query(SKIP_EVERY_TABLE);
      await client.query('insert into parent values (82)');
      await client.query('insert into child values (82, 82)');
      await client.query('commit');
      await client.query("set sensorctl.writer = '1 * '");
      await client.query('insert into parent values (83)');
      expect((await side.entries()).slice(before).map(({ table, keys }) => [table, keys])).to.deep.equal([
        ['child', [['80']]],
        ['parent', [['81']]],
        ['parent', [['83']]],
      ]);
    } finally {
      client.release(true);
    }
  });

  it('is as whole as its triggers: what is missing, disabled or altered is told, and made anew', async () => {
    const look = async () => {
      const [table] = (await readTables(side.database.pool, ['pair'])).values();
      const [tracking] = await readTracking(side.database, [table!]);
      return tracking!;
    };
    expect(isTracked(await look())).to.equal(true);
    const damages = [
      'alter table pair disable trigger all',
      'drop trigger sensorctl_updated on pair',
      'alter table pair disable trigger all; alter table pair enable trigger all',
      'alter table pair drop constraint pair_pkey; alter table pair add primary key (a)',
    ];
    for (const damage of damages) {
      await side.run(damage);
      expect(isTracked(await look()), damage).to.equal(false);
      expect((await side.track('pair')).map(({ action }) => action)).to.deep.equal(['renewed']);
      expect((await look()).problems, damage).to.deep.equal([]);
    }
    expect((await side.track('pair')).map(({ action }) => action)).to.deep.equal(['kept']);
    const keyed = (await side.entries()).filter(({ table }) => table === 'pair');
    expect(keyed.map(({ whole, keys }) => [whole, keys])).to.deep.equal([[true, null]]);
  });

  it('has the writes of a session in replica role too', async () => {
    expect(
      await side.entered('begin; set local session_replication_role = replica; insert into parent values (90); commit'),
    ).to.deep.equal(['parent +90']);
  });
});

async function expectCode(work: Promise<unknown>, code: string): Promise<void> {
  const found = await work.then(
    () => 'no error',
    (error: unknown) => (error as pg.DatabaseError).code,
  );
  expect(found).to.equal(code);
}
