import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import { culpritOf } from '../../src/lib/repository/repair/repair-in-parts.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { backfillSides } from '../support/backfilled.js';
import { skipSuite } from '../support/cli.js';
import { LateConsumer } from '../support/late-consumer.js';
import { contentOf, createWatched, moveChunks, runTransactionAtRandom, WATCHED } from '../support/random-writers.js';
import { newSeed } from '../support/seed.js';
import { ec2Server, localServer, timescaleServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TRANSACTIONS = process.env.SENSORCTL_TEST_ALL === 'true' ? 600 : 40;
const WRITERS = 3;
const REPAIRS = 2;
const CONSUMERS = 2;

const COMPRESSED_KEYLESS = `
  create table rain (time timestamptz not null, mm int);
  select create_hypertable('rain', 'time', chunk_time_interval => interval '1 day');
  alter table rain set (timescaledb.compress)`;

for (const timescaleDb of [false, true]) {
  describe(`repair of what other programs write ${timescaleDb ? 'to hypertables' : 'to plain tables'}`, function () {
    this.timeout(TRANSACTIONS * 3_000);
    let local: TrackedSide;
    let ec2: TrackedSide;

    before(async function () {
      const found = await serversOf(timescaleDb);
      if ('missing' in found) return skipSuite(this, found.missing);
      const sql = `${timescaleDb ? 'create extension timescaledb;' : ''}${createWatched(timescaleDb)}`;
      local = await TrackedSide.open(found.local, 'repair tracked', { side: 'local', sql });
      ec2 = await TrackedSide.open(found.ec2, 'repair tracked', { side: 'ec2', sql });
      for (const side of [local, ec2]) await side.track(...WATCHED.map(({ name }) => name));
      // What `cutover --phase 1` records, so that EC2 refuses everybody else.
      await ec2.run("update sensorctl.primary_record set primary_side = 'local'");
    });

    after(async () => {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- where there is no TimescaleDB
      for (const side of [local, ec2]) await side?.close();
    });

    async function repairOnce(): Promise<number> {
      const options = { primary: local.database, secondary: ec2.database, states: ['missed'] as const };
      for (const entries of [50, 1]) {
        try {
          return (await repairMissed({ ...options, entries })).entries;
        } catch (error) {
          // What refers to a row that is not there yet waits for it.
          if (culpritOf(error) === null) throw error;
        }
      }
      return 0;
    }

    async function repairAll(): Promise<void> {
      const left = async (): Promise<number> => (await ledgerOf(local)).length;
      for (let before = await left(), tries = 0; before > 0 && tries < 20; before = await left()) {
        await repairOnce();
        tries = (await left()) < before ? 0 : tries + 1;
      }
      expect(await ledgerOf(local)).to.deep.equal([]);
    }

    it('refuses everybody else on EC2', async () => {
      const refused = await ec2.run("insert into parent values (1, 'not here')").then(
        () => 'done',
        (error: unknown) => (error as pg.DatabaseError).code,
      );
      expect(refused).to.equal('25006');
    });

    if (timescaleDb)
      it('carries what is gone of a table without a key into its compressed chunks, down to one of two equal rows', async () => {
        for (const side of [local, ec2]) {
          await side.run(COMPRESSED_KEYLESS);
          await side.track('rain');
        }
        await local.run(
          `insert into rain values ('2025-07-01Z', 1), ('2025-07-01Z', 1), ('2025-07-01Z', 2), ('2025-07-09Z', 1)`,
        );
        await repairAll();
        for (const side of [local, ec2])
          await side.run("select count(compress_chunk(c)) from show_chunks('rain') as c");
        await local.run('delete from rain where mm = 2');
        await local.run(
          `delete from rain where time = '2025-07-01Z'; insert into rain values ('2025-07-01Z', 1), ('2025-07-02Z', 3)`,
        );
        await repairAll();
        const rows = async (side: TrackedSide): Promise<unknown> =>
          (await side.pool.query('select time::text, mm from rain order by 1, 2')).rows;
        expect(await rows(ec2)).to.deep.equal(await rows(local));
        const { rows: compressed } = await ec2.pool.query(
          `select from timescaledb_information.chunks where hypertable_name = 'rain' and is_compressed`,
        );
        expect(compressed, 'those that were not touched stay compressed too').to.have.length(2);
      });

    /** Commits batches, and lets their sends come when they like. */
    async function consumeWhile(isOn: () => boolean, random: () => number): Promise<LateConsumer> {
      const consumer = await LateConsumer.open({ primary: local.database, secondary: ec2.database }, random);
      while (isOn()) {
        if (random() < 0.4) await consumer.commit();
        await consumer.moveOn();
      }
      return consumer;
    }

    /** Units over all that is there, of tables that others delete from meanwhile. */
    async function backfillWhile(isOn: () => boolean, onCopied: (rows: number) => void): Promise<void> {
      const sides = { local: local.database, ec2: ec2.database };
      while (isOn()) onCopied((await backfillSides(sides, { mode: 'full', tables: ['readings'] })).rowsCopied);
    }

    /**
     * With TimescaleDB, where whoever moves chunks waits for writers, and they for it, a third of the transactions; more until
     * all else has had its turn.
     */
    async function writeAtRandom(random: () => number, isEnough: () => boolean): Promise<void> {
      const client = await local.pool.connect();
      for (let left = timescaleDb ? TRANSACTIONS / 3 : TRANSACTIONS; left > 0 || !isEnough(); left -= 1) {
        if (timescaleDb && random() < 0.15) await moveChunks(client, random);
        await runTransactionAtRandom(client, random);
      }
      client.release(true);
    }

    async function expectEqual(): Promise<Record<string, string[]>> {
      const [here, there] = [await contentOf(local), await contentOf(ec2)];
      for (const { name } of WATCHED) expect(there[name], name).to.have.members(here[name]!);
      return here;
    }

    it('makes EC2 what local is after random programs, beside consumers, repairs and a backfill, and in the end', async () => {
      const random = createRandom(newSeed());
      const own = (): (() => number) => createRandom(Math.floor(random() * 2 ** 31));
      let running = WRITERS;
      let copied = 0;
      const isOn = (): boolean => running > 0;
      const write = (): Promise<void> => writeAtRandom(own(), () => copied > 0);
      const writing = Array.from({ length: WRITERS }, () => write().finally(() => (running -= 1)));
      const repairing = Array.from({ length: REPAIRS }, async () => {
        while (isOn()) await repairOnce();
      });
      const consuming = Array.from({ length: CONSUMERS }, () => consumeWhile(isOn, own()));
      const backfilling = backfillWhile(isOn, (rows) => (copied += rows));
      await Promise.all([...writing, ...repairing, ...consuming, backfilling]);
      const consumers = await Promise.all(consuming);
      await Promise.all(consumers.map((consumer) => consumer.settleAll()));
      await repairAll();
      // Sends that hung all the while arrive now, past the ledger.
      for (const consumer of consumers) await consumer.landAll();
      for (const consumer of consumers) await consumer.close();
      const here = await expectEqual();
      expect(await ledgerOf(local)).to.deep.equal([]);
      expect(Object.values(here).filter((rows) => rows.length > 0).length).to.be.greaterThan(4);
      const sends = { written: sum(consumers, 'landed') > 0, left: sum(consumers, 'left') > 0 };
      expect(sends).to.deep.equal({ written: true, left: true });
      expect(copied, 'rows that units copied').to.be.greaterThan(0);
    });
  });
}

/** Entries of consumers, too. */
async function ledgerOf({ pool }: TrackedSide): Promise<unknown[]> {
  const { rows } = await pool.query<Record<string, unknown>>('select * from sensorctl.ledger');
  return rows;
}

function sum(consumers: readonly LateConsumer[], what: 'landed' | 'left'): number {
  return consumers.reduce((total, consumer) => total + consumer[what], 0);
}

async function serversOf(timescaleDb: boolean): Promise<{ missing: string } | Record<'local' | 'ec2', PostgresServer>> {
  if (!timescaleDb) return { local: await localServer(), ec2: await ec2Server() };
  const [local, ec2] = [await timescaleServer('local'), await timescaleServer('ec2')];
  if ('missing' in local) return local;
  return 'missing' in ec2 ? ec2 : { local: local.server, ec2: ec2.server };
}
