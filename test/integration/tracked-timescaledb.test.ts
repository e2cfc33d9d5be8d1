import { expect } from 'chai';
import { skipSuite } from '../support/cli.js';
import { timescaleServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const hypertable = (name: string): string => `
  create table ${name} (time timestamptz not null, sensor_id text not null, value numeric, doubled numeric generated always as (value * 2) stored, note text,
    unique (sensor_id, time));
  select create_hypertable('${name}', 'time', chunk_time_interval => interval '1 day');`;
const compress = (name: string): string => `
  alter table ${name} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select count(compress_chunk(c)) from show_chunks('${name}') as c`;
const rows = (name: string, days: number, sensors = 2): string => `
  insert into ${name} (time, sensor_id, value)
  select '2025-07-01Z'::timestamptz + day * interval '1 day', 's' || sensor, 1 from generate_series(0, ${days - 1}) as day, generate_series(1, ${sensors}) as sensor`;
const key = (sensor: number, day: number): string => `s${sensor}/2025-07-0${day} 00:00:00+00`;

describe('the ledger of other writers to hypertables', function () {
  this.timeout(60_000);
  let side: TrackedSide;

  before(async function () {
    const found = await timescaleServer('local');
    if ('missing' in found) return skipSuite(this, found.missing);
    side = await TrackedSide.open(found.server, 'tracked hypertables', { sql: 'create extension timescaledb' });
  });

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- where there is no TimescaleDB
  after(() => side?.close());

  it('has every kind of statement, in old chunks and in new ones', async () => {
    await side.run(hypertable('h'));
    await side.track('h');
    expect(await side.entered(rows('h', 2))).to.deep.equal([
      `h +${[key(1, 1), key(1, 2), key(2, 1), key(2, 2)].join(',')}`,
    ]);
    expect(await side.entered("update h set value = 2 where sensor_id = 's1'")).to.deep.equal([
      `h +${key(1, 1)},${key(1, 2)}`,
    ]);
    expect(
      await side.entered(`insert into h (time, sensor_id, value) values ('2025-07-01Z', 's1', 5), ('2025-07-05Z', 's1', 5)
      on conflict (sensor_id, time) do update set value = excluded.value`),
    ).to.have.members([`h +${key(1, 1)}`, `h +${key(1, 5)}`]);
    expect(await side.entered("update h set sensor_id = 's9' where time = '2025-07-05Z'")).to.deep.equal([
      `h +${key(9, 5)} -${key(1, 5)}`,
    ]);
    expect(await side.entered("delete from h where sensor_id = 's2'")).to.have.members([
      `h -${key(2, 1)}`,
      `h -${key(2, 2)}`,
    ]);
    expect(
      await side.entered(
        "merge into h using (values ('2025-07-01Z'::timestamptz, 's1'), ('2025-07-06Z', 's1')) as g (t, s) on h.time = g.t and h.sensor_id = g.s \
      when matched then update set value = 7 when not matched then insert (time, sensor_id) values (g.t, g.s)",
      ),
    ).to.have.members([`h +${key(1, 1)}`, `h +${key(1, 6)}`]);
    expect(await side.entered('truncate h')).to.deep.equal(['h whole']);
  });

  it('has what is written to compressed chunks; whole ones can still be deleted, beyond the limit of decompression', async () => {
    await side.run(`${hypertable('packed')} ${rows('packed', 2, 3)}`);
    await side.track('packed');
    await side.run(compress('packed'));
    expect(
      await side.entered("update packed set value = 3 where sensor_id = 's1' and time < '2025-07-02Z'"),
    ).to.deep.equal([`packed +${key(1, 1)}`]);
    expect(
      await side.entered("insert into packed (time, sensor_id, value) values ('2025-07-01 12:00Z', 's1', 1)"),
    ).to.deep.equal(['packed +s1/2025-07-01 12:00:00+00']);
    await side.run("select count(compress_chunk(c, if_not_compressed => true)) from show_chunks('packed') as c");
    expect(
      await side.entered(
        "set timescaledb.max_tuples_decompressed_per_dml_transaction = 1; delete from packed where sensor_id = 's2'",
      ),
    ).to.have.members([`packed -${key(2, 1)}`, `packed -${key(2, 2)}`]);
  });

  it('takes no part in what moves rows without changing any', async () => {
    await side.run(`${hypertable('moved')} ${rows('moved', 3)}`);
    await side.track('moved');
    expect(
      await side.entered(
        compress('moved'),
        "select count(decompress_chunk(c)) from show_chunks('moved') as c",
        "select drop_chunks('moved', older_than => '2025-07-02Z'::timestamptz)",
      ),
    ).to.deep.equal([]);
  });

  it('goes row by row where a column was dropped, also into chunks made after that', async () => {
    await side.run(`${hypertable('shrunk')} ${rows('shrunk', 1)}; alter table shrunk drop column note;
      create function swap() returns trigger language plpgsql as 'begin new.value = 42; new.sensor_id = upper(new.sensor_id); return new; end';
      create trigger swap before insert on shrunk for each row execute function swap()`);
    const [tracked] = await side.track('shrunk');
    expect(tracked?.changes.join()).to.contain('row by row');
    expect(
      await side.entered("insert into shrunk (time, sensor_id) values ('2025-07-04Z', 's1'), ('2025-07-05Z', 's2')"),
    ).to.have.members(['shrunk +S1/2025-07-04 00:00:00+00', 'shrunk +S2/2025-07-05 00:00:00+00']);
    expect(
      await side.entered(
        "merge into shrunk using (values ('2025-07-08Z'::timestamptz, 's1')) as g (t, s) on shrunk.time = g.t and shrunk.sensor_id = g.s \
      when not matched then insert (time, sensor_id) values (g.t, g.s)",
      ),
    ).to.deep.equal(['shrunk +S1/2025-07-08 00:00:00+00']);
    expect(await side.entered("update shrunk set value = 1 where time = '2025-07-05Z'")).to.deep.equal([
      'shrunk +S2/2025-07-05 00:00:00+00',
    ]);
    expect(await side.entered("delete from shrunk where time > '2025-07-04 12:00Z'")).to.have.members([
      'shrunk -S2/2025-07-05 00:00:00+00',
      'shrunk -S1/2025-07-08 00:00:00+00',
    ]);
    expect(await side.entered("update shrunk set sensor_id = 'x' where time = '2025-07-04Z'")).to.deep.equal([
      'shrunk +x/2025-07-04 00:00:00+00 -S1/2025-07-04 00:00:00+00',
    ]);
  });

  it('finds that a column was dropped, or a table became a hypertable, after it was tracked', async () => {
    await side.run(hypertable('later'));
    await side.track('later');
    await side.run('alter table later drop column note');
    expect((await side.track('later')).map(({ action }) => action)).to.deep.equal(['renewed']);
    await side.run(
      `create table plain (time timestamptz not null, sensor_id text not null, unique (sensor_id, time)); insert into plain values ('2025-07-01Z', 's1')`,
    );
    await side.track('plain');
    await side.run("select create_hypertable('plain', 'time', migrate_data => true)");
    expect((await side.track('plain')).map(({ action }) => action)).to.deep.equal(['renewed']);
    expect(
      await side.entered(
        "insert into plain values ('2025-07-09Z', 's1')",
        "delete from plain where time < '2025-07-05Z'",
      ),
    ).to.deep.equal(['plain +s1/2025-07-09 00:00:00+00', `plain -${key(1, 1)}`]);
  });

  it('names places of a hypertable without a key', async () => {
    await side.run(
      "create table loose (time timestamp not null, sensor_id text); select create_hypertable('loose', 'time')",
    );
    await side.track('loose');
    expect(
      await side.entered(
        "insert into loose values ('2025-07-01', 'a'), ('2025-07-01', 'a')",
        "update loose set sensor_id = 'b'",
        'delete from loose',
      ),
    ).to.deep.equal([
      'loose +2025-07-01 00:00:00,2025-07-01 00:00:00',
      'loose +2025-07-01 00:00:00,2025-07-01 00:00:00 -2025-07-01 00:00:00,2025-07-01 00:00:00',
      'loose -2025-07-01 00:00:00',
      'loose -2025-07-01 00:00:00',
    ]);
  });

  it('lets compression and retention policies run, and compression be switched on', async () => {
    await side.run(`${hypertable('kept')} ${rows('kept', 4)}`);
    await side.track('kept');
    await side.run("alter table kept set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id')");
    await side.run(
      "select add_compression_policy('kept', interval '1 day'); select add_retention_policy('kept', interval '1000 years')",
    );
    const { rows: jobs } = await side.pool.query<{ job_id: number }>(
      "select job_id from timescaledb_information.jobs where hypertable_name = 'kept'",
    );
    for (const { job_id: job } of jobs) await side.run(`call run_job(${job})`);
    const {
      rows: [counted],
    } = await side.pool.query<{ n: number }>(
      "select count(*)::int as n from timescaledb_information.chunks where hypertable_name = 'kept' and is_compressed",
    );
    expect(counted?.n).to.equal(4);
  });
});
