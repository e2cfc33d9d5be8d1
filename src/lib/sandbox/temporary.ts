import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';

import { keeper } from './keeper.js';

/** Makes a directory of a name nobody else has; it is removed when this process ends, however it ends. */
export async function makeTemporaryDirectory(prefix: string): Promise<string> {
  const directory = `${prefix}${randomBytes(6).toString('hex')}`;
  await keeper.watchDirectory(directory); // before it exists: a kill between the two leaves nothing
  await mkdir(directory, { mode: 0o700 });
  return directory;
}

/** Removes a temporary directory now. */
export async function removeTemporaryDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await keeper.releaseDirectory(directory);
}
