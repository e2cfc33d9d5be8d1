// What /healthz and /readyz say of a consumer that runs and does not work.
import { expect } from 'chai';
import type { ConsumerHealth } from '../../src/lib/operations/consume/health.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { eventually, Stage, type CliSettings, type RunningCli } from '../support/cli.js';
import { QueueFront } from '../support/queue-front.js';
import { STALLS_SOON, timesOf } from '../support/times.js';

type Answer = Pick<ConsumerHealth, 'reasons'> & { readonly status: number };

describe('probes of a consumer', function () {
  this.timeout(90_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('probes');
    await stage.runJson(['init']);
  });

  after(() => stage.close());

  async function start(
    settings: CliSettings,
  ): Promise<{ consumer: RunningCli; ask: (path: string) => Promise<Answer> }> {
    const port = await findFreePort();
    const consumer = await stage.start(['consume', '--health-port', String(port)], settings);
    const ask = async (path: string): Promise<Answer> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: response.status, reasons: ((await response.json()) as ConsumerHealth).reasons };
    };
    const isReady = (): Promise<boolean> =>
      ask('/readyz').then(
        ({ status }) => status === 200,
        () => false,
      );
    await eventually('it is ready', isReady);
    return { consumer, ask };
  }

  it('/readyz is 503 once the lease could not be renewed for as long as it lasts, and 200 again after it', async () => {
    const { consumer, ask } = await start(timesOf(STALLS_SOON));
    const blocker = await stage.local.connect();
    await blocker.query('begin; lock table sensorctl.consumer in exclusive mode');
    await eventually('not ready', async () => (await ask('/readyz')).status === 503, 40_000);
    expect((await ask('/readyz')).reasons.join()).to.match(/the lease could not be renewed/);
    expect((await ask('/healthz')).status).to.equal(200);
    await blocker.query('rollback');
    blocker.release();
    await eventually('ready again', async () => (await ask('/readyz')).status === 200, 40_000);
    consumer.kill('SIGTERM');
    expect((await consumer.wait()).code).to.equal(0);
  });

  it('/healthz and /readyz are 503 once the queue answers no poll any more', async () => {
    let isSilent = false;
    const held: (() => Promise<void>)[] = [];
    const front = await QueueFront.open(stage.settings, async ({ action, forward }) => {
      if (isSilent && action === 'ReceiveMessage') held.push(forward);
      else await forward();
    });
    try {
      const times = timesOf({ longPollMs: 1_000, pollSilenceMs: 4_000, queueAnswerMs: 80_000 });
      const { consumer, ask } = await start({ ...front.settings, ...times });
      isSilent = true;
      await eventually('not healthy', async () => (await ask('/healthz')).status === 503, 40_000);
      expect((await ask('/readyz')).status).to.equal(503);
      expect((await ask('/healthz')).reasons.join()).to.match(/the queue has answered no poll/);
      isSilent = false;
      await Promise.all(held.map((forward) => forward()));
      await eventually('healthy again', async () => (await ask('/healthz')).status === 200, 40_000);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
    } finally {
      front.close();
    }
  });

  it('every poll refused: /healthz and /readyz are 503 with the reason, and monitor names the trouble', async () => {
    let isRefused = false;
    const front = await QueueFront.open(stage.settings, async ({ action, forward, refuse }) => {
      if (isRefused && action === 'ReceiveMessage') refuse('ExpiredToken');
      else await forward();
    });
    try {
      const times = timesOf({ longPollMs: 1_000, pollSilenceMs: 4_000, heartbeatMs: 500 });
      const settings = { ...front.settings, ...times };
      const { consumer, ask } = await start(settings);
      isRefused = true;
      await eventually('not healthy', async () => (await ask('/healthz')).status === 503, 40_000);
      expect((await ask('/readyz')).status).to.equal(503);
      expect((await ask('/healthz')).reasons.join()).to.match(/no poll for \d+ s: .*ExpiredToken/);
      // Not before the polls that were under way have ended: one of them would have received it.
      await stage.queue.send(['{}']);
      await eventually('monitor says so', async () => {
        const args = ['monitor', '--once', '--fail-on', 'not-receiving>0', '--json'];
        const { code, stdout } = await stage.run(args, settings);
        return code === 1 && /1 of 1 consumer receives nothing; 1 message waits .*ExpiredToken/.test(stdout);
      });
      isRefused = false;
      await eventually('healthy again', async () => (await ask('/healthz')).status === 200, 40_000);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
    } finally {
      front.close();
    }
  });
});
