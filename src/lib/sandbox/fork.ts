import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { HELPER_ENVIRONMENT } from './environment.js';

/**
 * Starts a file of this folder as a child process, from src (.ts, under tsx) as from dist (.js). It has its own session,
 * so that Ctrl-C reaches the parent alone; it learns of the parent's end, however it comes, by the IPC 'disconnect'.
 */
export function forkEntry(name: string, args: readonly string[] = []): ChildProcess {
  const file = new URL(`./${name}${path.extname(import.meta.filename)}`, import.meta.url);
  return fork(fileURLToPath(file), args, {
    detached: true,
    env: HELPER_ENVIRONMENT,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
}
