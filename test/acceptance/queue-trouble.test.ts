import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/telemetry/generate.js';
import { Stage } from '../support/cli.js';

type Answer = (request: IncomingMessage, response: ServerResponse, forward: () => void) => void;

/** A server on loopback in front of the queue: what `answer` does not answer itself it may forward. */
async function startFront(endpoint: string, answer: Answer): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const forward = (): void => {
        const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': targetOf(request) };
        void fetch(endpoint, { method: 'POST', headers, body: Buffer.concat(chunks) })
          .then(async (reply) => {
            response.writeHead(reply.status, { 'content-type': 'application/x-amz-json-1.0' });
            response.end(await reply.text());
          })
          .catch(() => response.destroy());
      };
      answer(request, response, forward);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  return { server, url: `http://127.0.0.1:${(server.address() as { port: number }).port}` };
}

function targetOf(request: IncomingMessage): string {
  return String(request.headers['x-amz-target']);
}

function refuse(response: ServerResponse, type: string): void {
  response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' });
  response.end(JSON.stringify({ __type: `com.amazonaws.sqs#${type}`, message: 'refused by the test' }));
}

describe('trouble with the queue', () => {
  let stage: Stage;
  const servers: Server[] = [];

  before(async () => {
    stage = await Stage.open('queue trouble');
    await stage.run(['init']);
  });

  after(async () => {
    await stage.close();
  });

  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  async function front(answer: Answer): Promise<Record<string, string>> {
    const { server, url } = await startFront(stage.settings.AWS_ENDPOINT_URL_SQS!, answer);
    servers.push(server);
    return { AWS_ENDPOINT_URL_SQS: url, SQS_QUEUE_URL: `${url}${new URL(stage.settings.SQS_QUEUE_URL!).pathname}` };
  }

  for (const [type, message] of [
    ['ExpiredToken', /refused the credentials \(ExpiredToken\)[^]*renew the credentials/],
    ['QueueDoesNotExist', /does not exist[^]*check SQS_QUEUE_URL/],
  ] as const) {
    it(`tells ${type} apart from a network fault, and says what to do`, async () => {
      const settings = await front((_, response) => refuse(response, type));
      const { code, stderr } = await stage.run(['consume', '--drain'], settings);
      expect(code).to.equal(3);
      expect(stderr).to.match(message);
    });
  }

  it('goes on by itself after credentials that were refused for a while, and names them in the log', async () => {
    let refusals = 0;
    const settings = await front((request, response, forward) => {
      if (targetOf(request) !== 'AmazonSQS.ReceiveMessage' || refusals >= 4) forward();
      else {
        refusals += 1;
        refuse(response, 'ExpiredToken');
      }
    });
    await stage.send(generateTelemetry({ seed: 1, count: 50 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json'], settings);
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ messages: 50 });
    expect(stderr).to.match(/receiving failed, trying again.*refused the credentials/);
  });

  it('gives up a poll that is never answered, and polls again', async () => {
    let silent = 0;
    const settings = await front((request, _, forward) => {
      if (targetOf(request) !== 'AmazonSQS.ReceiveMessage' || silent >= 2) forward();
      else silent += 1;
    });
    await stage.send(generateTelemetry({ seed: 2, count: 50 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json', '--pollers', '2'], settings);
    expect(code, stderr).to.equal(0);
    expect(silent).to.equal(2);
    expect(JSON.parse(stdout)).to.include({ messages: 50 });
  });

  it('deletes again what SQS did not confirm', async () => {
    let failures = 0;
    const settings = await front((request, response, forward) => {
      if (targetOf(request) !== 'AmazonSQS.DeleteMessageBatch' || failures > 0) {
        forward();
        return;
      }
      failures += 1;
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(
        JSON.stringify({ Successful: [], Failed: [{ Id: '0', Code: 'InternalError', SenderFault: false }] }),
      );
    });
    await stage.send(generateTelemetry({ seed: 3, count: 10 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--drain', '--json'], settings);
    expect(code, stderr).to.equal(0);
    expect(failures).to.equal(1);
    expect(JSON.parse(stdout)).to.include({ messages: 10, unacknowledged: 0 });
  });
});
