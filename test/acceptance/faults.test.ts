// The dual write under faults: each test tries to break one promise, with real consumers, servers, and a network between.
import { setTimeout as sleep } from 'node:timers/promises';

import { expect } from 'chai';

import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { renderSurvived, runChaos } from '../chaos/chaos.js';
import { account, countUnsettled, Observer } from '../chaos/invariants.js';
import { poison, SPACING_MS } from '../chaos/load.js';
import { ChaosStage, startServers, stopServers } from '../chaos/stage.js';
import { Ahead } from '../support/ahead.js';
import { eventually, readContent, type RunningCli } from '../support/cli.js';
import { COMMITTED, READY_FOR_QUERY } from '../support/proxy.js';
import { shareServers } from '../support/shared-servers.js';
import { seedOf } from '../support/seed.js';

const PRIMARY_BATCH = 'sensorctl primary';
const SECONDARY_BATCH = 'sensorctl secondary';
const SEED = seedOf(20250701);
/** Longer than a confirmed batch waits to be settled. */
const SETTLING_MS = 500;
const HEALED_WITHIN_MS = 120_000;

describe('the dual write under faults', function () {
  this.timeout(180_000);
  this.slow(30_000);
  const ahead = new Ahead();
  const shared = shareServers(() => ahead.end());

  /** A scenario on databases of its own; on servers of its own, where it stops or freezes them. */
  function scenario(title: string, run: (stage: ChaosStage) => Promise<void>, own = false): void {
    ahead.it(title, () => play(run, own));
  }

  async function play(run: (stage: ChaosStage) => Promise<void>, own = false): Promise<void> {
    const servers = own ? await startServers({ durable: false }) : shared();
    const stage = await ChaosStage.open(servers);
    try {
      await run(stage);
    } catch (error) {
      (error as Error).message += `\n${stage.readLogs()}`;
      throw error;
    } finally {
      await stage.close();
      if (own) await stopServers(servers);
    }
  }

  for (const keyless of [false, true]) {
    const where = keyless ? ', also where EC2 has no unique key' : '';
    scenario(`a timeout whose EC2 write had committed adds nothing on retry${where}`, async (stage) => {
      if (keyless) await stage.dropKeysOfEc2();
      const bodies = telemetry(30);
      await stage.send(bodies);
      const committed = stage.network.ec2.swallowAnswer(SECONDARY_BATCH, READY_FOR_QUERY, 'silence');
      const drained = await stage.drain();
      await committed;
      expect(drained.stderr).to.match(/EC2 write failed .*attempt=1 attempts=4/);
      expect(drained).to.include({ missed: 0, confirmed: drained.accepted });
      expect(await countUnsettled(stage)).to.equal(0);
      expect(await account(stage, bodies)).to.deep.equal([]);
    });
  }

  scenario('a statement to EC2 that is cut off in the middle is repeated whole', async (stage) => {
    const bodies = telemetry(30);
    await stage.send(bodies);
    const cut = stage.network.ec2.cutRequest(SECONDARY_BATCH);
    const drained = await stage.drain();
    await cut;
    expect(drained).to.include({ missed: 0, confirmed: drained.accepted });
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario('an ambiguous local commit leaves no entry pending under a living consumer', async (stage) => {
    const bodies = telemetry(30);
    const consumer = await stage.consume();
    await logged(consumer, 'Initializing');
    const committed = stage.network.local.swallowAnswer(PRIMARY_BATCH, COMMITTED, 'reset');
    await stage.send(bodies);
    await committed;
    await logged(consumer, 'ledger entries of unanswered commits are now missed');
    await settled(stage);
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario('one reading of 1970 and one of today make two small gaps', async (stage) => {
    const bodies = ['1970-01-01T00:00:00Z', '2025-07-01T00:00:00Z'].map((timestamp) => weather('WX-1', timestamp));
    await stage.send(bodies);
    stage.network.ec2.refuse();
    const { gaps, missed } = await stage.drain();
    expect(missed).to.equal(2);
    expect(gaps.map(({ table, from, to }) => [table, from, to])).to.deep.equal([
      ['sensor_readings', '1970-01-01T00:00:00.000000Z', '1970-01-01T00:00:00.000001Z'],
      ['sensor_readings', '2025-07-01T00:00:00.000000Z', '2025-07-01T00:00:00.000001Z'],
    ]);
  });

  scenario('what EC2 alone refuses stays local, is named with its reason, and the rest arrives', async (stage) => {
    await stage.ec2.query(`
      create table site (sensor_id text primary key);
      insert into site select 'WX-' || n from generate_series(1, 20) as n where n <> 7;
      alter table sensor_readings
        add constraint known_site foreign key (sensor_id) references site,
        add constraint no_eleven check (sensor_id <> 'WX-11')`);
    const bodies = Array.from({ length: 20 }, (_, index) => weather(`WX-${index + 1}`, '2025-07-01T00:00:00Z'));
    await stage.send(bodies);
    const drained = await stage.drain();
    expect(drained).to.include({ accepted: 20, confirmed: 18, refusedBySecondary: 2, missed: 0 });
    const { rows } = await stage.local.query<{ sensor_id: string; state: string; reason: string }>(
      'select sensor_id, state, reason from sensorctl.ledger order by sensor_id',
    );
    expect(rows.map(({ sensor_id, state }) => [sensor_id, state])).to.deep.equal([
      ['WX-11', 'refused'],
      ['WX-7', 'refused'],
    ]);
    expect(rows[0]?.reason).to.match(/23514.*no_eleven/);
    expect(rows[1]?.reason).to.match(/23503.*known_site/);
    expect(await new Observer(stage).look()).to.deep.equal([]);
    const onEc2 = await stage.ec2.query('select from sensor_readings');
    expect(onEc2.rowCount).to.equal(18);
  });

  scenario(
    'what a killed consumer left pending counts as missed when its lease ends, and another repairs it',
    async (stage) => {
      const bodies = telemetry(30);
      stage.network.ec2.blackHole();
      await stage.send(bodies);
      const first = await stage.consume(['--dual-write'], { EC2_WRITE_TIMEOUT: '20000' });
      await begun(first);
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      await sleep(SETTLING_MS);
      first.kill('SIGKILL');
      await first.wait();
      const pending = await ledgerStates(stage);
      expect(pending).to.deep.equal(['pending']);
      expect(await new Observer(stage).look()).to.deep.equal([]);
      await stage.expireLeases([first.pid]);
      expect(await ledgerStates(stage)).to.deep.equal(['missed']);
      await stage.network.ec2.pass();
      await stage.consume();
      await settled(stage);
      expect(await account(stage, bodies)).to.deep.equal([]);
    },
  );

  scenario('the flag on, off, on leaves no unknown hole', async (stage) => {
    const bodies = telemetry(90);
    const observer = new Observer(stage);
    const parts = [bodies.slice(0, 30), bodies.slice(30, 60), bodies.slice(60)];
    for (const [index, flag] of ['--dual-write', '--no-dual-write', '--dual-write'].entries()) {
      await stage.send(parts[index] ?? []);
      const healing = index === 2 ? [] : ['--heal-rate', '0'];
      await stage.drain([flag, ...healing]);
      expect(await observer.look(), flag).to.deep.equal([]);
    }
    await stage.consume();
    await settled(stage);
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario('ten consumers with the same sensors: no reading lost or twice', async (stage) => {
    const bodies = telemetry(2_000, 50);
    const few = { TIMESCALE_POOL_MAX: '4', EC2_POOL_MAX: '3' };
    const consumers = await Promise.all(Array.from({ length: 10 }, () => stage.consume(['--dual-write'], few)));
    await stage.send([...bodies, ...bodies]);
    await eventually('the queue is empty', () => stage.isQueueEmpty(), HEALED_WITHIN_MS);
    await settled(stage);
    const worked = consumers.filter(({ stderr }) => stderr.includes('Local write successful'));
    expect(worked).to.have.length.above(5);
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario('redelivered messages change nothing', async (stage) => {
    const bodies = [...telemetry(150), ...Array.from({ length: 9 }, (_, index) => poison(index))];
    await stage.send(bodies);
    await stage.drain();
    const before = [await readContent(stage.local), await readContent(stage.ec2)];
    await stage.send([...bodies.toReversed(), ...bodies]);
    const again = await stage.drain();
    expect(again.accepted).to.equal(0);
    expect([await readContent(stage.local), await readContent(stage.ec2)]).to.deep.equal(before);
    expect(await countUnsettled(stage)).to.equal(0);
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario('a queue that cannot be reached for a while: consumption goes on by itself', async (stage) => {
    const bodies = telemetry(90);
    await stage.send(bodies.slice(0, 30));
    const consumer = await stage.consume();
    await eventually('the first messages are consumed', () => stage.isQueueEmpty());
    stage.network.queue.refuse();
    await stage.send(bodies.slice(30, 60));
    await logged(consumer, 'receiving failed, trying again');
    await stage.network.queue.pass();
    const lost = stage.network.queue.swallowAnswer('DeleteMessageBatch', Buffer.from('Successful'), 'reset');
    await stage.send(bodies.slice(60));
    await eventually('the other messages are consumed', () => stage.isQueueEmpty());
    await lost;
    await settled(stage);
    consumer.kill('SIGTERM');
    expect((await consumer.wait()).code).to.equal(0);
    expect(await account(stage, bodies)).to.deep.equal([]);
  });

  scenario(
    'asked to stop while local is away, a consumer ends soon: what it holds comes again, what it could not settle is repaired',
    async (stage) => {
      const bodies = telemetry(60);
      stage.network.ec2.delay(300);
      const consumer = await stage.consume(['--dual-write'], { EC2_WRITE_TIMEOUT: '20000' });
      await stage.send(bodies.slice(0, 30));
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      stage.network.local.refuse();
      await stage.send(bodies.slice(30));
      await logged(consumer, 'local write failed; nothing is acknowledged');
      consumer.kill('SIGTERM');
      const ended = await Promise.race([consumer.wait(), sleep(20_000, null, { ref: false })]);
      consumer.kill('SIGKILL');
      expect(ended?.code, consumer.stderr).to.be.oneOf([0, 3]);
      const { visible, inFlight } = await stage.queue.readState();
      expect(visible + inFlight).to.equal(30);
      await stage.network.local.pass();
      await stage.network.ec2.pass();
      await stage.expireLeases([consumer.pid]);
      await stage.consume();
      await settled(stage);
      expect(await account(stage, bodies)).to.deep.equal([]);
    },
  );

  scenario(
    'EC2 frozen: ingestion goes on, batches go to the ledger, and after the thaw the gap closes by itself',
    async (stage) => {
      const bodies = telemetry(300);
      await stage.send(bodies.slice(0, 50));
      const consumer = await stage.consume();
      await settled(stage);
      await stage.servers.ec2.freeze();
      const frozenAt = performance.now();
      await stage.send(bodies.slice(50), 150);
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      expect(performance.now() - frozenAt, 'ms to ingest beside a frozen EC2').to.be.below(10_000);
      await logged(consumer, 'EC2 is left out until it answers again');
      expect(await countUnsettled(stage)).to.be.above(0);
      stage.servers.ec2.thaw();
      expect(await new Observer(stage).look()).to.deep.equal([]);
      await settled(stage);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
      expect(await account(stage, bodies)).to.deep.equal([]);
    },
    true,
  );

  scenario(
    'local restarting: nothing is acknowledged that is not stored, and consumption goes on by itself',
    async (stage) => {
      const bodies = telemetry(120);
      await stage.send(bodies.slice(0, 40));
      const consumer = await stage.consume();
      await settled(stage);
      await stage.servers.local.stop('immediate');
      await stage.send(bodies.slice(40));
      await logged(consumer, 'local write failed; nothing is acknowledged');
      const { visible, inFlight } = await stage.queue.readState();
      expect(visible + inFlight).to.equal(80);
      await stage.servers.local.start();
      await eventually('the other messages are consumed', () => stage.isQueueEmpty());
      await settled(stage);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
      expect(await account(stage, bodies)).to.deep.equal([]);
    },
    true,
  );

  ahead.it('twenty seconds of faults by seed: nothing is lost, nothing is twice, no gap is unknown', async () => {
    const report = await runChaos({
      seed: SEED,
      seconds: 20,
      rate: 60,
      consumers: 2,
      lookEveryMs: 500,
      calmMs: 700,
      powerCuts: false,
      restMs: 90_000,
    });
    expect(report.looks).to.be.above(3);
    expect([...report.survived.values()].length, renderSurvived(report.survived)).to.be.above(5);
  });

  // Its pace is the matter: the others beside it would be measured, too.
  ahead.alone('EC2 slowed by 200 ms each way keeps up with ingestion', () =>
    play(async (stage) => {
      const bodies = telemetry(1_500);
      stage.network.ec2.delay(200);
      const consumer = await stage.consume(['--dual-write'], { EC2_WRITE_TIMEOUT: '10000' });
      await begun(consumer);
      await stage.send(bodies, 300);
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      const pending = await stage.local.query<{ seconds: string }>(
        'select coalesce(extract(epoch from clock_timestamp() - min(committed_at)), 0) as seconds from sensorctl.ledger',
      );
      expect(Number(pending.rows[0]?.seconds), 'lag in seconds').to.be.below(8);
      await settled(stage);
      consumer.kill('SIGTERM');
      const { code, stderr } = await consumer.wait();
      expect(code).to.equal(0);
      expect(stderr).not.to.include('EC2 write failed');
      expect(await account(stage, bodies)).to.deep.equal([]);
    }),
  );
});

/** So far apart in time that each reading is a range of its own in the ledger. */
function telemetry(count: number, spacingMs = SPACING_MS): string[] {
  return [...generateTelemetry({ seed: SEED, count, spacingMs })];
}

function weather(sensorId: string, timestamp: string): string {
  return JSON.stringify({ timestamp, sensorType: 'weather', sensorId, data: { temperature: 30 } });
}

async function ledgerStates(stage: ChaosStage): Promise<string[]> {
  const { rows } = await stage.local.query<{ state: string }>('select distinct state from sensorctl.ledger_state');
  return rows.map((row) => row.state);
}

/** Waits until queue and ledger are empty. */
async function settled(stage: ChaosStage): Promise<void> {
  const isSettled = async () => (await stage.isQueueEmpty()) && (await countUnsettled(stage)) === 0;
  await eventually('queue and ledger are empty', isSettled, HEALED_WITHIN_MS);
}

/** Waits until a consumer has its roles; asking an EC2 that is slow or silent for its record takes seconds by itself. */
async function begun(consumer: RunningCli): Promise<void> {
  const hasRoles = (): Promise<boolean> => Promise.resolve(consumer.stderr.includes('is the primary'));
  await eventually('the consumer has its roles', hasRoles, HEALED_WITHIN_MS);
}

async function logged(consumer: RunningCli, text: string): Promise<void> {
  await eventually(`"${text}" is logged`, () => Promise.resolve(consumer.stderr.includes(text)));
}
