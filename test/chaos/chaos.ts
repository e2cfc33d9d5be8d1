import { setTimeout as sleep } from 'node:timers/promises';

import { createRandom } from '../../src/lib/domain/random.js';
import { eventually } from '../support/cli.js';
import { FAULTS, NotStruckError, POOLER_FAULTS, POWER_CUTS, type Fault, type Scene, type Target } from './faults.js';
import { Fleet } from './fleet.js';
import { account, countUnsettled, Observer, type Violations } from './invariants.js';
import { Load } from './load.js';
import { ChaosStage, startServers, stopServers, type Servers } from './stage.js';
import { Writers, type WritersOptions } from './writers.js';

/** Consumers live long enough to renew their lease, now and then. */
const CALM: Partial<Record<Target, number>> = { consumer: 4 };

export interface ChaosOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Messages a second. */
  readonly rate: number;
  readonly consumers: number;
  /** Time between looks at both sides, in ms. */
  readonly lookEveryMs: number;
  /** The mean pause between two faults, in ms. */
  readonly calmMs: number;
  /** Kills PostgreSQL itself too, which takes servers that wait for their disks. */
  readonly powerCuts: boolean;
  /** PgBouncer stands before EC2. */
  readonly pooler?: boolean;
  /** EC2 has no unique keys. */
  readonly keyless?: boolean;
  /** Other programs write as well, to tracked tables, with TimescaleDB where this machine has it. */
  readonly writers?: Omit<WritersOptions, 'seed'>;
  /** The time given to come to rest after the last fault. */
  readonly restMs: number;
  readonly tell?: (line: string) => void;
}

export interface ChaosReport {
  readonly seed: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly looks: number;
  /** Transactions of other programs, and looks at what they wrote. */
  readonly written: { readonly transactions: number; readonly looks: number };
  /** Faults survived by kind. */
  readonly survived: ReadonlyMap<string, number>;
  /** From the last fault until nothing was left to do. */
  readonly restedAfterMs: number;
}

