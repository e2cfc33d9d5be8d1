import { createServer } from 'node:net';
import { expect } from 'chai';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { eventually, Stage } from '../support/cli.js';
import { startOwnServer } from '../support/servers.js';

interface Health {
  readonly ready: boolean;
  readonly reasons: string[];
  readonly breaker: { state: string; reason: string | null };
}

describe('health', () => {
  let stage: Stage;
  let local: PostgresServer;
  let ec2: PostgresServer;

  before(async () => {
    [local, ec2] = await Promise.all([startOwnServer(), startOwnServer()]);
    stage = await Stage.open('health', { local, ec2 });
    await stage.run(['init']);
  });

  after(async () => {
    await stage.close();
    await Promise.all([local.dispose(), ec2.dispose()]);
  });

  it('answers /healthz and /readyz, says when EC2 is left out, and is not ready while local is down', async () => {
    const port = await findFreePort();
    const ask = async (path: string): Promise<{ status: number; health: Health }> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      const text = await response.text();
      return { status: response.status, health: JSON.parse(text === '' ? '{}' : text) as Health };
    };
    const consumer = await stage.start(['consume', '--dual-write', '--health-port', String(port)]);
    const readiness = async (status: number): Promise<boolean> =>
      await ask('/readyz').then(
        (answer) => answer.status === status,
        () => false,
      );
    await eventually('ready', () => readiness(200));
    expect((await ask('/elsewhere')).status).to.equal(404);

    await ec2.stop('fast');
    await stage.send(generateTelemetry({ seed: 1, count: 100 }));
    await eventually('the breaker opens', async () => (await ask('/readyz')).health.breaker.state === 'open');
    expect((await ask('/readyz')).health).to.include({ ready: true });
    await ec2.start();

    await local.stop('fast');
    await stage.send(generateTelemetry({ seed: 2, count: 100 }));
    await eventually('not ready', () => readiness(503));
    expect((await ask('/healthz')).status).to.equal(200);
    expect((await ask('/readyz')).health.reasons.join()).to.match(/local does not take batches/);
    await local.start();
    await eventually('ready again', () => readiness(200));
    consumer.kill('SIGTERM');
    expect((await consumer.wait()).code).to.equal(0);
  });

  it('says that the port is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const { code, stderr } = await stage.run(['consume', '--drain', '--health-port', String(port)]);
    server.close();
    expect(code).to.equal(2);
    expect(stderr).to.match(/health port 127\.0\.0\.1:\d+ cannot be opened/);
  });
});
