import { readTable } from '../../src/lib/repository/tables/read-tables.js';
import type { Table } from '../../src/lib/repository/tables/table.js';
import { expect } from 'chai';
import type { QueryResult } from 'pg';
import { UnreachableError } from '../../src/lib/errors.js';
import {
  assertWritable,
  isCopyStraightSafe,
  problemOf,
  readWriteSettings,
} from '../../src/lib/repository/timescaledb/compressed-chunks.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { parseInstant } from '../../src/lib/domain/time.js';
import type { TimeRange } from '../../src/lib/domain/time-range.js';
import type { Statement } from '../../src/lib/db/transaction.js';
import { waterRows } from '../support/backfilled.js';
import { timescaleServers } from '../support/cli.js';
import { Pair } from '../support/compared.js';
import { localServer } from '../support/servers.js';
import { TimescaleStage } from '../support/timescale.js';

const ROWS_A_DAY = 120_000;
const SENSORS = 60;

/** The first of July is compressed, the second is not; more rows than one statement may decompress by default. */
const tableSql = (table: string, timeType: string): string => `
  create table ${table} (time ${timeType} not null, sensor_id varchar(255) not null, level int, unique (sensor_id, time));
  select create_hypertable('${table}', 'time', chunk_time_interval => interval '1 day');
  insert into ${table} select '2025-07-01'::timestamp + make_interval(secs => n * 0.5), 's' || n % ${SENSORS}, 1
  from generate_series(0, ${ROWS_A_DAY - 1}) as n;
  insert into ${table} values ('2025-07-02', 's1', 1);
  alter table ${table} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select compress_chunk(c) from show_chunks('${table}', older_than => '2025-07-02'::${timeType}) as c`;

const STAGE_CORRECTIONS = `
  create table corrections as select time, sensor_id, 2 as level from readings where sensor_id = 's7' order by time limit 100`;

const UPDATE = `
  update public.readings as r set level = c.level from public.corrections as c where r.sensor_id = c.sensor_id and r.time = c.time`;
const UPSERT = `
  insert into public.readings as r select time, sensor_id, level from public.corrections
  on conflict (sensor_id, time) do update set level = excluded.level where r.level is distinct from excluded.level`;

describe('compressed chunks of a table to write', () => {
  let stage: TimescaleStage;

  before(async function () {
    stage = await TimescaleStage.open(this, 'compressed chunks');
    await stage.pool.query(tableSql('readings', 'timestamptz'));
    await stage.pool.query(tableSql('without_zone', 'timestamp'));
    await stage.pool.query(STAGE_CORRECTIONS);
  });

  after(() => (stage as TimescaleStage | undefined)?.close());

  it('hold a straight COPY off in exactly the ranges that they cover, whatever the type of the time column', async () => {
    for (const table of ['readings', 'without_zone']) {
      const isSafe = async (from: string, to: string): Promise<boolean> =>
        await isCopyStraightSafe(stage.target, await tableOf(stage, table), range(from, to));
      expect(await isSafe('2025-07-01T23:59:59.999999Z', '2025-07-02T00:00:00Z'), table).to.equal(false);
      expect(await isSafe('2025-06-30T00:00:00Z', '2025-07-03T00:00:00Z'), table).to.equal(false);
      expect(await isSafe('2025-06-30T00:00:00Z', '2025-07-01T00:00:00Z'), table).to.equal(true);
      expect(await isSafe('2025-07-02T00:00:00Z', '2025-07-03T00:00:00Z'), table).to.equal(true);
    }
  });

  it('are writable in this version, and no longer once frozen, which is told for the ranges that they cover', async () => {
    const [first, second] = [range('2025-07-01T05:00:00Z', '2025-07-01T06:00:00Z'), range('2025-07-02', '2025-07-03')];
    await assertWritable(stage.target, await tableOf(stage, 'readings'), [first, second]);
    const [chunk] = await stage.read("select c::text from show_chunks('readings', older_than => '2025-07-02'::date) c");
    await stage.pool.query('select _timescaledb_functions.freeze_chunk($1)', [chunk]);
    try {
      await assertWritable(stage.target, await tableOf(stage, 'readings'), [second]);
      const error = await assertWritable(stage.target, await tableOf(stage, 'readings'), [second, first]).catch(
        (each: unknown) => each,
      );
      expect(error).to.be.instanceOf(UnreachableError);
      expect((error as UnreachableError).message).to.contain(chunk);
    } finally {
      await stage.pool.query('select _timescaledb_functions.unfreeze_chunk($1)', [chunk]);
    }
    await assertWritable(stage.target, await tableOf(stage, 'readings'), [first]);
  });

  it('take a correction that decompresses more than the default limit, with the settings and only with them', async () => {
    const error = await inRolledBack([{ text: UPDATE }]).catch((each: unknown) => each);
    expect((error as { code?: string }).code).to.equal('53400');
    const settings = await readWriteSettings(stage.target);
    const results = await inRolledBack([...settings, { text: UPDATE }]);
    expect(results.at(-1)?.rowCount).to.equal(100);
  });

  it('are decompressed least by an upsert: the batches that hold the rows, while an update by key alone takes all', async () => {
    const settings = await readWriteSettings(stage.target);
    const decompressed = async (text: string): Promise<number> => {
      const explain = { text: `explain (analyze, costs off, timing off, summary off) ${text}` };
      const plan = (await inRolledBack([...settings, explain]))
        .at(-1)!
        .rows.map((row) => String(Object.values(row)[0]));
      return Number(/Tuples decompressed: (\d+)/.exec(plan.join('\n'))?.[1] ?? 0);
    };
    expect(await decompressed(UPDATE)).to.equal(ROWS_A_DAY);
    expect(await decompressed(`${UPDATE} and r.sensor_id = any ('{s7}')`)).to.equal(ROWS_A_DAY / SENSORS);
    expect(await decompressed(UPSERT)).to.be.within(100, 1_000);
    expect(
      await decompressed('insert into public.readings select * from public.corrections on conflict do nothing'),
    ).to.equal(0);
  });

  it('are found fault with by the rules of the version: keys from 2.11, COPY from 2.15.1, ON CONFLICT from 2.18.1', () => {
    expect(problemOf('2.10.3')).to.contain('unique key');
    for (const version of ['2.11.0', '2.15.0']) expect(problemOf(version), version).to.contain('crash');
    for (const version of ['2.15.1', '2.18.0']) expect(problemOf(version), version).to.contain('loses rows');
    for (const version of ['2.18.1', '2.26.4', '3.0.0']) expect(problemOf(version), version).to.equal(null);
  });

  async function inRolledBack(statements: readonly Statement[]): Promise<QueryResult<Record<string, unknown>>[]> {
    const client = await stage.target.pool.connect();
    const results: QueryResult<Record<string, unknown>>[] = [];
    try {
      await client.query('begin');
      for (const { text } of statements) results.push(await client.query(text));
    } finally {
      await client.query('rollback');
      client.release();
    }
    return results;
  }
});

