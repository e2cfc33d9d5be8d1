// A switch there and back while programs write at random, what phase 3 wrote brought back, with and without --follow.
import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import { silentLogger } from '../../src/lib/logger.js';
import { follow } from '../../src/lib/operations/backfill/follow.js';
import { switchPrimary } from '../../src/lib/operations/cutover/switch.js';
import { prepareSides } from '../../src/lib/operations/init.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { readRecordedState } from '../../src/lib/repository/phase/state.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { contentOf, createWatched, runTransactionAtRandom, WATCHED } from '../support/random-writers.js';
import { newSeed } from '../support/seed.js';
import { ec2Server, localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TRANSACTIONS = process.env.SENSORCTL_TEST_ALL === 'true' ? 600 : 60;
const WRITERS = 3;
const WHY = { by: 'test', reason: null, overriddenGates: [] };

for (const follows of [false, true]) {
  describe(`a switch there and back beside random programs, ${follows ? 'with' : 'without'} --follow`, function () {
    this.timeout(60_000 + TRANSACTIONS * 2_000);
    let local: TrackedSide;
    let ec2: TrackedSide;
    const random = createRandom(newSeed());
    const stop = new AbortController();
    let following: Promise<void> = Promise.resolve();

    before(async () => {
      local = await TrackedSide.open(await localServer(), 'switch random', {
        side: 'local',
        sql: createWatched(false),
      });
      ec2 = await TrackedSide.open(await ec2Server(), 'switch random', { side: 'ec2', sql: createWatched(false) });
      await prepareSides([local.database, ec2.database], { addKeys: false });
      for (const side of [local, ec2]) await side.track(...WATCHED.map(({ name }) => name));
      const first = await recordFirstPhase(local.database, WHY);
      await copyRecord(ec2.database, await changePhase(local.database, first, { ...WHY, phase: 2 }));
      if (!follows) return;
      const sides = { local: local.database, ec2: ec2.database };
      following = follow(sides, {
        maxRate: null,
        stop: stop.signal,
        logger: silentLogger,
        onTurn: () => undefined,
      });
    });

    after(async () => {
      stop.abort();
      await following;
      await local.close();
      await ec2.close();
    });

    async function write(side: TrackedSide, transactions = TRANSACTIONS): Promise<void> {
      const clients = await Promise.all(Array.from({ length: WRITERS }, () => side.pool.connect()));
      try {
        await Promise.all(
          clients.map(async (client) => {
            const own = createRandom(Math.floor(random() * 2 ** 31));
            for (let left = transactions; left > 0; left -= 1) await runTransactionAtRandom(client, own);
          }),
        );
      } finally {
        for (const client of clients) client.release(true);
      }
    }

    async function change(from: TrackedSide, to: TrackedSide): Promise<void> {
      const state = await readRecordedState(from.database.pool);
      await switchPrimary({
        ...{ from: from.database, to: to.database, state, targetPhase: from === local ? 3 : 2, why: WHY },
        ...{ keepLocalCurrent: false, endWriters: false, force: false, maxPauseMs: 30_000 },
        ...{ stop: new AbortController().signal, logger: silentLogger, onStep: () => undefined },
      });
    }

    async function expectEqual(): Promise<void> {
      const [here, there] = [await contentOf(local), await contentOf(ec2)];
      for (const { name } of WATCHED) expect(there[name], name).to.have.members(here[name]!);
    }

    it('loses nothing in either direction: both sides are equal after each switch, and no entry is left behind', async () => {
      await write(local);
      await change(local, ec2);
      await expectEqual();
      await write(ec2);
      // Nobody keeps local current but --follow: there is much to bring back.
      if (!follows) expect(await contentOf(local)).not.to.deep.equal(await contentOf(ec2));
      await change(ec2, local);
      await expectEqual();
      for (const side of [local, ec2]) expect(await side.entries()).to.deep.equal([]);
      await write(local);
      await change(local, ec2);
      await change(ec2, local);
      await expectEqual();
    });
  });
}
