// The entry of the keeper's process: it waits for its parent's end, then stops and removes what the parent left behind.
import { rm } from 'node:fs/promises';

import type { Charges } from './keeper.js';
import { listFamily, signalAll, thawFamily, waitUntilGone } from './processes.js';

const FAST_SHUTDOWN_MS = 10_000;
const KILL_MS = 5_000;

let charges: Charges = { servers: [], processes: [], directories: [] };

process.on('message', (message: Charges) => {
  charges = message;
});
process.once('disconnect', () => void cleanUp());
process.send?.('listening');

/** Nobody is left to tell of a failure: each charge is seen to on its own. */
async function cleanUp(): Promise<void> {
  signalAll(charges.processes, 'SIGKILL'); // first, as they would only make the servers' end longer
  await waitUntilGone(charges.processes, KILL_MS);
  await Promise.allSettled(charges.servers.map(stopServer));
  await Promise.allSettled(
    charges.directories.map((directory) => rm(directory, { recursive: true, force: true, maxRetries: 5 })),
  );
}

/** SIGINT is PostgreSQL's fast shutdown. A frozen server is woken first: it could not hear the signal. */
async function stopServer(pid: number): Promise<void> {
  thawFamily(pid);
  signalAll([pid], 'SIGINT');
  if (await waitUntilGone([pid], FAST_SHUTDOWN_MS)) return;
  const family = listFamily(pid);
  signalAll(family, 'SIGKILL');
  await waitUntilGone(family, KILL_MS);
}