describe('compressed chunks that a repair of the ledger writes to', () => {
  const LIMIT = 'timescaledb.max_tuples_decompressed_per_dml_transaction';
  const READINGS = 500;
  let pair: Pair | undefined;

  before(async function () {
    pair = await Pair.open('repair compressed', await timescaleServers(this));
    const { primary, secondary } = pair.sides;
    await Promise.all([primary, secondary].map((side) => prepareSide(side, { addKeys: false })));
    const { rows } = await pair.ec2.query<{ name: string }>('select current_database() as name');
    await pair.ec2.query(`alter database ${rows[0]!.name} set ${LIMIT} = 100`);
  });

  after(() => pair?.close());

  for (const keyed of [true, false]) {
    const where = keyed ? 'with its key' : 'without a key';
    it(`take more corrections than one statement may decompress by default, on an EC2 ${where}`, async () => {
      await pair!.query(waterRows(0, READINGS - 1));
      if (!keyed) await pair!.ec2.query('alter table water_level_readings drop constraint water_level_readings_key');
      await pair!.local.query('update water_level_readings set rssi = -1');
      await pair!.ec2.query(`
        alter table water_level_readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
        select compress_chunk(c) from show_chunks('water_level_readings') as c`);
      await pair!.local.query(`
        insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state, reason)
        values (gen_random_uuid(), gen_random_uuid(), 'water_level_readings', '{[2025-07-01,2025-07-02)}', 1, 'missed', 'a test')`);
      const outcome = await repairMissed({ ...pair!.sides, entries: 10, states: ['missed'] });
      expect(outcome).to.include({ entries: 1, corrected: READINGS, refused: 0 });
      const { rows } = await pair!.ec2.query('select distinct rssi from water_level_readings');
      expect(rows).to.deep.equal([{ rssi: -1 }]);
      await pair!.query('truncate water_level_readings, sensorctl.ledger');
    });
  }
});

describe('compressed chunks on a database without TimescaleDB', () => {
  it('are none: no settings, every range is writable, and COPY goes straight', async () => {
    const plain = await TimescaleStage.prepare(
      await localServer(),
      'no chunks',
      'create table readings (time timestamptz)',
    );
    try {
      const all = range('2025-07-01', '2025-07-02');
      expect(await readWriteSettings(plain.target)).to.deep.equal([]);
      await assertWritable(plain.target, await tableOf(plain, 'readings'), [all]);
      expect(await isCopyStraightSafe(plain.target, await tableOf(plain, 'readings'), all)).to.equal(true);
    } finally {
      await plain.close();
    }
  });
});

function range(from: string, to: string): TimeRange {
  const micros = (text: string): number => parseInstant(text.includes('T') ? text : `${text}T00:00:00Z`)!;
  return { from: micros(from), to: micros(to) };
}

async function tableOf({ target }: TimescaleStage, name: string): Promise<Table> {
  return (await readTable(target.pool, name))!;
}
