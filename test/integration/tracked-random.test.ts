import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { skipSuite } from '../support/cli.js';
import {
  createWatched,
  findUncovered,
  moveChunks,
  runTransactionAtRandom,
  takeSample,
  WATCHED,
  type Sample,
} from '../support/random-writers.js';
import { newSeed } from '../support/seed.js';
import { localServer, timescaleServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const WRITERS = 4;
/** A third of them with TimescaleDB, where whoever moves chunks waits for writers, and they for it. */
const TRANSACTIONS = process.env.SENSORCTL_TEST_ALL === 'true' ? 1_000 : 60;
for (const timescaleDb of [false, true]) {
  describe(`random writers to tracked tables ${timescaleDb ? 'of TimescaleDB' : 'of PostgreSQL alone'}`, function () {
    this.timeout(TRANSACTIONS * 3_000);
    let side: TrackedSide;

    before(async function () {
      const server = timescaleDb ? await timescaleServer('local') : { server: await localServer() };
      if ('missing' in server) return skipSuite(this, server.missing);
      side = await open(server.server, timescaleDb);
    });

    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- where there is no TimescaleDB
    after(() => side?.close());

    it('change no row that the ledger does not name, and nothing is gone that it does not say so of', async () => {
      const random = createRandom(newSeed());
      const seeds = Array.from({ length: WRITERS }, () => Math.floor(random() * 2 ** 31));
      const clients = await Promise.all(Array.from({ length: WRITERS + 1 }, () => side.pool.connect()));
      const [watcher, ...writers] = clients as [pg.PoolClient, ...pg.PoolClient[]];
      let running = WRITERS;
      const samples: Sample[] = [];
      const named = (): Set<string> => new Set(samples.at(-1)?.entries.map(({ table }) => table));
      const touched = timescaleDb ? ['readings', 'parent', 'child'] : WATCHED.map(({ name }) => name);
      // By some seeds so few transactions leave a table out: then there are more.
      const isEnough = (): boolean => touched.every((table) => named().has(table));
      const work = writers.map(async (client, index) => {
        const own = createRandom(seeds[index]!);
        for (let left = timescaleDb ? TRANSACTIONS / 3 : TRANSACTIONS; left > 0 || !isEnough(); left -= 1)
          await runTransactionAtRandom(client, own);
      });
      for (const each of work) void each.finally(() => (running -= 1)).catch(() => undefined);
      try {
        samples.push(await takeSample(watcher, side.database));
        const uncovered: string[] = [];
        while (running > 0) {
          if (timescaleDb && random() < 0.1) await moveChunks(watcher, random);
          uncovered.push(...look(samples, await takeSample(watcher, side.database)));
        }
        await Promise.all(work);
        uncovered.push(...look(samples, await takeSample(watcher, side.database)));
        expect(uncovered).to.deep.equal([]);
        expect([...named()]).to.include.members(touched);
        expect(samples.length).to.be.greaterThan(3);
      } finally {
        for (const client of clients) client.release(true);
      }
    });

    it('would not go unseen if they did', async () => {
      const client = await side.pool.connect();
      const changes = ["update elder set note = 'unseen'", 'delete from elder'];
      await client.query("insert into elder values (77, 'seen')");
      await client.query('alter table elder disable trigger user; alter table younger disable trigger user');
      try {
        for (const change of changes) {
          const before = await takeSample(client, side.database);
          await client.query(change);
          expect(findUncovered(before, await takeSample(client, side.database))).to.include('elder ["77"]');
        }
      } finally {
        client.release(true);
      }
    });
  });
}

function look(samples: Sample[], sample: Sample): string[] {
  const before = samples.at(-1)!;
  samples.push(sample);
  return findUncovered(before, sample);
}

async function open(server: PostgresServer, timescaleDb: boolean): Promise<TrackedSide> {
  const sql = `${timescaleDb ? 'create extension timescaledb;' : ''}${createWatched(timescaleDb)}`;
  const side = await TrackedSide.open(server, 'random writers', { sql });
  await side.track(...WATCHED.map(({ name }) => name));
  return side;
}
