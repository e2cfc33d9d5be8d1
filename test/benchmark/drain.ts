import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { busySecondsOfMachine, cpuSecondsOf, peakMemoryMib } from './process-usage.js';
import type { Stage } from './stage.js';

/** A program that consumes the queue. */
export interface Contestant {
  readonly name: string;
  /** Arguments to Node. */
  readonly args: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  /** Its part of the messages: a slow one gets fewer, since it is the rate that counts. */
  readonly share?: number;
  /** Whether it ends by itself once the queue is empty, or has to be told. */
  readonly end: 'by itself' | 'when told';
  /** Which sides hold every reading in the end. */
  readonly fills: readonly ('local' | 'ec2')[];
}

export interface Drain {
  readonly messages: number;
  /** From the first message taken to the last one deleted, by the queue's own count. */
  readonly seconds: number;
  /** The same, to when EC2 is known to hold the last reading too. */
  readonly secondsToEc2: number;
  readonly peakMib: number;
  /** Cores kept busy meanwhile, by each. */
  readonly cores: { readonly queue: number; readonly consumer: number; readonly machine: number };
  readonly readings: { readonly local: number; readonly ec2: number };
}

const SAMPLE_MS = 25;
const STALL_MS = 60_000;

/** Fills the queue, starts the contestant, and watches the queue until it is empty. */
export async function measureDrain(stage: Stage, contestant: Contestant, messages: number): Promise<Drain> {
  await stage.reset(messages);
  const child = spawn(process.execPath, contestant.args, {
    cwd: stage.directory,
    env: { ...stage.environment, ...contestant.environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const stderr = tailOf(child);
  try {
    const measured = await watch(stage, child, messages, contestant.fills.includes('ec2'));
    if (contestant.end === 'when told') child.kill('SIGTERM');
    await exitOf(child);
    return { ...measured, messages, readings: await stage.countReadings() };
  } catch (error) {
    throw new Error(`${contestant.name}: ${(error as Error).message}\n${stderr()}`, { cause: error });
  } finally {
    await kill(child);
  }
}

type Watched = Omit<Drain, 'messages' | 'readings'>;

async function watch(stage: Stage, child: ChildProcess, messages: number, toEc2: boolean): Promise<Watched> {
  await untilNone(child, async () => Number((await stage.readQueue()).visible >= messages));
  const started = usageNow(stage, child);
  await untilNone(child, async () => {
    const { visible, inFlight } = await stage.readQueue();
    return visible + inFlight;
  });
  const ended = usageNow(stage, child);
  if (toEc2) await untilNone(child, () => stage.countPending());
  const seconds = ended.at - started.at;
  const cores = {
    queue: (ended.queue - started.queue) / seconds,
    consumer: (ended.consumer - started.consumer) / seconds,
    machine: (ended.machine - started.machine) / seconds,
  };
  const peakMib = peakMemoryMib(child.pid);
  return { seconds, secondsToEc2: performance.now() / 1000 - started.at, peakMib, cores };
}

function usageNow(stage: Stage, { pid }: ChildProcess) {
  const at = performance.now() / 1000;
  return { at, queue: cpuSecondsOf(stage.queuePid), consumer: cpuSecondsOf(pid), machine: busySecondsOfMachine() };
}

/** Asks every 25 ms how much is left, until that is nothing; throws when the process has failed, or gets no further for long. */
async function untilNone(child: ChildProcess, count: () => Promise<number>): Promise<void> {
  let [least, deadline] = [Infinity, 0];
  for (;;) {
    const left = await count();
    if (left === 0) return;
    if (left < least) [least, deadline] = [left, performance.now() + STALL_MS];
    if (child.exitCode !== null && child.exitCode !== 0) throw new Error(`ended with code ${child.exitCode}`);
    if (performance.now() > deadline) throw new Error('got stuck');
    await delay(SAMPLE_MS);
  }
}

function tailOf(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text = `${text}${chunk}`.slice(-2000);
  });
  return () => text;
}

async function exitOf(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) await once(child, 'exit');
  if (child.exitCode !== 0) throw new Error(`ended with code ${String(child.exitCode)}`);
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