/**
 * Lets consumers work under load while faults strike, looks at both sides all the time, and draws up the account at the
 * end. Throws at the first violation, with seed and faults; the data of both servers is then kept.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, powerCuts, pooler } = options;
  const servers = await startServers({ durable: powerCuts, timescaleDb: options.writers !== undefined });
  const stage = await ChaosStage.open(servers, { seed, pooler: pooler === true });
  const writers = options.writers === undefined ? null : await Writers.open(stage, { seed, ...options.writers });
  const chaos = new Chaos(stage, writers, options);
  try {
    const report = await chaos.run();
    await writers?.close();
    await stage.close();
    await stopServers(servers);
    return report;
  } catch (error) {
    await chaos.abandon();
    await writers?.close();
    await stage.close();
    await stopServers(servers, true);
    throw chaosError(error as Error, { options, servers, log: chaos.log });
  }
}

class Chaos {
  /** What struck when. */
  readonly log: string[] = [];
  readonly #load: Load;
  readonly #fleet: Fleet;
  readonly #observer: Observer;
  readonly #over = new AbortController();
  readonly #startedAt = performance.now();
  readonly #survived = new Map<string, number>();
  readonly #random: () => number;

  constructor(
    private readonly stage: ChaosStage,
    private readonly writers: Writers | null,
    private readonly options: ChaosOptions,
  ) {
    this.#random = createRandom(options.seed);
    this.#load = new Load(stage, options);
    this.#observer = new Observer(stage);
    this.#fleet = new Fleet(stage, () => this.#over.abort());
  }

  async run(): Promise<ChaosReport> {
    const { seed, seconds, consumers, lookEveryMs, keyless } = this.options;
    if (keyless === true) await this.stage.dropKeysOfEc2();
    await Promise.all(Array.from({ length: consumers }, () => this.#fleet.add()));
    const timer = setTimeout(() => this.#over.abort(), seconds * 1000);
    const parts = [
      this.#load.run(this.#over.signal),
      this.#observer.watch(lookEveryMs, this.#over.signal),
      this.#strikeUntilOver(),
      ...(this.writers === null
        ? []
        : [this.writers.run(this.#over.signal), this.writers.watch(lookEveryMs, this.#over.signal)]),
    ].map((part) => part.finally(() => this.#over.abort()));
    const [failure] = (await Promise.allSettled(parts)).filter((outcome) => outcome.status === 'rejected');
    clearTimeout(timer);
    if (failure !== undefined) throw failure.reason as Error;
    assertNone(this.#fleet.violations);
    const restedAfterMs = await this.#rest();
    return {
      seed,
      messages: this.#load.bodies.length,
      deliveries: this.#load.deliveries,
      looks: this.#observer.looks,
      written: { transactions: this.writers?.transactions ?? 0, looks: this.writers?.looks ?? 0 },
      survived: this.#survived,
      restedAfterMs,
    };
  }

  async abandon(): Promise<void> {
    this.#over.abort();
    await this.#fleet.abandon();
  }

  /** One consumer after the last fault: the queue runs empty, the ledger too, and the account is drawn up. */
  async #rest(): Promise<number> {
    const { restMs } = this.options;
    const startedAt = performance.now();
    this.#note('no more faults');
    await this.#fleet.dismiss();
    this.#note('all consumers have ended');
    await this.stage.expireLeases(this.#fleet.killedPids);
    await this.#fleet.add();
    const isAtRest = async () => (await this.stage.isQueueEmpty()) && (await countUnsettled(this.stage)) === 0;
    await eventually('queue and ledger are empty', isAtRest, restMs);
    const restedAfterMs = Math.round(performance.now() - startedAt);
    this.#note('queue and ledger are empty');
    await this.#fleet.dismiss();
    assertNone([
      ...this.#fleet.violations,
      ...(await this.#observer.look()),
      ...(await account(this.stage, this.#load.bodies)),
      ...((await this.writers?.account()) ?? []),
    ]);
    return restedAfterMs;
  }

  /** Each target has a sequence of faults of its own, with pauses between: faults overlap across targets. */
  async #strikeUntilOver(): Promise<void> {
    const { powerCuts } = this.options;
    const faults = [...FAULTS, ...(powerCuts ? POWER_CUTS : []), ...(this.stage.hasPooler ? POOLER_FAULTS : [])];
    const targets = [...new Set(faults.map((fault) => fault.target))];
    await Promise.all(
      targets.map(async (target) => {
        const random = createRandom(Math.floor(this.#random() * 2 ** 32));
        const mine = faults.filter((fault) => fault.target === target);
        for (;;) {
          await this.#wait(random() * 2 * this.options.calmMs * (CALM[target] ?? 1));
          const fault = mine[Math.floor(random() * mine.length)];
          if (fault === undefined || this.#over.signal.aborted) return;
          await this.#strike(fault, random);
        }
      }),
    );
  }

  async #strike(fault: Fault, random: () => number): Promise<void> {
    this.#note(fault.kind);
    const last = async (longestMs: number): Promise<void> => this.#wait((0.2 + 0.8 * random()) * longestMs);
    const scene: Scene = { stage: this.stage, fleet: this.#fleet, random, last };
    try {
      await fault.strike(scene);
      this.#survived.set(fault.kind, (this.#survived.get(fault.kind) ?? 0) + 1);
      this.#note(`end of: ${fault.kind}`);
    } catch (error) {
      if (!(error instanceof NotStruckError)) throw error;
      this.#note(`struck nothing: ${fault.kind}`);
    }
  }

  async #wait(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#over.signal }).catch(() => undefined);
  }

  #note(event: string): void {
    const line = `${((performance.now() - this.#startedAt) / 1000).toFixed(3).padStart(8)} s  ${event}`;
    this.log.push(line);
    this.options.tell?.(line);
  }
}

function assertNone(violations: Violations): void {
  if (violations.length > 0) throw new Error(`${violations.length} violations:\n${violations.slice(0, 30).join('\n')}`);
}

function chaosError(
  cause: Error,
  { options, servers, log }: { options: ChaosOptions; servers: Servers; log: readonly string[] },
): Error {
  const { seed, seconds } = options;
  const where = `the data of both sides is kept in ${servers.directory}`;
  return new Error(`seed ${seed}, ${seconds} s: ${cause.message}\n${where}\nfaults:\n${log.join('\n')}`, { cause });
}

/** The faults survived, a line a kind. */
export function renderSurvived(survived: ReadonlyMap<string, number>): string {
  const lines = [...survived].toSorted(([a], [b]) => a.localeCompare(b));
  const total = lines.reduce((sum, [, times]) => sum + times, 0);
  return [...lines, ['in all', total] as const]
    .map(([kind, times]) => `${String(times).padStart(6)}  ${kind}`)
    .join('\n');
}
