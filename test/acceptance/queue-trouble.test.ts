import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { eventually, Stage, type CliSettings } from '../support/cli.js';
import { QueueFront, type Answer } from '../support/queue-front.js';
import { timesOf } from '../support/times.js';

describe('trouble with the queue', () => {
  let stage: Stage;
  const fronts: QueueFront[] = [];

  before(async () => {
    stage = await Stage.open('queue trouble', { visibilityTimeoutSeconds: 5 });
    await stage.run(['init']);
  });

  after(async () => {
    await stage.close();
  });

  afterEach(() => {
    for (const front of fronts.splice(0)) front.close();
  });

  async function front(answer: Answer): Promise<CliSettings> {
    const opened = await QueueFront.open(stage.settings, answer);
    fronts.push(opened);
    return opened.settings;
  }

  for (const [type, message] of [
    ['ExpiredToken', /refused the credentials \(ExpiredToken\)[^]*renew the credentials/],
    ['QueueDoesNotExist', /does not exist[^]*check SQS_QUEUE_URL/],
  ] as const) {
    it(`tells ${type} apart from a network fault, and says what to do`, async () => {
      const settings = await front(({ refuse }) => refuse(type));
      const { code, stderr } = await stage.run(['consume', '--drain'], settings);
      expect(code).to.equal(3);
      expect(stderr).to.match(message);
    });
  }

  it('names the call that a policy does not allow, and how to allow it', async () => {
    const settings = await front(({ refuse }) => refuse('AccessDenied'));
    const { code, stderr } = await stage.run(['consume', '--drain'], settings);
    expect(code).to.equal(3);
    expect(stderr).to.match(/does not allow GetQueueAttributes to these credentials \(AccessDenied\)/);
    expect(stderr).to.match(/^Next: allow sqs:GetQueueAttributes on it/m);
  });

  it('says so where something else answers in the place of the queue', async () => {
    const settings = await front(({ reply }) => reply(200, '<html>'));
    const { code, stderr } = await stage.run(['consume', '--drain'], settings);
    expect(code).to.equal(3);
    expect(stderr).to.match(/what answers there is no queue \(HTTP 200\)\nNext: check SQS_QUEUE_URL/);
  });

  it('stores the neighbours of a message with a wrong checksum, and this one when it comes whole', async () => {
    let damaged = 0;
    const settings = await front(async ({ action, forward, forwardChanged }) => {
      if (action !== 'ReceiveMessage' || damaged > 0) {
        await forward();
        return;
      }
      await forwardChanged((answer) => {
        const messages = (answer.Messages ?? []) as object[];
        damaged += messages.length > 1 ? 1 : 0;
        return { Messages: messages.map((each, place) => (place === 1 ? { ...each, MD5OfBody: 'no' } : each)) };
      });
    });
    await stage.send(generateTelemetry({ seed: 5, count: 10 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json', '--pollers', '1'], settings);
    expect(code, stderr).to.equal(0);
    expect(damaged).to.equal(1);
    expect(JSON.parse(stdout)).to.include({ messages: 10 });
    expect(stderr)
      .to.match(/messages came with a wrong checksum.* messages=1 ids=\S+/)
      .and.not.to.match(/cannot be reached|receiving failed/);
  });

  it('is polled a few times a second where it answers empty at once', async () => {
    let polls = 0;
    const settings = await front(async ({ action, forward, reply }) => {
      if (action !== 'ReceiveMessage') await forward();
      else {
        polls += 1;
        reply(200, '{}');
      }
    });
    const consumer = await stage.start(['consume'], settings);
    await eventually('each of eight pollers has polled', () => Promise.resolve(polls >= 8));
    const before = polls;
    await delay(2_000);
    const later = polls - before;
    consumer.kill('SIGTERM');
    expect((await consumer.wait()).code).to.equal(0);
    expect(later).to.be.within(1, 12);
  });

  it('goes on by itself after credentials that were refused for a while, and names them in the log', async () => {
    let refusals = 0;
    const settings = await front(async ({ action, forward, refuse }) => {
      if (action !== 'ReceiveMessage' || refusals >= 4) {
        await forward();
        return;
      }
      refusals += 1;
      refuse('ExpiredToken');
    });
    await stage.send(generateTelemetry({ seed: 1, count: 50 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json'], settings);
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ messages: 50 });
    expect(stderr).to.match(/receiving failed, trying again.*refused the credentials/);
  });

  it('gives up a poll that is never answered, and polls again', async () => {
    let silent = 0;
    const settings = await front(async ({ action, forward }) => {
      if (action !== 'ReceiveMessage' || silent >= 2) await forward();
      else silent += 1;
    });
    await stage.send(generateTelemetry({ seed: 2, count: 50 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json', '--pollers', '2'], {
      ...{ ...settings, ...timesOf({ longPollMs: 1_000, queueAnswerMs: 2_500 }) },
    });
    expect(code, stderr).to.equal(0);
    expect(silent).to.equal(2);
    expect(JSON.parse(stdout)).to.include({ messages: 50 });
  });

  it('replay names a FIFO queue, and sends nothing there', async () => {
    let sends = 0;
    const settings = await front(({ refuse }) => {
      sends += 1;
      refuse('MissingParameter');
    });
    const files = { 'telemetry.jsonl': '{}\n' };
    const fifo = { ...settings, SQS_QUEUE_URL: `${String(settings.SQS_QUEUE_URL)}.fifo` };
    const { code, stderr } = await stage.run(['replay', 'telemetry.jsonl'], fifo, files);
    expect(code).to.equal(2);
    expect(stderr).to.match(
      /\.fifo is a FIFO queue; replay sends to standard queues alone\nNext: name a standard queue/,
    );
    expect(sends).to.equal(0);
  });

  it('deletes again what SQS did not confirm, all of it', async () => {
    let failures = 0;
    const settings = await front(async ({ action, forward, forwardSome }) => {
      if (action !== 'DeleteMessageBatch' || failures > 0) {
        await forward();
        return;
      }
      failures += 1;
      await forwardSome(() => false);
    });
    await stage.send(generateTelemetry({ seed: 3, count: 10 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json'], settings);
    expect(code, stderr).to.equal(0);
    expect(failures).to.equal(1);
    expect(stderr).to.match(/acknowledgement failed .*error="SQS did not confirm it \(InternalError\)"/);
    expect(JSON.parse(stdout)).to.include({ messages: 10, unacknowledged: 0 });
  });

  it('deletes again exactly the entries that failed where others of the same call were deleted', async () => {
    const calls: string[][] = [];
    const settings = await front(async ({ action, entries, forward, forwardSome }) => {
      if (action !== 'DeleteMessageBatch') {
        await forward();
        return;
      }
      calls.push(entries.map(({ ReceiptHandle }) => ReceiptHandle));
      await (calls.length === 1 ? forwardSome((_, place) => place % 2 === 0) : forward());
    });
    await stage.send(generateTelemetry({ seed: 4, count: 10 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json', '--pollers', '1'], settings);
    expect(code, stderr).to.equal(0);
    const [first = [], ...later] = calls;
    expect(first).to.have.length.greaterThan(1);
    const failed = first.filter((_, place) => place % 2 === 1);
    expect(later.flat().toSorted(), 'each message once more at most').to.have.length(failed.length + 10 - first.length);
    expect(later.flat()).to.include.members(failed);
    expect(JSON.parse(stdout)).to.include({ messages: 10, unacknowledged: 0 });
  });
});
