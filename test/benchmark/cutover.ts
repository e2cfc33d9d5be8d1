import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import type { CutoverReport } from '../../src/lib/operations/cutover/cutover-report.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';

const CONSUMERS = 3;
const RATE = 1_000;
const LIMIT_MS = 2_000;
const BETWEEN_MS = 3_000;
const FLAGS = ['--yes', '--json', '--min-soak', '0s'];

/** How long ingestion pauses at each change of the primary, under load, against the limit that was set for it. */
export async function measureCutover({
  stage,
  repetitions,
  onStep,
}: {
  readonly stage: Stage;
  readonly repetitions: number;
  readonly onStep: (text: string) => void;
}): Promise<Comparison> {
  const pauses: number[] = [];
  const run = async (...args: string[]): Promise<CutoverReport> => {
    const options = { cwd: stage.directory, env: stage.environment, maxBuffer: 1 << 26 };
    return JSON.parse(
      (await promisify(execFile)(process.execPath, [SENSORCTL, ...args], options)).stdout,
    ) as CutoverReport;
  };
  await stage.reset(0);
  await run('cutover', '--phase', '1', ...FLAGS);
  const consumers = Array.from({ length: CONSUMERS }, () => start(stage, ['consume']));
  const load = stage.load(RATE);
  try {
    await delay(BETWEEN_MS);
    await run('compare', '--all', '--json');
    await run('cutover', '--phase', '2', ...FLAGS);
    await run('compare', '--window', '1h', '--json');
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      for (const change of [['--phase', '3'], ['--rollback']]) {
        const { pauseMs } = await run('cutover', ...change, ...FLAGS);
        pauses.push(pauseMs ?? Infinity);
        onStep(`cutover ${change.join(' ')}: ${pauseMs ?? '?'} ms`);
        await delay(BETWEEN_MS);
        // The soak counts from the last change of phase; in phase 3 local lacks what it is to lack.
        if (change[0] === '--rollback') await run('compare', '--window', '1h', '--json');
      }
    }
  } finally {
    await load.stop();
    await Promise.all(consumers.map(end));
  }
  return {
    what: `pause of ingestion at a cutover, ${RATE.toLocaleString('en-US')} messages/s`,
    unit: 'ms',
    figures: pauses,
    against: 'limit',
    peers: pauses.map(() => LIMIT_MS),
    target: { atMost: 1 },
  };
}

function start(stage: Stage, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [SENSORCTL, ...args], {
    cwd: stage.directory,
    env: stage.environment,
    stdio: 'ignore',
  });
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
