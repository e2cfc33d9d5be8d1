// The dual write under faults: each test tries to break one promise, with real consumers, servers, and a network between.
import { setTimeout as sleep } from 'node:timers/promises';

import { expect } from 'chai';

import { account, countUnsettled, Observer } from '../chaos/invariants.js';
import { poison } from '../chaos/load.js';
import type { ChaosStage } from '../chaos/stage.js';
import { Ahead } from '../support/ahead.js';
import { readContent } from '../support/cli.js';
import { COMMITTED, READY_FOR_QUERY } from '../support/proxy.js';
import { begun, consumed, logged, play, settled, telemetry } from '../support/scenarios.js';
import { shareServers } from '../support/shared-servers.js';

const PRIMARY_BATCH = 'sensorctl primary';
const SECONDARY_BATCH = 'sensorctl secondary';
/** Longer than a confirmed batch waits to be settled. */
const SETTLING_MS = 500;

describe('the dual write under faults', function () {
  this.timeout(180_000);
  this.slow(30_000);
  const ahead = new Ahead();
  const shared = shareServers(() => ahead.end());

  /** A scenario on databases of its own; on servers of its own, where it stops or freezes them. */
  function scenario(title: string, run: (stage: ChaosStage) => Promise<void>, own = false): void {
    ahead.it(title, () => play(run, own ? undefined : shared()));
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
    expect(gaps.map(({ table, from, to }) => [table, from, to])).to.have.deep.members([
      ['sensor_registry', null, null],
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
      await consumed(stage);
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
    await consumed(stage);
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
    await consumed(stage);
    stage.network.queue.refuse();
    await stage.send(bodies.slice(30, 60));
    await logged(consumer, 'receiving failed, trying again');
    await stage.network.queue.pass();
    const lost = stage.network.queue.swallowAnswer('DeleteMessageBatch', Buffer.from('Successful'), 'reset');
    await stage.send(bodies.slice(60));
    await consumed(stage);
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
      await consumed(stage);
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
      await consumed(stage);
      await settled(stage);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
      expect(await account(stage, bodies)).to.deep.equal([]);
    },
    true,
  );
});

function weather(sensorId: string, timestamp: string): string {
  return JSON.stringify({ timestamp, sensorType: 'weather', sensorId, data: { temperature: 30 } });
}

async function ledgerStates(stage: ChaosStage): Promise<string[]> {
  const { rows } = await stage.local.query<{ state: string }>('select distinct state from sensorctl.ledger_state');
  return rows.map((row) => row.state);
}
