import { expect } from 'chai';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import type { ConnectionSettings } from '../../src/lib/db/connection.js';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { READING_TABLES } from '../../src/lib/domain/reading.js';
import { unitsOf, type Reading } from '../support/readings.js';
import type { Side } from '../../src/lib/domain/side.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import type { CommittedBatch } from '../../src/lib/repository/write/batch.js';
import { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { compactLedger, markMissed, summarizeLedger } from '../../src/lib/repository/ledger/ledger.js';
import { shortenLedger } from '../../src/lib/repository/cutover/drain-ledger.js';
import { buryConsumers } from '../../src/lib/repository/ledger/markers.js';
import { CircuitBreaker } from '../../src/lib/repository/write/circuit-breaker.js';
import { healUntilStopped } from '../../src/lib/repository/repair/self-healing.js';
import { silentLogger } from '../../src/lib/logger.js';
import { NONE_UPDATED } from '../../src/lib/repository/repair/repair-updated.js';
import { repairMissed, type RepairOutcome } from '../../src/lib/repository/repair/repair-missed.js';
import { SecondaryWriter } from '../../src/lib/repository/write/send-batch.js';
import { createTestDatabase, ec2Server, localServer, type TestDatabase } from '../support/servers.js';

const KEY = 'water_level_readings_key';

/** Missed entries without readings. Parameters: the table, how many. */
const ENTER_MANY = `
  insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
  select gen_random_uuid(), gen_random_uuid(), $1, tstzmultirange(tstzrange(at, at + interval '1 second')), 1, 'missed'
  from (select '2025-07-01Z'::timestamptz + n * interval '1 second' as at from generate_series(1, $2::int) as n) as times`;

/** How many rows and index entries of the ledger sessions that have ended have read so far. */
const LEDGER_READS = `
  select (seq_tup_read + (select sum(idx_tup_read) from pg_stat_user_indexes where relid = 'sensorctl.ledger'::regclass))::int as reads
  from pg_stat_user_tables where relid = 'sensorctl.ledger'::regclass`;

async function openTestSide(side: Side, created: TestDatabase[]): Promise<Database> {
  const server = await (side === 'local' ? localServer() : ec2Server());
  const testDatabase = await createTestDatabase(server, `repair ${side}`);
  created.push(testDatabase);
  const { host, port, user, password } = server;
  return openAs('test', side, {
    ...{ host, port, user, password, database: testDatabase.name, sslMode: 'disable', sslRootCert: undefined },
  });
}

function openAs(applicationName: string, side: Side, connection: ConnectionSettings): Database {
  return openDatabase({ side, connection, poolMax: 5, callTimeoutMs: 10_000, applicationName });
}

function readingsAt(sensors: readonly string[], minute: number): Reading[] {
  return sensors.map((sensorId, index) => ({
    table: 'water_level_readings',
    time: `2025-07-01T00:${String(minute).padStart(2, '0')}:${String(index).padStart(2, '0')}.000001Z`,
    sensorId,
    sensorType: 'water-level',
    values: { level_cm: -3.5, voltage: 3.85, rssi: -60, quality_score: 0.7, location_lat: 13.75, location_lng: 100.5 },
  }));
}

describe('repair', () => {
  const created: TestDatabase[] = [];
  let primary: Database;
  let secondary: Database;
  let repository: DualWriteRepository;

  beforeEach(async () => {
    primary = await openTestSide('local', created);
    secondary = await openTestSide('ec2', created);
    await Promise.all([primary, secondary].map((side) => prepareSide(side, { addKeys: false })));
    repository = await openRepository();
  });

  afterEach(async () => {
    await repository.close();
    await Promise.all([closeDatabase(primary), closeDatabase(secondary)]);
    await Promise.all(created.splice(0).map((database) => database.drop()));
  });

  async function openRepository(): Promise<DualWriteRepository> {
    const retry = { retries: 0, delayMs: 1 };
    return await DualWriteRepository.open({
      declared: GUIDE_TABLES,
      primary,
      secondary,
      retry,
      concurrency: 2,
      consumer: { host: 'test', pid: 1 },
    });
  }

  async function commit(readings: readonly Reading[]): Promise<CommittedBatch> {
    const [batch] = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
    return batch!;
  }

  async function miss(batch: CommittedBatch): Promise<void> {
    await markMissed(primary.pool, new Map([[batch.batchId!, 'by the test']]));
  }

  function heal(): { end(): Promise<void> } {
    const stop = new AbortController();
    const options = { primary, secondary, breaker: new CircuitBreaker(), rowsPerSecond: 1000, logger: silentLogger };
    const running = healUntilStopped({ ...options, signal: stop.signal });
    return {
      end: async () => {
        stop.abort();
        await running;
      },
    };
  }

  async function repair(tables: readonly string[] = READING_TABLES): Promise<RepairOutcome> {
    return await repairMissed({ primary, secondary, entries: 10, states: ['missed'], tables });
  }

  async function rowsOf({ pool }: Database): Promise<string[]> {
    const { rows } = await pool.query<{ row: string }>(
      'select t::text as row from public.water_level_readings t order by t::text',
    );
    return rows.map(({ row }) => row);
  }

  /** Entries of readings by state. */
  async function ledger(): Promise<Record<string, number>> {
    const summary = (await summarizeLedger(primary.pool)).filter(({ table }) => table !== 'sensor_registry');
    return Object.fromEntries(summary.map(({ state, entries }) => [state, entries]));
  }

  it('brings what was missed, and settles exactly the entries that it read', async () => {
    await miss(await commit(readingsAt(['a', 'b', 'c', 'd', 'e'], 1)));
    const live = await commit(readingsAt(['f'], 1));
    const rows = { copied: 6, inserted: 6, skipped: 0, corrected: 0, refused: 0 };
    expect(await repair()).to.deep.equal({ entries: 1, ...rows, updated: NONE_UPDATED });
    expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
    expect(await ledger()).to.deep.equal({ pending: 1 });
    expect(await repository.secondary!.send(live)).to.deep.equal({ confirmed: true, refused: [] });
    expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
  });

  it('makes a differing row what the primary holds, and keeps what it replaced in the quarantine', async () => {
    const batch = await commit(readingsAt(['a', 'b'], 1));
    await repository.secondary!.send(batch);
    await secondary.pool.query(
      "update public.water_level_readings set level_cm = 99, rssi = null where sensor_id = 'b'",
    );
    await miss(batch);
    expect(await repair()).to.include({ corrected: 1 });
    expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
    const kept = await secondary.pool.query<{ body: string }>('select body from sensorctl.quarantine');
    expect(kept.rows.map(({ body }) => (JSON.parse(body) as { level_cm: number }).level_cm)).to.deep.equal([99]);
  });

  it('names a reading that EC2 cannot hold as it is, and brings the rest', async () => {
    const [plain, fine] = readingsAt(['a', 'b'], 1);
    await secondary.pool.query('alter table public.water_level_readings alter level_cm type numeric(5,0)');
    await miss(await commit([{ ...plain!, values: { ...plain!.values, level_cm: -3 } }, fine!]));
    expect(await repair()).to.include({ refused: 1 });
    expect(await ledger()).to.deep.equal({ refused: 1 });
    const { rows } = await primary.pool.query<{ sensor_id: string; reason: string }>(
      "select sensor_id, reason from sensorctl.ledger where state = 'refused'",
    );
    expect(rows).to.deep.equal([{ sensor_id: 'b', reason: 'EC2 does not hold it as it was written' }]);
  });

  it('does not let a table that cannot be repaired hold up the others', async () => {
    await secondary.pool.query('alter table public.water_level_readings drop column rssi');
    for (let minute = 1; minute <= 40; minute += 1) await miss(await commit(readingsAt(['a', 'b'], minute)));
    const [water] = readingsAt(['m'], 41);
    const moisture: Reading = {
      ...water!,
      table: 'moisture_readings',
      sensorType: 'moisture',
      values: { voltage: 3.9 },
    };
    await miss(await commit([moisture]));
    const healing = heal();
    await until(async () => (await secondary.pool.query('select from public.moisture_readings')).rowCount === 1);
    await healing.end();
    expect(await ledger()).to.deep.equal({ missed: 40 });
  });

  it('does not let an entry that cannot be repaired, as its chunk is damaged or frozen, hold up the others', async () => {
    for (const [minute, sensorId] of ['bad', 'a', 'b', 'c', 'd'].entries()) {
      await miss(await commit(readingsAt([sensorId], minute)));
    }
    await secondary.pool.query(`
      create function public.damaged() returns trigger language plpgsql as $$
      begin
        if new.sensor_id = 'bad' then raise exception 'cannot INSERT into frozen chunk' using errcode = 'XX000'; end if;
        return new;
      end $$;
      create trigger damaged before insert on public.water_level_readings for each row execute function public.damaged()`);
    const healing = heal();
    await until(async () => (await rowsOf(secondary)).length === 4);
    await healing.end();
    expect(await ledger()).to.deep.equal({ missed: 1 });
  });

  it('shortens the ledger before a switch to its end, whatever tables take turns in it', async () => {
    await primary.pool.query(ENTER_MANY, ['water_level_readings', 1_200]);
    await primary.pool.query(ENTER_MANY, ['moisture_readings', 100]);
    await primary.pool.query(ENTER_MANY, ['water_level_readings', 1_200]);
    await shortenLedger({ primary, secondary }, new AbortController().signal, () => undefined);
    expect(await ledger()).to.deep.equal({});
  });

  it('reads of the ledger what it repairs, however much stands in it', async () => {
    const MANY = 20_000;
    for (const table of ['moisture_readings', 'water_level_readings'])
      await primary.pool.query(ENTER_MANY, [table, MANY]);
    await primary.pool.query('analyze sensorctl.ledger');
    const readsOf = async (work: (measured: Database) => Promise<unknown>): Promise<number> => {
      const readSoFar = async (): Promise<number> =>
        (await primary.pool.query<{ reads: number }>(LEDGER_READS)).rows[0]!.reads;
      const before = await readSoFar();
      const measured = openAs('measured', 'local', primary.connection);
      await work(measured);
      await closeDatabase(measured);
      // A session tells what it has read when it ends.
      const others =
        "select from pg_stat_activity where application_name = 'measured' and datname = current_database()";
      await until(async () => (await primary.pool.query(others)).rowCount === 0);
      return (await readSoFar()) - before;
    };
    const counted = await readsOf((measured) => measured.pool.query('select count(readings) from sensorctl.ledger'));
    expect(counted, 'what a look at all of it reads').to.be.at.least(2 * MANY);
    const wanted = { entries: 20, states: ['missed'], tables: ['water_level_readings'] } as const;
    const reads = await readsOf(async (measured) => {
      expect(await repairMissed({ primary: measured, secondary, ...wanted })).to.include({ entries: 20 });
    });
    expect(reads).to.be.below(1_000);
    expect((await primary.pool.query('select from sensorctl.ledger')).rowCount).to.equal(2 * MANY - 20);
  });

  it('finds out by itself that EC2 is back, though no batch comes along to probe', async () => {
    await miss(await commit(readingsAt(['a'], 1)));
    const breaker = new CircuitBreaker();
    for (let failure = 1; failure <= 3; failure += 1) breaker.failed('by the test');
    expect(breaker.state).to.equal('open');
    const stop = new AbortController();
    const options = { primary, secondary, breaker, rowsPerSecond: 1000, logger: silentLogger };
    const healing = healUntilStopped({ ...options, signal: stop.signal });
    await until(async () => (await rowsOf(secondary)).length === 1);
    stop.abort();
    await healing;
    expect(breaker.state).to.equal('closed');
  });

  it('names a reading that only EC2 refuses, once, and brings the rest', async () => {
    await secondary.pool.query("alter table public.water_level_readings add constraint no_b check (sensor_id <> 'b')");
    await miss(await commit(readingsAt(['a', 'b', 'c'], 1)));
    expect(await repair()).to.include({ refused: 1 });
    expect(await ledger()).to.deep.equal({ refused: 1 });
    await miss(await commit(readingsAt(['d', 'e'], 1)));
    await repair();
    expect(await ledger()).to.deep.equal({ refused: 1 });
    const { rows } = await primary.pool.query("select sensor_id, reason from sensorctl.ledger where state = 'refused'");
    expect(rows).to.have.length(1);
    expect(rows[0]).to.include({ sensor_id: 'b' });
    expect((rows[0] as { reason: string }).reason).to.match(/23514.*no_b/);
  });

  it('lets two repairs at once share the work without harm', async () => {
    for (let minute = 1; minute <= 12; minute += 1) await miss(await commit(readingsAt(['a', 'b', 'c'], minute)));
    const outcomes = await Promise.all([repair(), repair()]);
    expect(outcomes.reduce((sum, outcome) => sum + outcome.entries, 0)).to.equal(12);
    expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
  });

  it('keeps on record what settled batches touched, and keeps that record small', async () => {
    for (let minute = 1; minute <= 5; minute += 1) {
      await miss(await commit(readingsAt(['a', 'b'], minute)));
      await repair();
    }
    const read = async () => await primary.pool.query<{ times: string }>('select times::text from sensorctl.unproven');
    expect((await read()).rows).to.have.length(5);
    await primary.pool.query("update sensorctl.unproven set settled_at = '2025-07-02T10:00:00Z'");
    await compactLedger(primary.pool);
    await compactLedger(primary.pool);
    expect((await read()).rows).to.deep.equal([{ times: '{["2025-07-01 00:01:00+00","2025-07-01 00:06:00+00")}' }]);
  });

  describe('where the EC2 table has no unique key', () => {
    beforeEach(async () => {
      await secondary.pool.query(`alter table public.water_level_readings drop constraint ${KEY}`);
    });

    it('a batch that is sent again after its answer was lost adds nothing', async () => {
      const batch = await commit(readingsAt(['a', 'b'], 1));
      expect(await repository.secondary!.send(batch)).to.deep.equal({ confirmed: true, refused: [] });
      expect(await repository.secondary!.send(batch)).to.deep.equal({ confirmed: true, refused: [] });
      expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
    });

    it('a repair takes over the batches in flight that it covers; their consumers write them no more', async () => {
      const [missed, live] = [await commit(readingsAt(['a', 'b'], 1)), await commit(readingsAt(['c', 'd'], 1))];
      await miss(missed);
      await repair();
      expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
      const outcome = await repository.secondary!.send(live);
      expect(outcome).to.deep.equal({ confirmed: false, reason: 'a repair on EC2 has taken the batch over' });
      expect(await rowsOf(secondary), 'no duplicate').to.deep.equal(await rowsOf(primary));
      await miss(live);
      await repair();
      expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
      expect(await ledger()).to.deep.equal({});
    });

    it('a repair waits for the batch that is being written, and then finds its rows', async () => {
      const [missed, live] = [await commit(readingsAt(['a'], 1)), await commit(readingsAt(['b'], 1))];
      await miss(missed);
      const blocker = await secondary.pool.connect();
      await blocker.query("begin; insert into public.sensor_registry (sensor_id) values ('b')");
      const sending = repository.secondary!.send(live);
      await untilWaiting(secondary, 1);
      const repairing = repair();
      await untilWaiting(secondary, 2);
      await blocker.query('commit');
      blocker.release();
      expect(await sending).to.deep.equal({ confirmed: true, refused: [] });
      await repairing;
      expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
    });

    it('a consumer that is recorded dead writes nothing, though its markers are gone', async () => {
      const batch = await commit(readingsAt(['a'], 1));
      await miss(batch);
      await repair();
      await repository.close();
      expect(await buryConsumers(primary, secondary)).to.equal(1);
      expect((await secondary.pool.query('select from sensorctl.batch_marker')).rowCount).to.equal(0);
      const result = await new SecondaryWriter(secondary).write({ ...batch, batchId: batch.batchId! });
      expect(result).to.have.property('left');
      expect(await rowsOf(secondary)).to.deep.equal(await rowsOf(primary));
    });
  });
});

async function until(check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await check())) if (Date.now() > deadline) throw new Error('not within 30 s');
}

/** Polls until so many sessions of the database wait for a lock. */
async function untilWaiting({ pool }: Database, sessions: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const { rowCount } = await pool.query(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    if ((rowCount ?? 0) >= sessions) return;
    if (Date.now() > deadline) throw new Error(`no ${sessions} sessions waited for a lock`);
  }
}
