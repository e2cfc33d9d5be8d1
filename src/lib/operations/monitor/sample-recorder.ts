import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { leavesSecondaryOut, type Snapshot } from './monitor-snapshot.js';
import { unexplainedOf } from './trouble.js';
import {
  recordSamples,
  type Sample,
  SAMPLE_EVERY_SECONDS,
  type SampleFigures,
  thinSamples,
} from '../../repository/monitor/samples.js';

/** Samples of two hours: while the primary is away they wait here, so that its outage is on record too. */
const WAITING_AT_MOST = 720;
const THIN_EVERY_MS = 3_600_000;

/** Keeps what was seen as evidence, on the side that is the primary. */
export class Recorder {
  #waiting: Sample[] = [];
  #recordedAt = -Infinity;
  #thinnedAt = -Infinity;
  #flushing: Promise<void> | null = null;
  #refused = false;

  /** `onProblem` hears once that this role may not record. */
  constructor(private readonly onProblem: (problem: string) => void) {}

  /** Takes a sample if it is time for one, and writes it in the background where the primary answers. */
  take(snapshot: Snapshot, primary: Database): void {
    if (this.#refused || performance.now() - this.#recordedAt < SAMPLE_EVERY_SECONDS * 1000) return;
    this.#recordedAt = performance.now();
    this.#waiting = [...this.#waiting, sampleOf(snapshot)].slice(-WAITING_AT_MOST);
    if (snapshot.sides[snapshot.primary].answers === true) this.#flushing ??= this.#flush(primary);
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#flushing;
  }

  async #flush(primary: Database): Promise<void> {
    const samples = this.#waiting;
    try {
      await recordSamples(primary.pool, samples);
      this.#waiting = this.#waiting.filter((sample) => !samples.includes(sample));
      if (performance.now() - this.#thinnedAt < THIN_EVERY_MS) return;
      this.#thinnedAt = performance.now();
      await thinSamples(primary.pool);
    } catch (error) {
      // The primary may be away for a while; what it refuses it will refuse again.
      this.#refused = faultKind(error) === 'misconfigured' || faultKind(error) === 'rejected';
      if (this.#refused) this.onProblem(`samples are not recorded: ${describeFault(error)}`);
    } finally {
      this.#flushing = null;
    }
  }
}

function sampleOf(snapshot: Snapshot): Sample {
  const { at, phase, epoch, troubles } = snapshot;
  return {
    takenAt: at,
    phase,
    epoch,
    troubles: troubles.map(({ kind }) => kind),
    unexplained: unexplainedOf(troubles),
    figures: figuresOf(snapshot),
    tables: troubles.flatMap(({ kind, tables }) => tables.map((each) => ({ kind, ...each }))),
  };
}

/** One look in the figures that are recorded, and drawn over time. */
export function figuresOf(snapshot: Snapshot): SampleFigures {
  const { sides, gaps, ledger, rates, queue, consumers } = snapshot;
  const living = consumers?.filter(({ state }) => state !== 'lost');
  return {
    lagSeconds: snapshot.lagSeconds,
    gapRanges: gaps?.ranges ?? null,
    gapReadings: gaps?.readings ?? null,
    pending: ledger?.pending ?? null,
    missed: ledger?.missed ?? null,
    refused: ledger?.refused ?? null,
    inPerSecond: rates.in,
    toSecondaryPerSecond: rates.toSecondary,
    localP50Ms: sides.local.writeP50Ms,
    localP99Ms: sides.local.writeP99Ms,
    ec2P50Ms: sides.ec2.writeP50Ms,
    ec2P99Ms: sides.ec2.writeP99Ms,
    queued: queue?.visible ?? null,
    deadLetters: queue?.deadLetters ?? null,
    consumers: living?.length ?? null,
    openBreakers: living?.filter(leavesSecondaryOut).length ?? null,
  };
}
