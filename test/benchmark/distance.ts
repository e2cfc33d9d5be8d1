import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import type { CutoverReport } from '../../src/lib/operations/cutover/cutover-report.js';
import { TcpProxy } from '../support/proxy.js';
import { findTimescaleBinDir, TIMESCALE_SETTINGS } from '../support/servers.js';
import type { Comparison } from './report.js';
import { SENSORCTL, Stage } from './stage.js';

/** There and back, as to a server on another continent. */
const FAR_MS = 100;
const MESSAGES = 400;
const LOST_READINGS = 40;
const CONSUMERS = 3;
const RATE = 60;
const SETTLE_MS = 4_000;
const CHANGE = ['--yes', '--json', '--min-soak', '0s'];

/** Commands whose work is small: what they take is the way to EC2 and back, as often as they go it. */
const COMMANDS: readonly { readonly args: readonly string[]; readonly limitMs: number }[] = [
  { args: ['init', '--yes'], limitMs: 1_800 },
  { args: ['verify-schema'], limitMs: 1_800 },
  { args: ['compare', '--window', '1h'], limitMs: 1_800 },
  { args: ['backfill'], limitMs: 1_800 },
  { args: ['cutover', '--phase', '2', '--min-soak', '0s', '--dry-run'], limitMs: 1_800 },
];
const REPAIR_MS = 4_000;
const PAUSE_MS = 800;

export interface DistanceOptions {
  readonly durable: boolean;
  readonly repetitions: number;
  readonly onStep: (text: string) => void;
}

/**
 * What commands and both changes of the primary take where EC2 is far away, against the limits that were set for them; on
 * hypertables where a server with TimescaleDB is found.
 */
export async function measureDistance({ durable, repetitions, onStep }: DistanceOptions): Promise<Comparison[]> {
  const binDir = await findTimescaleBinDir();
  onStep(binDir === undefined ? 'plain tables: no TimescaleDB found' : 'hypertables');
  const timescale = binDir === undefined ? {} : { binDir, settings: TIMESCALE_SETTINGS };
  const stage = await Stage.open({ durable, ...timescale });
  const far = await TcpProxy.open(stage.servers.ec2);
  far.delay(FAR_MS / 2);
  try {
    const operator = new FarOperator(stage, far);
    await operator.prepare();
    const commands: Comparison[] = [];
    for (const { args, limitMs } of COMMANDS) {
      commands.push(await operator.time(args, { repetitions, limitMs, onStep }));
    }
    commands.push(
      await operator.time(['backfill', '--all'], {
        ...{ repetitions, limitMs: REPAIR_MS, onStep },
        before: () => stage.loseOnEc2(LOST_READINGS),
      }),
    );
    return [...commands, await operator.switchThereAndBack(repetitions, onStep)];
  } finally {
    far.close();
    await stage.close();
  }
}

interface Timing {
  readonly repetitions: number;
  readonly limitMs: number;
  readonly onStep: (text: string) => void;
  readonly before?: () => Promise<void>;
}

/** Runs the program with EC2 behind the delay. */
class FarOperator {
  readonly #environment: NodeJS.ProcessEnv;

  constructor(
    private readonly stage: Stage,
    { host, port }: TcpProxy,
  ) {
    this.#environment = { ...stage.environment, EC2_DB_HOST: host, EC2_DB_PORT: String(port) };
  }

  async prepare(): Promise<void> {
    await this.stage.reset(MESSAGES);
    await this.#run(['consume', '--dual-write', '--drain']);
    await this.#run(['cutover', '--phase', '1', ...CHANGE]);
    await this.#run(['compare', '--all']);
  }

  async time(
    args: readonly string[],
    { repetitions, limitMs, onStep, before = () => Promise.resolve() }: Timing,
  ): Promise<Comparison> {
    const what = `sensorctl ${args.join(' ')}, EC2 ${FAR_MS} ms away`;
    const figures: number[] = [];
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      await before();
      const startedAt = performance.now();
      await this.#run(args);
      figures.push(performance.now() - startedAt);
      onStep(`${what}: ${Math.round(figures.at(-1) ?? 0)} ms`);
    }
    return againstLimit(what, figures, limitMs);
  }

  /** The pause of ingestion, beside consumers that have little to do. */
  async switchThereAndBack(repetitions: number, onStep: (text: string) => void): Promise<Comparison> {
    const consumers = Array.from({ length: CONSUMERS }, () => this.#start(['consume']));
    const load = this.stage.load(RATE);
    const pauses: number[] = [];
    try {
      await delay(SETTLE_MS);
      await this.#run(['compare', '--all']);
      await this.#run(['cutover', '--phase', '2', ...CHANGE]);
      for (let repetition = 1; repetition <= repetitions; repetition += 1) {
        for (const change of [['--phase', '3'], ['--rollback']]) {
          await this.#run(['compare', '--window', '1h']);
          const { pauseMs } = JSON.parse(await this.#run(['cutover', ...change, ...CHANGE])) as CutoverReport;
          pauses.push(pauseMs ?? Infinity);
          onStep(`cutover ${change.join(' ')}, EC2 ${FAR_MS} ms away: ${pauseMs ?? '?'} ms`);
          await delay(SETTLE_MS);
        }
      }
    } finally {
      await load.stop();
      await Promise.all(consumers.map(end));
    }
    return againstLimit(`pause of ingestion at a cutover, EC2 ${FAR_MS} ms away`, pauses, PAUSE_MS);
  }

  /** A comparison that finds something is no failure of the command. */
  async #run(args: readonly string[]): Promise<string> {
    const options = { cwd: this.stage.directory, env: this.#environment, maxBuffer: 1 << 26 };
    const outcome = await promisify(execFile)(process.execPath, [SENSORCTL, ...args], options).catch(
      (error: unknown) => {
        const { code, stdout } = error as { code?: unknown; stdout?: string };
        if (code === 1 && args[0] === 'compare') return { stdout: stdout ?? '' };
        throw error;
      },
    );
    return outcome.stdout;
  }

  #start(args: readonly string[]): ChildProcess {
    const options = { cwd: this.stage.directory, env: this.#environment, stdio: 'ignore' } as const;
    return spawn(process.execPath, [SENSORCTL, ...args], options);
  }
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

function againstLimit(what: string, figures: readonly number[], limitMs: number): Comparison {
  return { what, unit: 'ms', figures, against: 'limit', peers: figures.map(() => limitMs), target: { atMost: 1 } };
}
