import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';

import type { Comparison } from './report.js';
import { SENSORCTL } from './stage.js';

const PAIRS_A_REPETITION = 5;

/** The wall time of `sensorctl --help` as a process, against that of a Node program with nothing in it. */
export async function measureStartup(repetitions: number): Promise<Comparison> {
  const figures: number[] = [];
  const peers: number[] = [];
  for (let pair = 0; pair < repetitions * PAIRS_A_REPETITION; pair += 1) {
    figures.push(await millisecondsOf([SENSORCTL, '--help']));
    peers.push(await millisecondsOf(['-e', '0']));
  }
  return {
    what: 'start-up of sensorctl --help',
    unit: 'ms',
    figures,
    against: 'an empty Node program',
    peers,
    target: { atMost: 6 },
  };
}

async function millisecondsOf(args: readonly string[]): Promise<number> {
  const startedAt = performance.now();
  await promisify(execFile)(process.execPath, args, { cwd: tmpdir() });
  return performance.now() - startedAt;
}
