import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { recordSamples, SAMPLE_EVERY_SECONDS, thinSamples, type Sample } from '../../repository/monitor/samples.js';
import { figuresOf } from './figures.js';
import type { Snapshot } from './snapshot.js';
import { unexplainedOf } from './trouble.js';

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
  };
}
