import { startServers, stopServers, type Servers } from '../chaos/stage.js';

/** Declares servers that the tests of a suite share; what `ended` waits for still uses them when the tests are over. */
export function shareServers(ended: () => Promise<void> = () => Promise.resolve()): () => Servers {
  let servers: Servers | undefined;

  before(async () => {
    servers = await startServers({ durable: false });
  });

  after(async () => {
    await ended();
    if (servers !== undefined) await stopServers(servers);
  });

  return () => servers!;
}
