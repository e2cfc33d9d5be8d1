import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

import { pollUntil } from '../domain/retry.js';
import { HELPER_ENVIRONMENT } from './helper-process.js';

interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  /** One letter, as ps shows it: T is stopped, Z is dead but not yet reaped. */
  readonly state: string;
}

const POLL_MS = 10;

/** The process and its children: a PostgreSQL server is its postmaster and one process a backend. */
export function listFamily(pid: number): number[] {
  return familyEntries(pid).map((entry) => entry.pid);
}

/** False also for a zombie, which in a container without an init stays for ever. */
export function isAlive(pid: number): boolean {
  return listProcesses().some((entry) => entry.pid === pid && entry.state !== 'Z');
}

/** Sends the signal to each process, and ignores those that are gone. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Resolves to false if a process of the list is still alive after `timeoutMs`. */
export async function waitUntilGone(pids: readonly number[], timeoutMs: number): Promise<boolean> {
  return isDoneWithin(() => !pids.some(isAlive), timeoutMs);
}

/** Stops the whole family with SIGSTOP, children born meanwhile included. Resolves to false after `timeoutMs`. */
export async function freezeFamily(pid: number, timeoutMs: number): Promise<boolean> {
  signalAll([pid], 'SIGSTOP');
  return isDoneWithin(() => {
    const running = familyEntries(pid).filter(({ state }) => state !== 'T' && state !== 'Z');
    signalAll(
      running.map((entry) => entry.pid),
      'SIGSTOP',
    );
    return running.length === 0;
  }, timeoutMs);
}

export function thawFamily(pid: number): void {
  signalAll(listFamily(pid), 'SIGCONT');
}

async function isDoneWithin(isDone: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  const ask = (): Promise<boolean | null> => {
    if (isDone()) return Promise.resolve(true);
    return Promise.resolve(performance.now() > deadline ? false : null);
  };
  return (await pollUntil(ask, { everyMs: POLL_MS })) === true;
}

function familyEntries(pid: number): ProcessEntry[] {
  return listProcesses().filter((entry) => entry.pid === pid || entry.parentPid === pid);
}

/** From /proc where there is one: small Linux images come without ps. */
function listProcesses(): ProcessEntry[] {
  return process.platform === 'linux' ? readProc() : readPs();
}

function readProc(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = readStat(name);
      // proc(5): pid (comm) state ppid …; comm may hold spaces and brackets.
      const [state = '', parentPid = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return stat === '' ? [] : [{ pid: Number(name), parentPid: Number(parentPid), state }];
    });
}

function readStat(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return ''; // ended meanwhile
  }
}

function readPs(): ProcessEntry[] {
  const lines = execFileSync('ps', ['-axo', 'pid=,ppid=,stat='], { encoding: 'utf8', env: HELPER_ENVIRONMENT })
    .trim()
    .split('\n');
  return lines.map((line) => {
    const [pid, parentPid, stat = ''] = line.trim().split(/\s+/);
    return { pid: Number(pid), parentPid: Number(parentPid), state: stat.slice(0, 1) };
  });
}
