// The switch of the primary and those who take part in it: consumers that sleep, that are held back, that were started with
// an old configuration; and the most telling strikes of test/switch, which strikes everybody at each step.
import { expect } from 'chai';
import { closeDatabase } from '../../src/lib/db/database.js';
import { UnreachableError } from '../../src/lib/errors.js';
import { accountOn } from '../chaos/invariants.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { ChaosStage } from '../chaos/stage.js';
import { Ahead } from '../support/ahead.js';
import { eventually, readContent } from '../support/cli.js';
import { COMMITTED } from '../support/proxy.js';
import { shareServers } from '../support/shared-servers.js';
import { Arena } from '../switch/arena.js';
import { describeStrike, strike, type Strike } from '../switch/strike.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(20250702);
const COMMIT_POINT = 'sensorctl.commit_switch';

describe('the switch', function () {
  this.timeout(120_000);
  this.slow(30_000);
  const ahead = new Ahead();
  const servers = shareServers(() => ahead.end());

  /** A test in phase 2, with consumers that follow it; there never are two primaries. */
  function scenario(
    title: string,
    consumers: number,
    run: (arena: Arena) => Promise<void>,
    declare: (title: string, run: () => Promise<void>) => void = (...test) => ahead.it(...test),
  ): void {
    declare(title, async () => {
      const arena = await Arena.open({ seed: SEED, consumers, rate: 60, servers: servers() });
      try {
        await run(arena);
      } catch (error) {
        (error as Error).message += `\n${await arena.describe()}`;
        throw error;
      } finally {
        expect(await arena.close(), 'moments with two primaries').to.deep.equal([]);
      }
    });
  }

  scenario('a consumer that slept through it writes nothing to local, and goes on with EC2', 2, async (arena) => {
    await arena.send(100);
    await arena.calm();
    const [sleeper, other] = arena.consumers;
    sleeper!.kill('SIGSTOP');
    await arena.switch();
    const kept = await readContent(arena.stage.local);
    await arena.send(100);
    other!.kill('SIGTERM');
    sleeper!.kill('SIGCONT');
    expect((await other!.wait()).code).to.equal(0);
    arena.consumers.pop();
    await arena.send(100);
    expect(await arena.audit(await arena.calm())).to.deep.equal([]);
    expect(await readContent(arena.stage.local)).to.deep.equal(kept);
    expect(sleeper!.stderr).to.match(/EC2 is the primary[^]*EC2 write successful/);
  });

  scenario(
    'one that sleeps in the middle of its local transaction is ended on the server; its messages go to EC2',
    1,
    async (arena) => {
      await arena.send(50);
      await arena.calm();
      const [sleeper] = arena.consumers;
      const kept = await readContent(arena.stage.local);
      const blocker = await arena.stage.local.connect();
      await blocker.query('begin; lock table water_level_readings in exclusive mode');
      try {
        await arena.send(50);
        await eventually('its transaction holds the fence, and waits', () => holdsFenceAndWaits(arena));
        sleeper!.kill('SIGSTOP');
        const { steps } = await arena.switch();
        const waited = steps.find(({ name }) => name === 'wait for writers');
        expect(waited?.detail).to.match(/[1-9]\d* transactions? that hung/);
      } finally {
        blocker.release(true);
        sleeper!.kill('SIGCONT');
      }
      expect(await arena.audit(await arena.calm())).to.deep.equal([]);
      expect(await readContent(arena.stage.local)).to.deep.equal(kept);
    },
  );

  scenario(
    'a consumer that is held back to local ends when it comes, says why, and loses nothing',
    0,
    async (arena) => {
      const heldBack = await arena.addConsumer({ ENABLE_DUAL_WRITE: 'false' });
      await arena.ready();
      await arena.send(30);
      await eventually('the queue is empty', () => arena.stage.isQueueEmpty());
      expect(await readReasons(arena, 'local'), 'its batches enter the ledger').to.deep.equal([
        'missed: dual write was off',
      ]);
      await arena.switch();
      const kept = await readContent(arena.stage.local);
      await arena.send(30);
      const { code, stderr } = await heldBack.wait();
      expect(code, stderr).to.equal(4);
      expect(stderr).to.match(/phase 3: EC2 is the primary, and this consumer was told to write to local only/);
      arena.consumers.pop();
      await arena.addConsumer();
      expect(await arena.audit(await arena.calm())).to.deep.equal([]);
      expect(await readContent(arena.stage.local)).to.deep.equal(kept);
    },
  );

  scenario('after it no flag and no old configuration makes a consumer write to local', 0, async (arena) => {
    const { stage } = arena;
    await arena.switch();
    const kept = await readContent(stage.local);
    const bodies = await arena.send(30);
    const withoutEc2 = { EC2_DB_HOST: undefined };
    for (const [args, settings, code, reason] of [
      [['--no-dual-write'], {}, 4, /told to write to local only/],
      [[], withoutEc2, 2, /EC2_DB_HOST is not set/],
      [['--no-dual-write'], withoutEc2, 2, /EC2_DB_HOST is not set/],
    ] as const) {
      const refused = await (await stage.consume(['--drain', ...args], settings)).wait();
      expect(refused.code, refused.stderr).to.equal(code);
      expect(refused.stderr).to.match(reason);
      expect(refused.stderr).to.match(/^Next: /m);
    }
    expect((await stage.queue.readState()).visible, 'nothing was received').to.equal(bodies.length);
    const drained = await stage.drain(['--dual-write']);
    expect(drained, 'true does not push past the phase').to.include({ confirmed: 0, missed: 0 });
    expect(await readContent(stage.local)).to.deep.equal(kept);
    expect(await readReasons(arena, 'ec2')).to.deep.equal(['missed: local was not kept current']);
    expect(await accountOn(stage.ec2, [stage.local, stage.ec2], bodies)).to.deep.equal([]);
  });

  ahead.it(
    'a local that was restored from phase 2 while EC2 was away takes no batch any more soon after EC2 is back',
    async () => {
      const stage = await ChaosStage.open(servers(), { seed: SEED });
      try {
        const record = (phase: number, epoch: number, primary: string) =>
          `insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by)
         values (${phase}, 'dual-write', ${epoch}, '${primary}', 'a test')`;
        await stage.ec2.query(record(3, 5, 'ec2'));
        await stage.local.query(record(2, 2, 'local'));
        stage.network.ec2.refuse();
        const telemetry = [
          ...generateTelemetry({ seed: SEED, count: 40, startMicros: Date.now() * 1000 - 60_000_000 }),
        ];
        await stage.consume([]);
        await stage.send(telemetry.slice(0, 20));
        await eventually('it cannot know better: local takes them', () => stage.isQueueEmpty());
        const kept = await readContent(stage.local);
        await stage.network.ec2.pass();
        await eventually('local is behind the fence', async () => {
          const { rows } = await stage.local.query<{ primary: string }>(
            'select primary_side as primary from sensorctl.state',
          );
          return rows[0]?.primary === 'ec2';
        });
        await stage.send(telemetry.slice(20));
        await eventually('the queue is empty', () => stage.isQueueEmpty());
        expect(await readContent(stage.local)).to.deep.equal(kept);
        const sensors = await stage.ec2.query('select from sensor_registry');
        expect(sensors.rowCount).to.be.greaterThan(0);
      } catch (error) {
        (error as Error).message += `\nseed ${SEED}\n${stage.readLogs()}`;
        throw error;
      } finally {
        await stage.close();
      }
    },
  );

  scenario(
    'whose commit is answered by nobody, since local dies with it, is completed by a consumer',
    2,
    async (arena) => {
      arena.startLoad();
      const sides = arena.openOverNetwork();
      const lost = arena.stage.network.local
        .swallowAnswer(COMMIT_POINT, COMMITTED, 'reset')
        .then(() => arena.servers.local.stop('immediate'));
      const error = await arena.switch(undefined, { sides, maxPauseMs: 2_000 }).then(
        () => null,
        (failure: unknown) => failure as Error,
      );
      await lost;
      expect(error?.message, 'nothing is claimed that is not known').to.match(/did not say whether it committed/);
      expect(error).to.be.instanceOf(UnreachableError);
      await arena.servers.local.start();
      const state = await arena.calm();
      expect(state).to.include({ phase: 3, primary: 'ec2' });
      expect(await arena.audit(state)).to.deep.equal([]);
      await Promise.all([closeDatabase(sides.local), closeDatabase(sides.ec2)]);
    },
    // It stops a server that the others use.
    it,
  );

  describe('struck', () => {
    let arena: Arena;

    before(async () => {
      arena = await Arena.open({ seed: SEED, consumers: 2, rate: 60, servers: servers() });
    });

    after(async () => {
      expect(await arena.close(), 'moments with two primaries').to.deep.equal([]);
    });

    const strikes: readonly [Strike, string | RegExp][] = [
      [{ from: 2, step: 'drain', victim: 'operator', blow: 'killed' }, 'gone back'],
      [{ from: 2, step: 'switch', victim: 'operator', blow: 'frozen' }, 'gone back'],
      [{ from: 2, step: 'drain', victim: 'ec2', blow: 'killed' }, /gone back|switched/],
      [{ from: 2, step: 'complete', victim: 'operator', blow: 'killed' }, 'switched'],
      [{ from: 3, step: 'compare', victim: 'consumer', blow: 'killed' }, 'switched'],
    ];
    for (const [one, expected] of strikes) {
      it(`${describeStrike(one)}: ${typeof expected === 'string' ? expected : 'the one phase or the other'}`, async () => {
        try {
          expect(await strike(arena, one)).to.match(new RegExp(expected));
        } catch (error) {
          (error as Error).message += `\n${await arena.describe()}`;
          throw error;
        }
      });
    }
  });
});

async function holdsFenceAndWaits({ stage }: Arena): Promise<boolean> {
  const { rowCount } = await stage.local.query(`
    select from pg_locks as waiting join pg_locks as fence using (pid)
    where not waiting.granted and waiting.relation = 'water_level_readings'::regclass
      and fence.relation = 'sensorctl.fence'::regclass and fence.mode = 'RowExclusiveLock' and fence.granted`);
  return (rowCount ?? 0) > 0;
}

async function readReasons({ stage }: Arena, side: 'local' | 'ec2'): Promise<string[]> {
  const { rows } = await stage[side].query<{ state: string; reason: string | null }>(
    'select distinct state, reason from sensorctl.ledger order by 1, 2',
  );
  return rows.map(({ state, reason }) => `${state}: ${reason ?? ''}`);
}
