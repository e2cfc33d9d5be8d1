// Messages in hand while local is slow or down: nobody else gets them, and no more of them are taken.
import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { eventually, Stage, type RunningCli } from '../support/cli.js';
import { QueueFront } from '../support/queue-front.js';
import { TcpProxy } from '../support/proxy.js';

const VISIBILITY_SECONDS = 2;
const COUNT = 40;

describe('messages in hand', () => {
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('in hand', { visibilityTimeoutSeconds: VISIBILITY_SECONDS });
    await stage.run(['init']);
  });

  after(async () => {
    await stage.close();
  });

  /** Holds local's tables back from writers while it lends them. */
  async function whileLocalIsSlow(work: () => Promise<void>): Promise<void> {
    const holder = await stage.local.connect();
    try {
      await holder.query(`
        begin;
        lock table sensor_registry, water_level_readings, moisture_readings, sensor_readings in access exclusive mode`);
      await work();
    } finally {
      await holder.query('commit');
      holder.release();
    }
  }

  async function allInHand(count: number): Promise<void> {
    await eventually('all messages are in hand', async () => {
      const { visible, inFlight } = await stage.queue.readState();
      return visible === 0 && inFlight === count;
    });
  }

  async function stop(consumer: RunningCli): Promise<string> {
    await eventually('the queue is empty', async () => {
      const { visible, inFlight } = await stage.queue.readState();
      return visible + inFlight === 0;
    });
    consumer.kill('SIGTERM');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    return stderr;
  }

  it('outlast their first visibility while local is slow, and are delivered to nobody else', async () => {
    await stage.send(generateTelemetry({ seed: 1, count: COUNT }));
    let received = 0;
    const front = await QueueFront.open(stage.settings, async ({ forward }) => await forward());
    try {
      let consumer: RunningCli | undefined;
      await whileLocalIsSlow(async () => {
        consumer = await stage.start(['consume'], front.settings);
        await allInHand(COUNT);
        const until = performance.now() + 3 * VISIBILITY_SECONDS * 1000;
        while (performance.now() < until) received += (await stage.queue.receive(10, 1)).length;
        await allInHand(COUNT);
      });
      expect(received, 'messages that a second consumer got').to.equal(0);
      await stop(consumer!);
    } finally {
      front.close();
    }
  });

  it('are asked for again where SQS did not extend one of them, and that is logged', async () => {
    await stage.send(generateTelemetry({ seed: 2, count: 10 }));
    const calls: string[][] = [];
    const front = await QueueFront.open(stage.settings, async ({ action, entries, forward, forwardSome }) => {
      if (action !== 'ChangeMessageVisibilityBatch') {
        await forward();
        return;
      }
      calls.push(entries.map(({ ReceiptHandle }) => ReceiptHandle));
      await (calls.length === 1 ? forwardSome((_, place) => place > 0) : forward());
    });
    try {
      let consumer: RunningCli | undefined;
      await whileLocalIsSlow(async () => {
        consumer = await stage.start(['consume', '--pollers', '1'], front.settings);
        await eventually('SQS is asked again', () => Promise.resolve(calls.length >= 2));
      });
      const stderr = await stop(consumer!);
      const [first = [], second = []] = calls;
      expect(first).to.have.length(10);
      expect(second, 'what is asked for again').to.deep.equal([first[0]]);
      expect(stderr).to.match(/visibility could not be extended; messages may be delivered again.*messages=1/);
    } finally {
      front.close();
    }
  });

  it('are all that is taken while local is down: receiving stops until it is back', async () => {
    const network = await TcpProxy.open({
      host: stage.settings.TIMESCALE_HOST!,
      port: Number(stage.settings.TIMESCALE_PORT),
    });
    let [polls, open] = [0, 0];
    const front = await QueueFront.open(stage.settings, async ({ action, forward, response }) => {
      if (action === 'ReceiveMessage') {
        polls += 1;
        open += 1;
        response.once('close', () => (open -= 1));
      }
      await forward();
    });
    try {
      const settings = { ...front.settings, TIMESCALE_PORT: String(network.port) };
      const consumer = await stage.start(['consume'], settings);
      await eventually('it polls', () => Promise.resolve(polls > 0));
      network.refuse();
      await stage.send(generateTelemetry({ seed: 3, count: 1 }));
      await consumer.printed('nothing is acknowledged, receiving pauses');
      await eventually('the polls under way have ended', () => Promise.resolve(open === 0));
      const before = polls;
      await stage.send(generateTelemetry({ seed: 4, count: COUNT }));
      await consumer.printed('nothing is acknowledged, receiving pauses', 4);
      expect(polls, 'polls while local is down').to.equal(before);
      expect((await stage.queue.readState()).visible, 'messages left to others').to.equal(COUNT);
      await network.pass();
      await stop(consumer);
      expect(polls).to.be.greaterThan(before);
    } finally {
      front.close();
      network.close();
    }
  });
});
