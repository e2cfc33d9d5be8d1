import { expect } from 'chai';
import type pg from 'pg';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import type { Database } from '../../src/lib/db/database.js';
import { unitsOf, type Reading } from '../support/readings.js';
import { ConflictError, InterruptedError } from '../../src/lib/errors.js';
import type { BackfillCounts, BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import { endStalledCopies } from '../../src/lib/repository/repair/stalled-copies.js';
import {
  addUnits,
  beginWithUnit,
  joinRun,
  markPlanned,
  splitUnit,
  type PlannedUnit,
} from '../../src/lib/repository/backfill/unit-store.js';
import { waitForWriters } from '../../src/lib/repository/phase/fence.js';
import { keepingLogger, PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';

const WATER = 'water_level_readings';
const DAY = { from: '2025-07-01T00:00:00Z', to: '2025-07-02T00:00:00Z' };

describe('backfill', () => {
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('backfill');
  });

  afterEach(() => pair.close());

  async function expectEqual(): Promise<void> {
    const { local, ec2 } = await pair.contents();
    expect(ec2).to.deep.equal(local);
    expect((await pair.compare()).verdict).to.equal('identical');
  }

  /** The same registry and readings 0..rows-1 on local; on EC2 only the registry. */
  async function fillLocal(rows: number): Promise<void> {
    await pair.query(WATER_SENSORS);
    await pair.here.query(waterRows(0, rows - 1));
  }

  /** What a report says of the readings of water levels. */
  function ofWater({ tables }: BackfillReport): BackfillCounts | undefined {
    return tables.find(({ table }) => table === WATER);
  }

  async function fillBoth(rows: number): Promise<void> {
    await pair.query(`${WATER_SENSORS}; ${waterRows(0, rows - 1)}`);
  }

  it('joins a run of hundreds of ranges, as a comparison may have found them', async () => {
    const ranges = Array.from({ length: 500 }, (_, n) => ({
      from: n * 7_919_000_017,
      to: n * 7_919_000_017 + 1,
      rows: n,
    }));
    const scope = { ...scopeOf('given'), given: [[WATER, ranges]] };
    const { id } = await joinRun(pair.ec2.pool, scope);
    expect((await joinRun(pair.ec2.pool, scope)).id).to.equal(id);
    expect((await joinRun(pair.ec2.pool, { ...scope, given: [[WATER, ranges.slice(1)]] })).id).to.not.equal(id);
  });

  describe('beside a switch', () => {
    for (const mode of ['differences', 'ledger'] as const) {
      it(`of ${mode}: what overwrites holds the primary in its role until it has committed, and then asks again`, async () => {
        await fillBoth(10);
        await pair.there.query(`update ${WATER} set rssi = -1`);
        await pair.miss(WATER, DAY.from, DAY.to);
        const blocker = await pair.openSession('ec2');
        await blocker.client.query(`begin; lock table ${WATER} in exclusive mode`);
        const running = pair.backfill({ mode });
        running.catch(() => undefined);
        await eventually('the backfill waits for a lock on EC2', async () => {
          const { rowCount } = await pair.there.query('select from pg_locks where not granted');
          return rowCount !== 0;
        });
        expect(await waitForWriters(pair.local, 100), 'whether local can be given up').to.equal(false);
        await blocker.client.query('commit');
        expect(await running).to.include({ rowsCorrected: 10, remainingGaps: 0 });
        expect(await waitForWriters(pair.local, 2_000)).to.equal(true);

        await pair.there.query(`update ${WATER} set rssi = -2`);
        await pair.miss(WATER, DAY.from, DAY.to);
        await pair.query(`insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by)
          values (3, 'ec2-only', 5, 'ec2', 'a test')`);
        const failure = await pair.backfill({ mode }).catch((error: unknown) => error);
        expect(failure).to.be.instanceOf(ConflictError);
        expect((await pair.there.query(`select from ${WATER} where rssi = -2`)).rowCount).to.equal(10);
      });
    }
  });

  describe('of the ledger', () => {
    it('repairs what was missed and what a dead consumer left pending, and leaves alone what is in flight', async () => {
      await fillLocal(300);
      await pair.miss(WATER, DAY.from, '2025-07-01T00:10:00Z');
      await pair.here.query(`
        insert into sensorctl.consumer (consumer_id, host, pid, write_mode, lease_until) values
          ('00000000-0000-0000-0000-00000000dead', 'test', 1, 'dual-write', clock_timestamp() - interval '1 second'),
          ('00000000-0000-0000-0000-00000000beef', 'test', 2, 'dual-write', clock_timestamp() + interval '1 hour');
        insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state) values
          (gen_random_uuid(), '00000000-0000-0000-0000-00000000dead', '${WATER}', '{[2025-07-01T00:10:00Z,2025-07-01T00:20:00Z)}', 60, 'pending'),
          (gen_random_uuid(), '00000000-0000-0000-0000-00000000beef', '${WATER}', '{[2025-07-01T00:30:00Z,2025-07-01T01:00:00Z)}', 60, 'pending')`);
      const report = await pair.backfill({ mode: 'ledger' });
      expect(report).to.include({ ranges: 2, rowsCopied: 120, rowsInserted: 120, verified: 120, remainingGaps: 0 });
      const { rows } = await pair.there.query(`select from ${WATER} where time < '2025-07-01T00:20:00Z'`);
      expect(rows).to.have.length(120);
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(120);
      expect(await pair.ledger()).to.have.length(1);
    });

    it('tries a refused reading once, and names it as refused again', async () => {
      await fillLocal(20);
      await pair.there.query(`alter table ${WATER} add constraint not_3 check (sensor_id <> 'AWD-3')`);
      await pair.miss(WATER, DAY.from, DAY.to);
      expect(await pair.backfill({ mode: 'ledger' })).to.include({ rowsCopied: 20, rowsInserted: 17, rowsRefused: 3 });
      const again = await pair.backfill({ mode: 'ledger' });
      expect(again).to.include({ ranges: 3, rowsCopied: 3, rowsRefused: 3, verified: 0 });
      expect(again.remainingGaps).to.be.greaterThan(0);
      expect((await pair.ledger()).map(({ state, sensorId }) => `${state} ${sensorId}`)).to.deep.equal(
        Array(3).fill('refused AWD-3'),
      );
      await pair.there.query(`alter table ${WATER} drop constraint not_3`);
      expect(await pair.backfill({ mode: 'ledger' })).to.include({ rowsInserted: 3, rowsRefused: 0, remainingGaps: 0 });
      await expectEqual();
    });

    it('leaves entries that cannot be repaired, with the reason, and repairs every other table', async () => {
      await fillLocal(20);
      await pair.query(
        "insert into sensor_registry (sensor_id, sensor_type, last_seen) values ('M', 'moisture', '2025-07-01')",
      );
      await pair.here.query(
        "insert into moisture_readings (time, sensor_id, voltage) select '2025-07-01T00:00:00Z', 'M', 3",
      );
      await pair.there.query(`alter table ${WATER} drop column rssi`);
      await pair.miss(WATER, DAY.from, DAY.to);
      await pair.miss('moisture_readings', DAY.from, DAY.to);
      const { logger, lines } = keepingLogger();
      const report = await pair.backfill({ mode: 'ledger' }, { logger });
      expect(report).to.include({ ranges: 1, rowsInserted: 1, remainingGaps: 1 });
      expect(report.gaps).to.have.length(1);
      expect(report.gaps[0]).to.include({ table: WATER, reason: 'by the test' });
      expect(lines.join('\n')).to.match(/cannot be repaired .*rssi is missing/);
    });

    it('goes around entries that somebody else repairs, waits for them, and takes them over when that one dies', async () => {
      await fillLocal(20);
      await pair.query(
        "insert into sensor_registry (sensor_id, sensor_type, last_seen) values ('M', 'moisture', '2025-07-01')",
      );
      await pair.here.query(
        "insert into moisture_readings (time, sensor_id, voltage) select '2025-07-01T00:00:00Z', 'M', 3",
      );
      await pair.miss(WATER, DAY.from, DAY.to);
      await pair.miss('moisture_readings', DAY.from, DAY.to);
      const other = await pair.openSession('local');
      await other.client.query(`begin; select from sensorctl.ledger where table_name = '${WATER}' for update`);
      const running = pair.backfill({ mode: 'ledger', jobs: 1 });
      await eventually('the other table is repaired', async () => {
        return (await pair.there.query('select from moisture_readings')).rowCount === 1;
      });
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(0);
      await eventually('it waits', async () => {
        const { rowCount } = await pair.here.query(
          "select from pg_stat_activity where application_name = 'sensorctl test' and datname = current_database() and query like '%pg_terminate_backend%'",
        );
        return (rowCount ?? 0) > 0;
      });
      other.cut();
      expect(await running).to.include({ ranges: 2, remainingGaps: 0 });
      await expectEqual();
    });

    it('repairs the named tables alone', async () => {
      await fillLocal(20);
      await pair.query(
        "insert into sensor_registry (sensor_id, sensor_type, last_seen) values ('M', 'moisture', '2025-07-01')",
      );
      await pair.here.query(
        "insert into moisture_readings (time, sensor_id, voltage) select '2025-07-01T00:00:00Z', 'M', 3",
      );
      await pair.miss(WATER, DAY.from, DAY.to);
      await pair.miss('moisture_readings', DAY.from, DAY.to);
      const report = await pair.backfill({ mode: 'ledger', tables: ['moisture_readings'] });
      expect(report).to.include({ ranges: 1, rowsInserted: 1, remainingGaps: 0 });
      expect((await pair.ledger()).map(({ table }) => table)).to.deep.equal([WATER]);
    });

    it('has nothing to do where the ledger is empty', async () => {
      await fillLocal(5);
      expect(await pair.backfill({ mode: 'ledger' })).to.include({ ranges: 0, rowsCopied: 0, remainingGaps: 0 });
    });
  });

  describe('of what differs', () => {
    it('copies the missing rows, corrects the differing ones and keeps what they replaced', async () => {
      await fillBoth(6_000);
      await pair.there.query(`
        delete from ${WATER} where time between '2025-07-01T01:00:00Z' and '2025-07-01T02:00:00Z';
        update ${WATER} set level_cm = 499, rssi = null where time between '2025-07-01T05:00:00Z' and '2025-07-01T05:01:00Z'`);
      const report = await pair.backfill();
      expect(report).to.include({ rowsInserted: 360, rowsCorrected: 6, rowsRefused: 0, rowsExtra: 0 });
      expect(report.rowsCopied).to.equal(report.rowsInserted + report.rowsSkipped + report.rowsCorrected);
      expect(report.rowsCopied, 'copies only what differs, in ranges').to.be.below(4_000);
      expect(report.verified).to.equal(report.rowsCopied);
      await expectEqual();
      const kept = await pair.there.query<{ body: string; reason: string }>('select * from sensorctl.quarantine');
      expect(kept.rows.map(({ body }) => (JSON.parse(body) as { level_cm: number }).level_cm)).to.deep.equal(
        Array(6).fill(499),
      );
      expect(kept.rows[0]!.reason).to.equal('differed from the primary, which replaced it');
    });

    it('has nothing to do where both sides are equal', async () => {
      await fillBoth(500);
      expect(await pair.backfill()).to.include({ ranges: 0, rowsCopied: 0, rowsExtra: 0 });
    });

    it('looks at the named range and tables alone, half open', async () => {
      await fillLocal(400);
      const [from, to] = [
        Date.parse('2025-07-01T00:10:00.000060Z') * 1000 + 60,
        Date.parse('2025-07-01T00:20:00Z') * 1000,
      ];
      await pair.backfill({ from, to });
      const { rows } = await pair.there.query<{ n: string }>(
        `select count(*) as n from ${WATER} where time >= '2025-07-01T00:10:00.00006Z' and time < '2025-07-01T00:20:00Z'`,
      );
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(Number(rows[0]!.n));
      expect(Number(rows[0]!.n)).to.equal(60);
      await pair.backfill({ tables: ['moisture_readings'] });
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(60);
    });

    it('reports rows that only EC2 has and leaves them, and prunes them only when asked, into the quarantine', async () => {
      await fillBoth(200);
      await pair.there.query(`insert into ${WATER} (time, sensor_id, level_cm) values
        ('2025-07-01T00:00:01Z', 'AWD-1', 1), ('2025-07-01T00:10:01Z', 'AWD-2', 2), ('2026-07-01T00:10:01Z', 'AWD-2', 3)`);
      expect(await pair.backfill()).to.include({ rowsExtra: 3, rowsPruned: 0 });
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(203);
      expect(await pair.backfill({ prune: true })).to.include({ rowsExtra: 0, rowsPruned: 3 });
      await expectEqual();
      const kept = await pair.there.query<{ body: string; reason: string }>(
        `select body, reason from sensorctl.quarantine order by reading_time`,
      );
      expect(kept.rows.map(({ body }) => (JSON.parse(body) as { level_cm: number }).level_cm)).to.deep.equal([1, 2, 3]);
      expect(kept.rows[0]!.reason).to.equal('the primary does not hold it; pruned');
    });

    it('prunes however many rows only EC2 has', async () => {
      await pair.query(WATER_SENSORS);
      await pair.here.query(waterRows(0, 0));
      await pair.there.query(waterRows(0, 12_345));
      expect(await pair.backfill()).to.include({ rowsExtra: 12_345 });
      expect(await pair.backfill({ prune: true })).to.include({ rowsPruned: 12_345 });
      await expectEqual();
    });

    it('does not take a row for extra that arrives on local while the unit is under way', async () => {
      await fillBoth(50);
      await pair.there.query(`update ${WATER} set rssi = 1`);
      const { id } = await joinRun(pair.ec2.pool, { ...scopeOf('differences'), prune: true });
      const from = Date.parse(DAY.from) * 1000;
      await addUnits(pair.ec2.pool, id, [{ ...timed(from, from + 3_600_000_000, 50), prune: true }]);
      await markPlanned(pair.ec2.pool, id, {});
      const hold = await holdWrites(pair, 'insert', WATER);
      const pruning = pair.backfill({ prune: true, jobs: 1 });
      await hold.reached('%insert into%');
      const late = `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00:35Z', 'AWD-5', 7)`;
      await pair.here.query(late);
      await pair.there.query(late);
      await hold.release();
      expect(await pruning).to.include({ rowsCorrected: 50, rowsExtra: 0, rowsPruned: 0 });
      await expectEqual();
    });
  });

  describe('of everything, without comparing', () => {
    it('goes straight into the table where it is empty, and through staging where it is not', async () => {
      await fillLocal(5_000);
      await pair.there.query(waterRows(0, 20));
      const report = await pair.backfill({ mode: 'full' });
      expect(report).to.include({ rowsCopied: 5_000, rowsInserted: 4_979, rowsSkipped: 21, verified: 5_000 });
      await expectEqual();
      const again = await pair.backfill({ mode: 'full' });
      expect(again).to.include({ rowsCopied: 5_000, rowsInserted: 0, rowsSkipped: 5_000 });
      await expectEqual();
    });

    for (const { title, live } of [
      { title: 'of a key that it brings too', live: waterRows(7, 7) },
      {
        title: 'of a key that is new on both sides',
        live: `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00:35Z', 'AWD-5', 7)`,
      },
    ]) {
      it(`repeats a copy through staging that met a live row ${title}`, async () => {
        await fillLocal(1_000);
        const hold = await holdWrites(pair, 'insert', WATER);
        const running = pair.backfill({ mode: 'full', jobs: 1 });
        await hold.reached(`copy "public"."${WATER}"%`);
        if (live !== waterRows(7, 7)) await pair.here.query(live);
        await pair.there.query(live);
        await hold.release();
        const report = await running;
        expect(report).to.include({ rowsSkipped: 1, rowsRefused: 0, rowsExtra: 0 });
        expect(report.rowsCopied).to.equal(report.rowsInserted + 1);
        await expectEqual();
      });
    }

    it('sends rows behind a foreign key after the sensors that they need', async () => {
      await pair.here.query(`${WATER_SENSORS}; ${waterRows(0, 99)}`);
      await pair.there.query(
        `alter table ${WATER} add constraint of_sensor foreign key (sensor_id) references sensor_registry (sensor_id)`,
      );
      expect(ofWater(await pair.backfill({ mode: 'full' }))).to.include({ rowsInserted: 100, rowsRefused: 0 });
      await expectEqual();
    });

    it('invents no sensor that the registry of local lacks: rows that EC2 cannot refer anywhere are refused by name', async () => {
      await pair.here.query(waterRows(0, 99));
      await pair.there.query(
        `alter table ${WATER} add constraint of_sensor foreign key (sensor_id) references sensor_registry (sensor_id)`,
      );
      await pair.here.query(`${WATER_SENSORS}; delete from sensor_registry where sensor_id = 'AWD-3'`);
      const report = await pair.backfill({ mode: 'full' });
      expect(ofWater(report)).to.include({ rowsInserted: 100 - report.rowsRefused });
      expect(report.rowsRefused).to.be.greaterThan(0);
      const { local, ec2 } = await pair.contents();
      expect(ec2.sensor_registry).to.deep.equal(local.sensor_registry);
      const { rows } = await pair.here.query("select distinct sensor_id from sensorctl.ledger where state = 'refused'");
      expect(rows).to.deep.equal([{ sensor_id: 'AWD-3' }]);
    });

    it('holds itself to the rate that it is given', async () => {
      await fillLocal(6_000);
      const stop = new AbortController();
      const startedAt = performance.now();
      const counts: { rows: number; seconds: number }[] = [];
      const onProgress = ({ step, rows }: { step: string; rows: number }): void => {
        if (step === 'copying') counts.push({ rows, seconds: (performance.now() - startedAt) / 1000 });
        if (step === 'copying' && rows >= 3_000) stop.abort();
      };
      const run = pair.backfill({ mode: 'full', maxRate: 1_000 }, { onProgress, stop: stop.signal });
      const outcome = await run.then(
        () => 'done',
        (error: unknown) => (error as Error).name,
      );
      expect(outcome).to.equal('InterruptedError');
      // Two seconds' worth may be under way at once, and what was begun is ended.
      for (const { rows, seconds } of counts) expect(rows, `after ${seconds} s`).to.be.at.most(1_000 * (seconds + 4));
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.be.within(3_000, 5_000);
    });
  });

  describe('where the sides are not alike', () => {
    it('brings rows as text where the types of a column differ', async () => {
      await pair.there.query(`
        alter table ${WATER} alter "time" type timestamp using "time" at time zone 'UTC';
        alter table ${WATER} alter level_cm type numeric(9,4);
        alter table ${WATER} alter sensor_id type text`);
      await fillLocal(2_000);
      expect(await pair.backfill({ mode: 'full' })).to.include({ rowsInserted: 2_000, rowsRefused: 0 });
      await pair.there
        .query(`delete from ${WATER} where sensor_id = 'AWD-4'; update ${WATER} set rssi = 1 where sensor_id = 'AWD-5';
        insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01 00:00:01', 'AWD-1', 1)`);
      const report = await pair.backfill({ prune: true });
      expect(report).to.include({ rowsInserted: 286, rowsCorrected: 285, rowsPruned: 1, rowsRefused: 0 });
      expect((await pair.compare()).verdict).to.equal('identical');
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(2_000);
    });

    it('brings times without zone to times with one', async () => {
      await pair.here.query(`alter table ${WATER} alter "time" type timestamp using "time" at time zone 'UTC'`);
      await fillLocal(500);
      expect(await pair.backfill({ mode: 'full' })).to.include({ rowsInserted: 500, rowsRefused: 0 });
      await pair.there.query(`delete from ${WATER} where sensor_id = 'AWD-4'`);
      expect(await pair.backfill()).to.include({ rowsRefused: 0, rowsExtra: 0 });
      expect((await pair.compare()).verdict).to.equal('identical');
    });

    it('names the readings that a narrower column does not hold as they were written; the others arrive', async () => {
      await fillLocal(100);
      await pair.there.query(`alter table ${WATER} alter level_cm type numeric(5,0)`);
      const report = await pair.backfill({ mode: 'full' });
      expect(report.rowsRefused).to.equal(90);
      expect(report.verified).to.equal(10);
      const refused = await pair.ledger();
      expect(refused).to.have.length(90);
      expect(refused[0]).to.include({ state: 'refused', reason: 'EC2 does not hold it as it was written' });
    });

    it('names each reading that EC2 refuses, once, and brings the others', async () => {
      await fillLocal(1_000);
      await pair.there.query(`alter table ${WATER} add constraint below_90 check (level_cm < 95)`);
      const report = await pair.backfill({ mode: 'full' });
      expect(report).to.include({ rowsRefused: 20, rowsInserted: 980, verified: 980 });
      await pair.backfill({ mode: 'full' });
      const refused = await pair.ledger();
      expect(refused).to.have.length(20);
      expect(refused[0]!.reason).to.match(/23514.*below_90/);
    });

    it('splits a unit for which the server has no time', async () => {
      await fillLocal(2_000);
      await pair.there.query(`
        create function slow() returns trigger language plpgsql as $$
        begin perform pg_sleep(0.001 * (select count(*) from added)); return null; end $$;
        create trigger slow after insert on ${WATER} referencing new table as added
          for each statement execute function slow()`);
      const hurried = withSetting(pair.ec2, "set statement_timeout = '700ms'");
      const report = await hurriedPair(pair, hurried).backfill({ mode: 'full', jobs: 2 });
      expect(report).to.include({ rowsInserted: 2_000, rowsSkipped: 0 });
      expect(report.ranges).to.be.at.least(4);
      await expectEqual();
    });

    it('splits a unit that is more than the server takes at once', async () => {
      await fillLocal(2_000);
      await pair.there.query(`
        create function limited() returns trigger language plpgsql as $$
        begin
          if (select count(*) from added) > 600 then
            raise exception 'limit exceeded by operation' using errcode = 'configuration_limit_exceeded';
          end if;
          return null;
        end $$;
        create trigger limited after insert on ${WATER} referencing new table as added
          for each statement execute function limited()`);
      const report = await pair.backfill({ mode: 'full', jobs: 2 });
      expect(report).to.include({ ranges: 4, rowsInserted: 2_000, rowsSkipped: 0 });
      await expectEqual();
    });
  });

  describe('where EC2 has no unique key', () => {
    it('adds each row once, however often it runs', async () => {
      await pair.dropKeys();
      await fillLocal(3_000);
      await pair.there.query(waterRows(0, 99));
      expect(await pair.backfill({ mode: 'full' })).to.include({ rowsInserted: 2_900, rowsSkipped: 100 });
      expect(await pair.backfill({ mode: 'full' })).to.include({ rowsInserted: 0, rowsSkipped: 3_000 });
      await expectEqual();
    });

    it('takes over the batches in flight, whose consumers write them no more', async () => {
      await pair.dropKeys();
      const repository = await pair.openRepository();
      const [batch] = await repository.primary.write({ units: unitsOf(readings(30)), rejects: [] });
      expect(ofWater(await pair.backfill())).to.include({ rowsInserted: 30 });
      expect(await repository.secondary!.send(batch!)).to.have.property('confirmed', false);
      await expectEqual();
      await repository.close();
      const again = await pair.backfill({ mode: 'ledger' });
      expect(again).to.include({ rowsInserted: 0, remainingGaps: 0 });
      expect(ofWater(again)).to.include({ rowsSkipped: 30 });
      await expectEqual();
    });

    it('reports copies that are too many, and prunes them down to one', async () => {
      await pair.dropKeys();
      await fillBoth(200);
      await pair.there.query(`
        insert into ${WATER} select * from ${WATER} where sensor_id = 'AWD-1';
        insert into ${WATER} select * from ${WATER} where sensor_id = 'AWD-1' and time < '2025-07-01T00:10:00Z';
        update ${WATER} set level_cm = 400 where ctid in (select max(ctid) from ${WATER} where sensor_id = 'AWD-1' group by time limit 5)`);
      const report = await pair.backfill();
      expect(report.rowsExtra).to.equal(47);
      expect(await pair.backfill({ prune: true })).to.include({ rowsPruned: 47, rowsExtra: 0 });
      await expectEqual();
    });

    it('counts copies where neither side has the key', async () => {
      await pair.dropKeys();
      await pair.dropKeys(pair.here);
      await fillLocal(300);
      await pair.here.query(`insert into ${WATER} select * from ${WATER} where sensor_id in ('AWD-1', 'AWD-2')`);
      await pair.here.query(`insert into ${WATER} (time, sensor_id, level_cm, rssi)
        select time, sensor_id, level_cm, 17 from ${WATER} where sensor_id = 'AWD-3'`);
      await pair.there.query(waterRows(0, 49));
      const report = await pair.backfill();
      expect(report).to.include({ rowsInserted: 300 + 86 + 43 - 50, rowsSkipped: 50, rowsRefused: 0, rowsExtra: 0 });
      await expectEqual();
      await pair.there.query(`insert into ${WATER} select * from ${WATER} where sensor_id = 'AWD-2'`);
      await pair.there.query(`update ${WATER} set rssi = 18 where rssi = 17`);
      expect((await pair.backfill({ prune: true })).rowsPruned).to.be.greaterThan(0);
      await expectEqual();
    });
  });

  describe('of sensor_registry', () => {
    it('brings and corrects its rows, and leaves those that only EC2 has', async () => {
      await pair.here.query(WATER_SENSORS);
      await pair.there.query(`${WATER_SENSORS}; insert into sensor_registry (sensor_id) values ('ONLY-THERE');
        delete from sensor_registry where sensor_id = 'AWD-1';
        update sensor_registry set is_active = false, metadata = '{"a": [1]}', location_lat = null where sensor_id = 'AWD-2'`);
      await pair.backfill();
      const { local, ec2 } = await pair.contents();
      expect(ec2.sensor_registry!.filter((row) => !row.includes('ONLY-THERE'))).to.deep.equal(local.sensor_registry);
      expect(ec2.sensor_registry).to.have.length(8);
    });

    it('lets live updates of a sensor wait between looking and correcting', async () => {
      await pair.query(WATER_SENSORS);
      await pair.there.query("update sensor_registry set is_active = false where sensor_id = 'AWD-1'");
      const hold = await holdWrites(pair, 'update', 'sensor_registry');
      const running = pair.backfill({ tables: ['sensor_registry'] });
      await hold.reached('%update %sensor_registry%');
      const update = "update sensor_registry set last_seen = '2030-01-01' where sensor_id = 'AWD-1'";
      await pair.here.query(update);
      let isThrough = false;
      const live = pair.there.query(update).then(() => (isThrough = true));
      await eventually('the live update waits, or is through', async () => {
        const { rowCount } = await pair.there.query(
          "select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'",
        );
        return isThrough || (rowCount ?? 0) > 0;
      });
      await hold.release();
      await Promise.all([running, live]);
      const { local, ec2 } = await pair.contents();
      expect(ec2.sensor_registry).to.deep.equal(local.sensor_registry);
    });

    it('loses no live update that happens meanwhile', async () => {
      const repository = await pair.openRepository();
      const done = new AbortController();
      const writing = (async () => {
        for (let batch = 0; !done.signal.aborted || batch < 10; batch += 1) {
          const [written] = await repository.primary.write({ units: unitsOf(readings(10, batch)), rejects: [] });
          repository.settlement.settle(written!, await repository.secondary!.send(written!));
        }
      })();
      for (let run = 0; run < 3; run += 1) {
        await pair.there.query(
          "update sensor_registry set is_active = false, metadata = '{}' where sensor_id < 'AWD-4'",
        );
        await pair.backfill({ tables: ['sensor_registry'] });
      }
      done.abort();
      await writing;
      await repository.close();
      await pair.backfill();
      await expectEqual();
    });
  });

  it('from EC2 to local adds what local lacks, and overwrites and deletes nothing', async () => {
    await fillBoth(300);
    await pair.here.query(`delete from ${WATER} where sensor_id = 'AWD-3'`);
    await pair.here.query(`update ${WATER} set rssi = 1 where time < '2025-07-01T00:01:00Z' and sensor_id <> 'AWD-3'`);
    await pair.there.query(`delete from ${WATER} where sensor_id = 'AWD-5'`);
    const before = await pair.contents();
    const report = await pair.backfill({ target: 'local' });
    expect(report).to.include({ rowsInserted: 43, rowsCorrected: 0, rowsPruned: 0 });
    const { local, ec2 } = await pair.contents();
    expect(ec2).to.deep.equal(before.ec2);
    expect(local[WATER]).to.include.members(before.local[WATER]!);
    expect(local[WATER]).to.have.length(300);
    expect(await pair.ledger()).to.deep.equal([]);
  });

  describe('back to local, once EC2 is the primary', () => {
    const back = { target: 'local', primary: 'ec2' } as const;

    beforeEach(() =>
      pair.query(`insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by)
        values (3, 'ec2-only', 3, 'ec2', 'the test')`),
    );

    it('repairs what the ledger of EC2 says that local missed', async () => {
      await fillBoth(300);
      await pair.here.query(`delete from ${WATER} where sensor_id = 'AWD-3'`);
      await pair.there.query(`update ${WATER} set rssi = 1 where time < '2025-07-01T00:01:00Z'`);
      await pair.there.query(
        `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state, reason)
         values (gen_random_uuid(), gen_random_uuid(), $1, tstzmultirange(tstzrange($2, $3)), 300, 'missed', 'by the test')`,
        [WATER, DAY.from, DAY.to],
      );
      const report = await pair.backfill({ ...back, mode: 'ledger' });
      expect(report).to.include({ ranges: 1, rowsInserted: 43, rowsCorrected: 5, remainingGaps: 0 });
      expect((await pair.there.query('select from sensorctl.ledger')).rowCount).to.equal(0);
      await expectEqual();
    });

    it('compares, and brings what differs: EC2 decides', async () => {
      await fillBoth(300);
      const before = await pair.contents();
      await pair.here.query(`delete from ${WATER} where sensor_id = 'AWD-3'`);
      await pair.here.query(`update ${WATER} set rssi = 1 where time < '2025-07-01T00:01:00Z'`);
      await pair.here.query("update sensor_registry set is_active = false where sensor_id = 'AWD-1'");
      const report = await pair.backfill(back);
      expect(report).to.include({ rowsInserted: 43, rowsCorrected: 6, rowsRefused: 0 });
      expect(ofWater(report)).to.include({ rowsInserted: 43, rowsCorrected: 5 });
      expect((await pair.contents()).ec2).to.deep.equal(before.ec2);
      await expectEqual();
    });

    it('loads an empty local, and joins a run that was begun before', async () => {
      await pair.there.query(`${WATER_SENSORS}; ${waterRows(0, 4_999)}`);
      const stop = new AbortController();
      const stopped = pair.backfill({ ...back, mode: 'full' }, { stop: stop.signal, onPlan: () => stop.abort() });
      await stopped.catch((error: unknown) => expect(error).to.be.instanceOf(InterruptedError));
      const report = await pair.backfill({ ...back, mode: 'full' });
      expect(report).to.include({ rowsInserted: 5_000, verified: 5_000 });
      await expectEqual();
    });
  });

  describe('as a run that any process may join', () => {
    /** Whether each run so far is finished. */
    async function runs(): Promise<boolean[]> {
      const { rows } = await pair.there.query<{ finished: boolean }>(
        'select finished_at is not null as finished from sensorctl.backfill order by backfill_id',
      );
      return rows.map(({ finished }) => finished);
    }

    /** Readings of so many minutes on local, and a run of which each minute is a unit. */
    async function planMinutes(minutes: number): Promise<void> {
      await fillLocal(minutes * 6);
      const { id } = await joinRun(pair.ec2.pool, scopeOf('full'));
      const start = Date.parse(DAY.from) * 1000;
      const minute = 60_000_000;
      await addUnits(
        pair.ec2.pool,
        id,
        Array.from({ length: minutes }, (_, n) => timed(start + n * minute, start + (n + 1) * minute, 6)),
      );
      await markPlanned(pair.ec2.pool, id, {});
    }

    it('is planned once, whoever begins it', async () => {
      await fillLocal(500);
      const plans: number[] = [];
      const hooks = { onPlan: ({ ranges }: { ranges: number }) => plans.push(ranges) };
      const reports = await Promise.all([1, 2, 3].map(() => pair.backfill({ mode: 'full' }, hooks)));
      expect(plans).to.have.length((await runs()).length);
      for (const report of reports) expect(report).to.include({ rowsCopied: 500 });
      await expectEqual();
    });

    it('is worked through together, each unit by one', async () => {
      await planMinutes(120);
      const reports = await Promise.all([1, 2, 3].map(() => pair.backfill({ mode: 'full', jobs: 2 })));
      for (const report of reports) expect(report).to.include({ ranges: 120, rowsCopied: 720, rowsInserted: 720 });
      expect(await runs()).to.deep.equal([true]);
      await expectEqual();
    });

    it('is planned by somebody else when the planner dies', async () => {
      await fillLocal(500);
      const { id } = await joinRun(pair.ec2.pool, scopeOf('full'));
      const planner = await pair.openSession('ec2');
      await planner.client.query("select pg_advisory_lock(hashtextextended('sensorctl.backfill ' || $1::text, 0))", [
        id,
      ]);
      await addUnits(pair.ec2.pool, id, [timed(0, 1, 1)]);
      const running = pair.backfill({ mode: 'full' });
      await eventually('it waits for the planner', async () => (await sessionsOf(pair.there)) >= 2);
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(0);
      planner.cut();
      expect(await running).to.include({ rowsInserted: 500 });
      expect(await runs()).to.deep.equal([true]);
      await expectEqual();
    });

    it('goes on where it was, and then looks again for what differs', async () => {
      await fillLocal(500);
      const { id } = await joinRun(pair.ec2.pool, scopeOf('differences'));
      const hour = 3_600_000_000;
      const start = Date.parse(DAY.from) * 1000;
      await addUnits(pair.ec2.pool, id, [timed(start, start + hour / 2, 180)]);
      await markPlanned(pair.ec2.pool, id, {});
      const report = await pair.backfill();
      expect(report).to.include({ rowsInserted: 500 });
      expect(await runs()).to.deep.equal([true, true]);
      await expectEqual();
    });

    it('copies with a window that has moved on what is new in it, too', async () => {
      await pair.query(WATER_SENSORS);
      await pair.here.query(
        `insert into ${WATER} (time, sensor_id, level_cm) values (now() - interval '2 minutes', 'AWD-1', 1)`,
      );
      const windowMicros = 3_600_000_000;
      const { id } = await joinRun(pair.ec2.pool, { ...scopeOf('full'), windowMicros });
      await markPlanned(pair.ec2.pool, id, {});
      await pair.backfill({ mode: 'full', windowMicros });
      expect(await runs()).to.deep.equal([true, true]);
      await expectEqual();
    });

    it('does not do a unit again that somebody finished while it was to be split', async () => {
      const { id } = await joinRun(pair.ec2.pool, scopeOf('full'));
      await addUnits(pair.ec2.pool, id, [timed(0, 1000, 10)]);
      await markPlanned(pair.ec2.pool, id, {});
      const { client } = await pair.openSession('ec2');
      const unit = await beginWithUnit(client, id, []);
      await client.query('rollback');
      await pair.there.query('update sensorctl.backfill_unit set done_at = now(), copied = 10');
      await splitUnit(pair.there, id, unit!);
      expect((await pair.there.query('select from sensorctl.backfill_unit')).rowCount).to.equal(1);
    });

    it('takes over the unit of a process that is frozen in the middle of a copy', async () => {
      await fillLocal(2_000);
      const { client: frozen } = await pair.openSession('ec2');
      const { id } = await joinRun(pair.ec2.pool, scopeOf('full'));
      const start = Date.parse(DAY.from) * 1000;
      await addUnits(pair.ec2.pool, id, [timed(start, start + 86_400_000_000, 2_000)]);
      await markPlanned(pair.ec2.pool, id, {});
      expect(await beginWithUnit(frozen, id, [])).to.include({ rows: 2_000 });
      const { from } = await import('pg-copy-streams');
      const input = frozen.query(from(`copy ${WATER} from stdin`));
      input.on('error', () => undefined);
      const running = pair.backfill({ mode: 'full' });
      await eventually('the copy counts as stalled', async () => (await endStalledCopies(pair.ec2, 200)) === 1);
      expect(await running).to.include({ rowsInserted: 2_000 });
      expect(await runs()).to.deep.equal([true]);
      await expectEqual();
    });

    it('ends after the unit at hand when it is told to stop, and goes on by the same request', async () => {
      await planMinutes(10);
      const hold = await holdWrites(pair, 'insert', WATER);
      const stop = new AbortController();
      const running = pair.backfill({ mode: 'full', jobs: 1 }, { stop: stop.signal }).then(
        () => 'done',
        (error: unknown) => (error as Error).name,
      );
      await hold.reached(`copy "public"."${WATER}"%`);
      stop.abort();
      await hold.release();
      expect(await running).to.equal('InterruptedError');
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(6);
      const report = await pair.backfill({ mode: 'full', jobs: 1 });
      expect(report, 'no unit twice').to.include({ ranges: 10, rowsCopied: 60, rowsInserted: 60 });
      await expectEqual();
    });
  });

  it('says which side it is that fails', async () => {
    await pair.here.query('drop schema sensorctl cascade');
    const error = await pair.backfill().then(
      () => null,
      (reason: unknown) => reason as Error,
    );
    expect(error?.message).to.match(/local database/);
    expect(nextStepFor(error)).to.equal('sensorctl init --side local');
  });

  it('a dry run changes nothing', async () => {
    await fillLocal(300);
    await pair.miss(WATER, DAY.from, DAY.to);
    for (const mode of ['ledger', 'differences', 'full'] as const) {
      const plan = await pair.plan({ mode });
      expect(plan.ranges, mode).to.be.greaterThan(0);
      expect(plan.rows, mode).to.be.greaterThan(0);
    }
    expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(0);
    expect((await pair.there.query('select from sensorctl.backfill')).rowCount).to.equal(0);
    expect(await pair.ledger()).to.have.length(1);
  });
});

