import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * All that a helper program of the sandbox learns of this process's environment, which holds passwords: nothing. Others of
 * the machine may read what a process of theirs was given.
 */
export const HELPER_ENVIRONMENT: Readonly<Record<string, string>> = { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' };

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
