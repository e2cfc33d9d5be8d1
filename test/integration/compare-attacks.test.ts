import { expect } from 'chai';
import { disagreements, insert, Pair, type TableToJudge } from '../support/compared.js';
import { COLUMN_KINDS, MOOD, timeText } from '../support/random-tables.js';
import { ec2Server, localServer } from '../support/servers.js';

const WATER = 'water_level_readings';
const SECOND = 1_000_000;
const FROM = Date.parse('2025-07-01T00:00:00Z') * 1000;
const JUDGED: TableToJudge = {
  name: WATER,
  columns: [
    { name: 'time', as: 'timestamp' },
    { name: 'sensor_id', as: 'text' },
    { name: 'rssi', as: 'integer' },
  ],
  key: ['sensor_id', 'time'],
  where: 'true',
};
const CREATE = `create table ${WATER} ("time" timestamp not null, sensor_id varchar(255) not null, rssi integer)`;

/** Readings without a unique key, a second apart. */
const fill = (count: number): string => `
  insert into ${WATER} select timestamp '2025-07-01' + step * interval '1 second', 'AWD-' || step % 7, step
  from generate_series(0, ${count - 1}) as step`;

describe('compare under attack', () => {
  let pair: Pair;

  before(async () => {
    pair = await Pair.open('compare attacks', { local: await localServer(), ec2: await ec2Server() });
  });

  after(() => pair.close());

  afterEach(async () => {
    await pair.query(`drop schema public cascade; create schema public`);
  });

  describe('of many rows', () => {
    const ROWS = 40_000;
    // The first and the last row, both sides of a bucket's edge, and places in between.
    const PLACES = [0, 59, 60, 3_599, 3_600, 12_345, 12_346, 20_000, 39_998, ROWS - 1];

    for (const jobs of [1, 4]) {
      for (const bucketMicros of [null, 60 * SECOND, 7 * SECOND]) {
        const width = bucketMicros === null ? 'buckets by the rows there are' : `buckets of ${bucketMicros / SECOND} s`;
        it(`finds single ones, with ${jobs} jobs and ${width}`, async () => {
          await pair.query(`${CREATE}; ${fill(ROWS)}; create index on ${WATER} ("time")`);
          const each = (turn: number): string => PLACES.filter((_, at) => at % 4 === turn).join(', ');
          await pair.ec2.query(`
            delete from ${WATER} where rssi in (${each(0)});
            insert into ${WATER} select * from ${WATER} where rssi in (${each(1)});
            update ${WATER} set "time" = "time" + interval '1 microsecond' where rssi in (${each(2)});
            update ${WATER} set rssi = -rssi where rssi in (${each(3)})`);
          const { found } = await pair.compare({ tables: [WATER], jobs, bucketMicros });
          expect(await disagreements(pair, JUDGED, found)).to.deep.equal([]);
          expect(found).to.have.length(3 + 3 + 2 * 2 + 2);
        });
      }
    }

    it('names each where EC2 holds none, and each where local holds none', async () => {
      const many = 100_000;
      await pair.query(CREATE);
      await pair.local.query(fill(many));
      const lost = await pair.compare({ tables: [WATER] });
      expect(lost.report.tables[0]).to.include({
        missingOnEc2: many,
        unexplained: many,
        missingOnLocal: 0,
        different: 0,
      });
      expect(new Set(lost.found.map(({ key }) => key.time)).size).to.equal(many);
      await pair.local.query(`truncate ${WATER}`);
      await pair.ec2.query(fill(20_000));
      const surplus = await pair.compare({ tables: [WATER], digest: 'md5' });
      expect(surplus.report.tables[0]).to.include({ missingOnEc2: 0, missingOnLocal: 20_000, different: 0 });
    });

    it('finds one more copy, and one that differs, among thousands within one microsecond', async () => {
      await pair.query(
        `${CREATE}; insert into ${WATER} select '2025-07-01', 'a', step / 2 from generate_series(1, 6000) as step`,
      );
      await pair.ec2.query(`insert into ${WATER} values ('2025-07-01', 'a', 1234);
        delete from ${WATER} where ctid in (select min(ctid) from ${WATER} where rssi = 7)`);
      const { found } = await pair.compare({ tables: [WATER] });
      expect(await disagreements(pair, JUDGED, found)).to.deep.equal([]);
      expect(found).to.have.length(1);
      expect(found[0]).to.deep.include({ kind: 'different', columns: { rssi: { local: '7', ec2: '1234' } } });
    });
  });

  it('sees that values were swapped between rows of one bucket, which keeps every sum', async () => {
    await pair.query(`${CREATE}; ${fill(500)}`);
    await pair.ec2.query(`update ${WATER} set rssi = 499 - rssi where rssi in (100, 399)`);
    for (const digest of ['hash_record_extended', 'md5'] as const) {
      const { found } = await pair.compare({ tables: [WATER], digest, bucketMicros: 3600 * SECOND });
      expect(found.map(({ kind, columns }) => ({ kind, ...columns.rssi }))).to.deep.equal([
        { kind: 'different', local: '100', ec2: '399' },
        { kind: 'different', local: '399', ec2: '100' },
      ]);
    }
  });

  for (const kind of COLUMN_KINDS) {
    const title = kind.local === kind.ec2 ? kind.local : `${kind.local} and ${kind.ec2}`;
    const judged: TableToJudge = {
      ...{ name: 'pairs', key: ['time'], where: 'true' },
      columns: [
        { name: 'time', as: 'timestamptz' },
        { name: 'value', as: kind.as },
      ],
    };

    it(`tells any two values of ${title} apart, or sees that they are equal, each pair in a bucket of its own`, async () => {
      const there = [null, ...kind.values, ...(kind.wider ?? [])];
      const pairs = [null, ...kind.values].flatMap((mine) => there.map((theirs) => ({ mine, theirs })));
      const time = (at: number): string => timeText(FROM + at * SECOND);
      const into = 'pairs ("time", value)';
      await pair.query(MOOD);
      await pair.local.query(`create table pairs ("time" timestamptz primary key, value ${kind.local})`);
      await pair.ec2.query(`create table pairs (value ${kind.ec2}, "time" timestamptz primary key)`);
      const mine = pairs.map((each, at) => [time(at), each.mine]);
      const theirs = pairs.map((each, at) => [time(at), each.theirs]);
      await Promise.all([insert(pair.local, into, mine), insert(pair.ec2, into, theirs)]);
      for (const digest of ['hash_record_extended', 'md5'] as const) {
        const { found } = await pair.compare({ tables: ['pairs'], digest, bucketMicros: SECOND });
        expect(await disagreements(pair, judged, found), digest).to.deep.equal([]);
      }
    });

    const { equal = [] } = kind;
    if (equal.length === 0) continue;
    for (const key of ['', 'unique']) {
      it(`takes another text of one ${title} for equal ${key === '' ? 'in a table without a key' : 'in a key'}`, async () => {
        await pair.local.query(`create table whole (value ${kind.local} ${key})`);
        await pair.ec2.query(`create table whole (value ${kind.ec2})`);
        await insert(
          pair.local,
          'whole',
          equal.map(([text]) => [text!]),
        );
        await insert(
          pair.ec2,
          'whole',
          equal.map(([, text]) => [text!]),
        );
        for (const digest of ['hash_record_extended', 'md5'] as const) {
          expect((await pair.compare({ tables: ['whole'], digest })).found, digest).to.deep.equal([]);
        }
      });
    }
  }

  it('takes many rows without key and time for equal though every text of theirs is another', async () => {
    await pair.query('create table t (value jsonb, note text)');
    const fillWith = (digits: string): string =>
      `insert into t select jsonb_build_array(step + ${digits}), case when step % 2 = 0 then step::text end from generate_series(1, 400) step`;
    await Promise.all([pair.local.query(fillWith('0.0')), pair.ec2.query(fillWith('0.00'))]);
    expect((await pair.compare({ tables: ['t'] })).report.verdict).to.equal('identical');
    await pair.ec2.query(`update t set value = '[7.1]' where value = '[7]'`);
    expect((await pair.compare({ tables: ['t'] })).found).to.have.length(2);
  });

  it('reads values within values as one text, whatever way to write them a database has', async () => {
    await pair.query(`create type span as (length interval, mark bytea); create table t (id integer primary key, span span);
      insert into t values (1, row('1 mon 2 days', '\\x00ff'))`);
    const setting = (what: string): string => `do $$ begin
      execute format('alter database %I ${what}', current_database());
    end $$`;
    await pair.ec2.query(setting('set intervalstyle = iso_8601'));
    await pair.ec2.query(setting('set bytea_output = escape'));
    const { report } = await pair.withTimeout(25_000, (fresh) => fresh.compare({ tables: ['t'] }));
    await pair.ec2.query(setting('reset all'));
    expect(report).to.include({ verdict: 'identical' });
  });

  it('asks a slow server for less until it answers in time', async () => {
    const rows = 2_600;
    const filled = fill(rows).replace(WATER, `${WATER} ("time", sensor_id, rssi)`);
    await pair.query(`${CREATE}; alter table ${WATER} add note text; ${filled};
      update ${WATER} set note = repeat('a long note', 40000)`);
    await pair.ec2.query(
      `delete from ${WATER} where rssi = 0; update ${WATER} set rssi = rssi + 10000 where rssi % 1000 = 1`,
    );
    const { report } = await pair.withTimeout(1_000, (impatient) =>
      impatient.compare({ tables: [WATER], from: FROM, to: FROM + rows * SECOND }),
    );
    expect(report.tables[0]).to.include({ different: 3, missingOnEc2: 1, missingOnLocal: 0 });
  });

  it('compares rows off the axis with everything, and not with a range', async () => {
    await pair.query(`create table t ("time" timestamptz, id integer); insert into t values ('2025-07-01', 1),
      (null, 2), ('infinity', 3), ('0044-03-15 BC', 4), ('9999-12-31', 5), ('-infinity', 6), (null, 7)`);
    const tables = ['t=time'];
    expect((await pair.compare({ tables })).report).to.deep.include({ verdict: 'identical', failed: [] });
    await pair.ec2.query(
      `delete from t where id in (2, 3); update t set id = 40 where id = 4; insert into t values (null, 7)`,
    );
    const { found, report } = await pair.compare({ tables });
    expect(found.map(({ kind, key }) => `${kind} ${String(key.id)} ${String(key.time)}`).sort()).to.deep.equal([
      'missing on ec2 2 null',
      'missing on ec2 3 infinity',
      'missing on ec2 4 0044-03-15 00:00:00+00 BC',
      'missing on local 40 0044-03-15 00:00:00+00 BC',
      'missing on local 7 null',
    ]);
    expect(report.tables[0]).to.deep.include({ local: { rows: 7, maxTime: '2025-07-01T00:00:00.000000Z' } });
    expect((await pair.compare({ tables, from: FROM, to: FROM + 1 })).report.verdict).to.equal('identical');
  });

  it('names a table whose values cannot be compared exactly, with each reason, and compares the others', async () => {
    await pair.local.query('create table t (id integer, level numeric, at timestamp, only_here text)');
    await pair.ec2.query('create table t (id integer, level double precision, at date)');
    await pair.query('create table u (id integer primary key); insert into u values (1)');
    const { report } = await pair.compare({ tables: ['t', 'u'] });
    expect(report.verdict).to.equal('different');
    expect(report.failed.map(({ table }) => table)).to.deep.equal(['t']);
    expect(report.failed[0]?.reason)
      .to.contain('level is numeric on one side and double precision on the other')
      .and.contain('at is timestamp without time zone on one side and date on the other')
      .and.contain('only_here is missing');
    expect(report.tables).to.have.length(1);
    expect(report.tables[0]).to.deep.include({ table: 'u', local: { rows: 1, maxTime: null } });
  });

  it('names the columns that only EC2 has as not compared', async () => {
    await pair.local.query('create table t (id integer primary key)');
    await pair.ec2.query('create table t (note text, id integer primary key, "Odd one" text)');
    const { report } = await pair.compare({ tables: ['t'] });
    expect(report).to.include({ verdict: 'identical' });
    expect(report.notCompared).to.deep.equal([
      { table: 't', columns: ['note', 'Odd one'], reason: 'only EC2 has them' },
    ]);
  });

  it('tells a row whose time moved apart as missing and extra, wherever it went', async () => {
    await pair.query(`create table t (id integer primary key, "time" timestamptz not null);
      insert into t select step, '2025-07-01'::timestamptz + step * interval '1 hour' from generate_series(1, 3000) step`);
    await pair.ec2
      .query(`update t set "time" = case id when 5 then "time" + interval '100 days' else "time" + '1 us' end
      where id in (5, 6)`);
    const { found } = await pair.compare({ tables: ['t=time'] });
    expect(found.map(({ kind, key }) => `${kind} ${String(key.id)}`).sort()).to.deep.equal([
      ...['missing on ec2 5', 'missing on ec2 6', 'missing on local 5', 'missing on local 6'],
    ]);
  });

  it('compares generated columns by their values, and text of any collation by its bytes', async () => {
    await pair.query(`create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
    await pair.local.query(`create table t (id integer primary key, twice integer generated always as (id * 2) stored,
      thrice integer generated always as (id * 3) virtual, name text collate blind)`);
    await pair.ec2.query(
      `create table t (name text collate blind, id integer primary key, thrice integer, twice integer)`,
    );
    await pair.local.query(`insert into t (id, name) values (1, 'a'), (2, 'b'), (3, 'c')`);
    await pair.ec2.query(
      `insert into t (id, twice, thrice, name) values (1, 2, 3, 'a'), (2, 4, 7, 'b'), (3, 6, 9, 'C')`,
    );
    const { found } = await pair.compare({ tables: ['t'] });
    const byId = found.toSorted((one, other) => Number(one.key.id) - Number(other.key.id));
    expect(byId.map(({ key, columns }) => ({ id: key.id, columns }))).to.deep.equal([
      { id: '2', columns: { thrice: { local: '6', ec2: '7' } } },
      { id: '3', columns: { name: { local: 'c', ec2: 'C' } } },
    ]);
  });

  it('keeps NULL, the empty text and what looks like a list apart in keys that no constraint guards', async () => {
    const odd = [`''`, 'null', `'null'`, `'NULL'`, `'="'`, `'o''dd\\"; --'`, `'{a,b}'`, `'💧'`];
    const rows = odd.map((sensor, at) => `('2025-07-01', ${sensor}, ${at})`).join(', ');
    await pair.query(
      `${CREATE.replace('sensor_id varchar(255) not null', 'sensor_id text')}; insert into ${WATER} values ${rows}`,
    );
    await pair.ec2.query(`update ${WATER} set rssi = 100 + rssi where sensor_id is null or rssi > 2;
      delete from ${WATER} where sensor_id = ''`);
    const { found } = await pair.compare({ tables: [WATER] });
    expect(await disagreements(pair, JUDGED, found)).to.deep.equal([]);
    expect(found).to.have.length(7);
  });
});