function scopeOf(mode: string): object {
  const tables = ['water_level_readings', 'moisture_readings', 'sensor_readings', 'sensor_registry'];
  return { mode, tables, from: null, to: null, windowMicros: null, prune: false, given: [] };
}

/** A unit of times in µs. */
function timed(from: number, to: number, rows: number): PlannedUnit {
  return { table: WATER, part: { from, to }, isTimed: true, rows, level: 0, prune: false };
}

function readings(count: number, batch = 0): Reading[] {
  return Array.from({ length: count }, (_, index) => ({
    table: WATER,
    time: new Date(Date.parse(DAY.from) + (batch * count + index) * 1000).toISOString().replace('Z', '001Z'),
    sensorId: `AWD-${index % 7}`,
    sensorType: 'water-level',
    values: {
      level_cm: index,
      voltage: 3.85,
      rssi: -60,
      quality_score: 0.7,
      location_lat: 13 + batch,
      location_lng: 100,
    },
  }));
}

async function sessionsOf(pool: pg.Pool): Promise<number> {
  const { rowCount } = await pool.query(
    "select from pg_stat_activity where datname = current_database() and application_name = 'sensorctl test' and query like '%advisory_lock%'",
  );
  return rowCount ?? 0;
}

/** Lets statements of backfills that write so into a table of EC2 wait, until they are released. */
async function holdWrites(
  pair: PreparedPair,
  event: 'insert' | 'update',
  table: string,
): Promise<{
  reached: (query: string) => Promise<void>;
  release: () => Promise<void>;
}> {
  const { there } = pair;
  await there.query(`
    create function held() returns trigger language plpgsql as $$
    begin
      if current_setting('application_name') like 'sensorctl%' then perform pg_advisory_xact_lock_shared(42); end if;
      return null;
    end $$;
    create trigger held before ${event} on ${table} for each statement execute function held()`);
  const { client: holder } = await pair.openSession('ec2');
  await holder.query('select pg_advisory_lock(42)');
  const reached = async (query: string): Promise<void> => {
    await eventually(`"${query}" waits`, async () => {
      const { rowCount } = await there.query(
        `select from pg_stat_activity where datname = current_database() and wait_event = 'advisory' and query like $1`,
        [query],
      );
      return rowCount === 1;
    });
  };
  const release = async (): Promise<void> => {
    await holder.query('select pg_advisory_unlock(42)');
  };
  return { reached, release };
}

function withSetting(database: Database, sql: string): Database {
  const openSession = async (): Promise<pg.Client> => {
    const session = await database.openSession();
    await session.query(sql);
    return session;
  };
  return { ...database, openSession };
}

function hurriedPair(pair: PreparedPair, ec2: Database): PreparedPair {
  return Object.assign(Object.create(PreparedPair.prototype) as PreparedPair, pair, { ec2 });
}
