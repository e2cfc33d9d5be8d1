import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import { culpritOf } from '../../src/lib/repository/repair/repair-in-parts.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { skipSuite } from '../support/cli.js';
import { contentOf, createWatched, runTransactionAtRandom, WATCHED } from '../support/random-writers.js';
import { newSeed } from '../support/seed.js';
import { ec2Server, localServer, timescaleServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TRANSACTIONS = process.env.SENSORCTL_TEST_ALL === 'true' ? 600 : 40;
const WRITERS = 3;
const REPAIRS = 2;

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
      const left = async (): Promise<number> => (await local.entries()).length;
      for (let before = await left(), tries = 0; before > 0 && tries < 20; before = await left()) {
        await repairOnce();
        tries = (await left()) < before ? 0 : tries + 1;
      }
      expect(await local.entries()).to.deep.equal([]);
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

    it('makes EC2 what local is after random programs, beside repairs, and in the end', async () => {
      const random = createRandom(newSeed());
      const clients = await Promise.all(Array.from({ length: WRITERS }, () => local.pool.connect()));
      let running = WRITERS;
      const writing = clients.map(async (client) => {
        const own = createRandom(Math.floor(random() * 2 ** 31));
        for (let left = TRANSACTIONS; left > 0; left -= 1) await runTransactionAtRandom(client, own);
        running -= 1;
      });
      const repairing = Array.from({ length: REPAIRS }, async () => {
        while (running > 0) await repairOnce();
      });
      try {
        await Promise.all([...writing, ...repairing]);
        await repairAll();
        const [here, there] = [await contentOf(local), await contentOf(ec2)];
        for (const { name } of WATCHED) expect(there[name], name).to.have.members(here[name]!);
        expect(Object.values(here).filter((rows) => rows.length > 0).length).to.be.greaterThan(4);
      } finally {
        for (const client of clients) client.release(true);
      }
    });
  });
}

async function serversOf(timescaleDb: boolean): Promise<{ missing: string } | Record<'local' | 'ec2', PostgresServer>> {
  if (!timescaleDb) return { local: await localServer(), ec2: await ec2Server() };
  const [local, ec2] = [await timescaleServer('local'), await timescaleServer('ec2')];
  if ('missing' in local) return local;
  return 'missing' in ec2 ? ec2 : { local: local.server, ec2: ec2.server };
}
