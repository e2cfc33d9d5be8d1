import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { findFreePort, isPortFree, releasePort, reservePort } from '../../src/lib/sandbox/ports.js';

describe('ports of the sandbox', () => {
  it('keeps a port from every other process, listened on or not, until it lets go', async () => {
    const port = await findFreePort();
    const other = await startOther();
    try {
      expect(await isPortFree(port), 'nobody listens').to.equal(true);
      expect(await reservePort(port), 'twice for the same process').to.equal(false);
      expect(await other.reserve(port)).to.equal(false);
      releasePort(port);
      expect(await other.reserve(port)).to.equal(true);
      expect(await reservePort(port)).to.equal(false);
    } finally {
      await other.kill();
    }
    expect(await reservePort(port), 'after the end of the process that had it').to.equal(true);
    releasePort(port);
  });

  it('reserves none that somebody listens on', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    expect(await reservePort(port)).to.equal(false);
    await new Promise((resolve) => holder.close(resolve));
    expect(await reservePort(port)).to.equal(true);
    releasePort(port);
  });
});

async function startOther() {
  const child = fork(path.resolve(import.meta.dirname, '../support/reserve-ports.ts'));
  await once(child, 'message');
  return {
    reserve: async (port: number): Promise<unknown> => {
      child.send(port);
      return ((await once(child, 'message')) as [unknown])[0];
    },
    kill: async (): Promise<void> => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
