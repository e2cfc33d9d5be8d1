import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { expect } from 'chai';
import { serveMetrics, serve, type Endpoint } from '../../src/lib/http/serve.js';
import { createConsumerMetrics } from '../../src/lib/operations/consume/consumer-metrics.js';
import { InFlightMessages } from '../../src/lib/operations/consume/in-flight-messages.js';
import { Receiver } from '../../src/lib/operations/consume/receiver.js';
import { Queue } from '../../src/lib/queue/queue.js';
import { silentLogger } from '../../src/lib/logger.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { queueServer } from '../support/servers.js';
import { QueueFront, type Answer } from '../support/queue-front.js';
import { eventually } from '../support/cli.js';

interface Answered {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

async function ask(port: number, host: string, path = '/', method = 'GET'): Promise<Answered> {
  return await new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, path, method, headers: { host }, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    asking.on('error', reject).end();
  });
}

describe('a port that is served', () => {
  let endpoint: Endpoint;
  let port: number;

  async function open(host: string): Promise<void> {
    port = await findFreePort();
    endpoint = await serve({ host, port }, 'web', (path, response) => {
      if (path === '/fails') throw new Error('an internal matter of /home/operator');
      response.end('answered');
    });
  }

  afterEach(() => endpoint.close());

  it('answers to its own names and to addresses, whoever else leads here is refused', async () => {
    for (const bound of ['127.0.0.1', '0.0.0.0', 'localhost']) {
      await open(bound);
      for (const host of ['127.0.0.1', `127.0.0.1:${port}`, 'LOCALHOST:1', '[::1]:80', '10.0.0.7', hostname(), bound]) {
        expect((await ask(port, host)).body, host).to.equal('answered');
      }
      for (const host of [
        'evil.example.org',
        `evil.example.org:${port}`,
        '127.0.0.1.evil.example.org',
        'localhost.evil',
      ]) {
        expect(await ask(port, host), host).to.include({ status: 403, body: '' });
      }
      endpoint.close();
    }
  });

  it('answers who sends no name at all, as probes without HTTP/1.1 do', async () => {
    await open('127.0.0.1');
    const socket = connect(port, '127.0.0.1').setEncoding('utf8');
    socket.write('GET / HTTP/1.0\r\n\r\n');
    const [answer] = (await once(socket, 'data')) as [string];
    socket.destroy();
    expect(answer).to.match(/^HTTP\/1\.[01] 200 /);
  });

  it('takes GET and HEAD alone', async () => {
    await open('127.0.0.1');
    expect(await ask(port, 'localhost', '/', 'HEAD')).to.include({ status: 200, body: '' });
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
      expect((await ask(port, 'localhost', '/', method)).status, method).to.equal(405);
    }
  });

  it('lets no browser guess a type, load or frame anything', async () => {
    await open('127.0.0.1');
    for (const path of ['/', '/fails']) {
      expect((await ask(port, 'localhost', path)).headers).to.include({
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      });
    }
  });

  it('says nothing of what failed inside', async () => {
    await open('127.0.0.1');
    expect(await ask(port, 'localhost', '/fails')).to.include({ status: 500, body: '' });
    const broken = { metrics: () => Promise.reject(new Error('of /home/operator')), contentType: '' } as never;
    endpoint.close();
    endpoint = await serveMetrics({ host: '127.0.0.1', port }, broken);
    expect(await ask(port, 'localhost', '/metrics')).to.include({ status: 500, body: '' });
  });

  it('closes on clients that have said half of what they want, or nothing', async () => {
    await open('127.0.0.1');
    const clients: Socket[] = [];
    for (const said of ['', 'GET / HTTP/1.1\r\nHost: local', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n']) {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      socket.on('error', () => undefined).resume();
      if (said !== '') socket.write(said);
      clients.push(socket);
    }
    await ask(port, 'localhost'); // by then all of them are known
    const closed = Promise.all(clients.map((socket) => once(socket, 'close')));
    endpoint.close();
    await closed;
  });
});

describe('the polls of a consumer', () => {
  it('count by their answers: refused ones are none, and their reason is kept', async () => {
    const queues = await queueServer();
    const queueUrl = await queues.createQueue('polls');
    let answer: Answer = (call) => call.refuse('ExpiredToken');
    const front = await QueueFront.open(
      { AWS_ENDPOINT_URL_SQS: queues.endpoint, SQS_QUEUE_URL: queueUrl },
      async (call) => await answer(call),
    );
    const { region, accessKeyId, secretAccessKey } = queues;
    const { SQS_QUEUE_URL: url = '', AWS_ENDPOINT_URL_SQS: endpoint } = front.settings;
    const queue = new Queue({ queueUrl: url, region, endpoint, credentials: { accessKeyId, secretAccessKey } });
    const stop = new AbortController();
    const limits = { messages: 10, bytes: 1_000_000, decodedBytes: 1_000_000 };
    const receiver = new Receiver({
      queue,
      inFlight: new InFlightMessages(queue, 30_000, limits, silentLogger),
      pollers: 1,
      waitSeconds: 0,
      maxMessages: Infinity,
      drain: false,
      mayReceive: () => Promise.resolve(),
      deliver: () => undefined,
      logger: silentLogger,
      stop: stop.signal,
    });
    const running = receiver.run();
    await eventually('a poll is refused', () => Promise.resolve(receiver.pollFailure !== null));
    const refusedAt = receiver.pollAgeMs;
    await eventually('time passes', () => Promise.resolve(receiver.pollAgeMs > refusedAt + 1_000));
    expect(receiver.pollFailure).to.match(/refused the credentials \(ExpiredToken\)/);
    answer = (call) => call.forward();
    await eventually('a poll is answered', () => Promise.resolve(receiver.pollFailure === null));
    expect(receiver.pollAgeMs).to.be.below(refusedAt + 1_000);
    stop.abort();
    await running;
    queue.close();
    front.close();
  });

  it('have a figure of their own among the metrics', async () => {
    const intake = {
      messages: 0,
      inHand: 0,
      longestWaitMs: 0,
      quarantined: 0,
      unacknowledged: 0,
      pollAgeMs: 61_000,
      pollFailure: null,
    };
    const consumer = {
      meter: { listen: () => undefined } as never,
      current: { breaker: { state: 'closed' as const }, session: { leaseAgeMs: 1 } },
    };
    const text = await createConsumerMetrics(consumer, () => intake).metrics();
    expect(text).to.match(/^sensorctl_poll_age_seconds 61$/m);
  });
});
