import { expect } from 'chai';
import { parseTablePattern, type TablePattern } from '../../src/lib/domain/table-patterns.js';
import { Pair, type Compared } from '../support/compared.js';
import { ec2Server, localServer } from '../support/servers.js';

const pattern = (text: string): TablePattern => parseTablePattern(text)!;

/** Kind, table and key of each difference, in order. */
function named({ found }: Compared): string[] {
  return found.map(({ table, kind, key }) => `${table} ${kind} ${Object.values(key).join(' ')}`).sort();
}

describe('compare of every table', () => {
  let pair: Pair;

  beforeEach(async () => {
    pair = await Pair.open('compare tables', { local: await localServer(), ec2: await ec2Server() });
  });

  afterEach(() => pair.close());

  /** Makes the tables on both sides, damages EC2, and answers what is found. */
  async function found(create: string, damage: string): Promise<Compared> {
    await pair.query(create);
    expect((await pair.compare({})).report).to.deep.include({ verdict: 'identical', failed: [] });
    await pair.ec2.query(damage);
    return await pair.compare({});
  }

  for (const [title, columns, values, damaged, key] of [
    ['an integer key', 'id integer primary key, v text', `n, 'v' || n`, 'id = 7', '7'],
    ['a smallint key', 'id smallint primary key, v text', `n - 300, 'v' || n`, 'id = -293', '-293'],
    [
      'a bigint key far apart',
      'id bigint primary key, v text',
      `n * 9000000000000, 'v' || n`,
      'id = 63000000000000',
      '63000000000000',
    ],
    [
      'a date that leads the key',
      'day date, n integer, v text, primary key (day, n)',
      `date '2020-02-28' + n, n, 'v'`,
      'n = 7',
      '2020-03-06 7',
    ],
    [
      'a uuid key',
      'id uuid primary key, v text',
      `md5(n::text)::uuid, 'v'`,
      `id = md5('7')::uuid`,
      '8f14e45f-ceea-167a-5a36-dedd4bea2543',
    ],
    ['a text key', 'id text primary key, v text', `'Ä' || n, 'v'`, `id = 'Ä7'`, 'Ä7'],
    [
      'a key of several columns',
      'a text, b numeric, v text, primary key (a, b)',
      `'a' || n % 3, n, 'v'`,
      'b = 7',
      'a1 7',
    ],
    ['a unique index for a key', 'a text not null, v text, unique (a)', `'a' || n, 'v'`, `a = 'a7'`, 'a7'],
  ] as const) {
    it(`names rows by ${title}`, async () => {
      const compared = await found(
        `create table t (${columns}); insert into t select ${values} from generate_series(1, 600) as n`,
        `update t set v = 'damaged' where ${damaged}`,
      );
      expect(named(compared)).to.deep.equal([`t different ${key}`]);
      await pair.ec2.query(`delete from t where ${damaged}`);
      expect(named(await pair.compare({}))).to.deep.equal([`t missing on ec2 ${key}`]);
    });
  }

  it('counts the copies of rows in a table without a key', async () => {
    const compared = await found(
      `create table t (a text, b integer); insert into t select 'a' || n % 3, n % 5 from generate_series(1, 100) as n`,
      `delete from t where ctid = (select min(ctid) from t where a = 'a0' and b = 0); insert into t values (null, 9), ('a1', 1)`,
    );
    expect(named(compared)).to.deep.equal([
      't missing on ec2 a0 0',
      't missing on local  9',
      't missing on local a1 1',
    ]);
  });

  it('finds what lies off the axis of a bigint key, and of a date', async () => {
    const compared = await found(
      `create table t (id bigint primary key, v text); insert into t values (1, 'a'), (9223372036854775807, 'b'),
         (-9007199254740992, 'c'), (9007199254740990, 'd');
       create table d (day date not null, n integer, primary key (day, n)); insert into d values ('infinity', 1),
         ('0044-03-15 BC', 2), ('9999-12-31', 3), ('2025-07-01', 4)`,
      `update t set v = 'x' where id <> 1; delete from d where n < 4`,
    );
    expect(named(compared)).to.deep.equal([
      'd missing on ec2 0044-03-15 BC 2',
      'd missing on ec2 9999-12-31 3',
      'd missing on ec2 infinity 1',
      't different -9007199254740992',
      't different 9007199254740990',
      't different 9223372036854775807',
    ]);
  });

  it('takes types of the operator by what they are, whatever their numbers on each side', async () => {
    await pair.ec2.query(`create type stray as enum ('x'); create domain far as integer`);
    const compared = await found(
      `create type mood as enum ('sad', 'ok', 'happy'); create domain level as numeric check (value > -100);
       create type place as (lat float8, name text); create type span as range (subtype = numeric);
       create table t (id integer primary key, m mood, l level, p place, ms mood[], ps place[], s span, j json, x xml,
         pt point, b bit(3), i inet, h tsvector, n name, o oid, r regclass, twice integer generated always as (id * 2) stored);
       insert into t select n, 'ok', 1.0, row(1.5, 'here')::place, '{sad,happy}', array[row(2, 'there')::place], '[1,2)',
         '{"a": 1}', '<a/>', '(1,2)', b'101', '10.0.0.1', 'a b', 'name', 26, 'pg_catalog.pg_class' from generate_series(1, 9) as n`,
      `update t set l = 1.00 where id = 1; update t set m = 'sad' where id = 2; update t set p = row(1.5, 'gone')::place where id = 3;
       update t set ms = '{sad}' where id = 4; update t set j = '{"a":1}' where id = 5; update t set pt = '(1,3)' where id = 6;
       update t set x = '<b/>' where id = 7; update t set s = '[1,3)' where id = 8; update t set ps = null where id = 9`,
    );
    const differing = compared.found.map(({ key, columns }) => `${key.id} ${Object.keys(columns).join()}`).sort();
    expect(differing).to.deep.equal(['2 m', '3 p', '4 ms', '5 j', '6 pt', '7 x', '8 s', '9 ps']);
  });

  it('looks into partitions by their root, and at heirs as tables of their own', async () => {
    const compared = await found(
      `create table parted (id integer, v text, primary key (id)) partition by hash (id);
       create table parted_0 partition of parted for values with (modulus 2, remainder 0);
       create table parted_1 partition of parted for values with (modulus 2, remainder 1);
       create table elder (id integer primary key, v text); create table heir (w text, primary key (id)) inherits (elder);
       insert into parted select n, 'v' from generate_series(1, 50) as n;
       insert into elder values (1, 'elder'), (2, 'elder'); insert into heir values (1, 'heir', 'w'), (3, 'heir', 'w')`,
      `update parted set v = 'x' where id in (7, 8); update only elder set v = 'x' where id = 1; delete from heir where id = 3`,
    );
    expect(compared.report.tables.map(({ table, local }) => `${table} ${local.rows}`)).to.deep.equal([
      'elder 2',
      'heir 2',
      'parted 50',
    ]);
    expect(named(compared)).to.deep.equal([
      'elder different 1',
      'heir missing on ec2 3',
      'parted different 7',
      'parted different 8',
    ]);
  });

  it('tells two schemas with one name apart, and names of any characters', async () => {
    const odd = `Odd "name"; -- it's.ชล 💧`;
    const quoted = `"${odd.replaceAll('"', '""')}"`;
    const compared = await found(
      `create schema ${quoted}; create schema other; create table t (id integer primary key, v text);
       create table other.t (id integer primary key, v text);
       create table ${quoted}.${quoted} (${quoted} integer primary key, "select" text);
       insert into t values (1, 'a'); insert into other.t values (1, 'a'); insert into ${quoted}.${quoted} values (1, 'a')`,
      `update other.t set v = 'x'; update ${quoted}.${quoted} set "select" = 'x'`,
    );
    expect(named(compared)).to.deep.equal([`${odd}.${odd} different 1`, 'other.t different 1']);
    const [only] = (await pair.compare({ tables: [`${odd}.${odd}`] })).report.tables;
    expect(only).to.include({ table: `${odd}.${odd}`, different: 1 });
    expect((await pair.compare({ tables: [`${quoted}.*`] })).report.tables).to.have.length(1);
  });

  it('leaves out what holds no rows of its own or may lose them, with the reason; and takes no view for a table', async () => {
    await pair.query(`create table t (id integer primary key); create view v as select * from t;
      create materialized view m as select * from t; create unlogged table u (id integer);
      create foreign data wrapper w; create server s foreign data wrapper w; create foreign table f (id integer) server s;
      select lo_create(0)`);
    await pair.ec2.query('create table alone (id integer)');
    const { report } = await pair.compare({});
    expect(report.verdict).to.equal('identical');
    expect(report.tables.map(({ table }) => table)).to.deep.equal(['t']);
    const reasons = Object.fromEntries(report.tablesLeftOut.map(({ table, reason }) => [table, reason]));
    expect(reasons.f).to.match(/foreign/);
    expect(reasons.u).to.match(/unlogged/);
    expect(reasons['large objects']).to.match(/1 of them/);
    expect(reasons.alone).to.equal('only EC2 has it');
    expect((await pair.compare({ tables: ['f'] })).report.failed[0]?.reason).to.match(/foreign/);
    expect(await pair.compare({ tables: ['v'] }).catch((error: unknown) => error)).to.be.an('error');
  });

  it('names a table that it cannot compare, compares the rest, and calls nothing identical', async () => {
    await pair.query('create table t (id integer primary key); insert into t values (1)');
    await pair.local.query('create table missing (id integer)');
    const { report } = await pair.compare({});
    expect(report.verdict).to.equal('different');
    expect(report.failed).to.deep.equal([{ table: 'missing', reason: 'is missing on EC2' }]);
    expect(report.tables.map(({ table, local }) => [table, local.rows])).to.deep.equal([['t', 1]]);
  });

  it('takes the tables that TABLES and TABLES_EXCEPT mean, their axes, and no column that is excepted', async () => {
    await pair.query(`create schema s; create table s.kept (id integer primary key, at timestamptz, seen timestamptz);
      create table s.scratch (id integer); create table t (id integer)`);
    await pair.local.query(`insert into s.kept values (1, '2025-07-01', '2025-07-02'), (2, '2025-07-03', null)`);
    await pair.ec2.query(`insert into s.kept values (1, '2025-07-01', '2025-07-05')`);
    const selection = { tables: [pattern('s.*'), pattern('s.kept=at-seen')], except: [pattern('*.scratch')] };
    const { found, report } = await pair.compare({ selection, from: 0, to: Date.UTC(2025, 6, 2) * 1000 });
    expect(found).to.deep.equal([]);
    expect(report.tables.map(({ table, local }) => [table, local.rows])).to.deep.equal([['s.kept', 1]]);
    expect(report.tables[0]?.local.maxTime).to.equal('2025-07-01T00:00:00.000000Z');
    expect(report.notCompared).to.deep.equal([{ table: 's.kept', columns: ['seen'], reason: 'TABLES excepts them' }]);
    expect(report.tablesLeftOut).to.have.deep.members([
      { table: 's.scratch', reason: 'TABLES_EXCEPT names it' },
      { table: 't', reason: 'TABLES does not name it' },
    ]);
    const wrong = await pair.compare({ selection: { tables: [pattern('s.kept=colour')], except: [] } });
    expect(wrong.report.failed[0]?.reason).to.match(/colour cannot be its axis/);
  });

  it('digests a large table without an axis in parts, and looks at what differs in parts', async () => {
    await pair.query(`create table t (id text primary key, v text); alter table t alter v set storage plain;
      insert into t select 'row ' || n, repeat('x', 3900) from generate_series(1, 33500) as n`);
    const whole = await pair.compare({});
    expect(whole.report).to.include({ verdict: 'identical' });
    expect(whole.report.tables[0]).to.deep.include({ local: { rows: 33_500, maxTime: null } });
    await pair.ec2.query(`delete from t where id = 'row 77'; update t set v = 'y' where id in ('row 1', 'row 33500')`);
    const damaged = await pair.compare({});
    expect(named(damaged)).to.deep.equal(['t different row 1', 't different row 33500', 't missing on ec2 row 77']);
  }).timeout(120_000);

  it('refuses to compare through row security that may hide rows', async () => {
    await pair.query(`create table t (id integer primary key); insert into t values (1);
      alter table t enable row level security, force row level security`);
    const role = `reader_${process.pid}`;
    await pair.query(`create role ${role} login password 'secret'; grant select on t to ${role}`);
    try {
      await pair.asRole(role, 'secret', async (sides) => {
        const { report, failed } = await sides.compare({ tables: ['t'] });
        expect(report.verdict).to.equal('different');
        expect(report.failed[0]?.reason).to.match(/row security on local may hide rows/);
        expect(failed[0]?.advice).to.deep.equal({ code: 'rows-hidden', facts: { side: 'local', table: 't' } });
        await pair.query(`alter role ${role} bypassrls`);
        expect((await sides.compare({ tables: ['t'] })).report.verdict).to.equal('identical');
      });
    } finally {
      await pair.query(`drop owned by ${role}; drop role ${role}`);
    }
  });
});
