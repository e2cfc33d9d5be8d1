import { pause } from '../../domain/async.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1_000;

/** The time that writes in flight are given, from the first look at a part on; none once the comparison is stopped. */
export class RetryBudget {
  #leftMs: number;
  #pauseMs = FIRST_PAUSE_MS;

  constructor(
    settleMs: number,
    private readonly stop: AbortSignal,
  ) {
    this.#leftMs = settleMs;
  }

  get exhausted(): boolean {
    return this.#leftMs <= 0 || this.stop.aborted;
  }

  /** Waits a little, longer from time to time, as long as there is time left. */
  async pause(): Promise<void> {
    const pauseMs = Math.min(this.#pauseMs, this.#leftMs);
    if (this.exhausted) return;
    this.#leftMs -= pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    await pause(pauseMs, this.stop);
  }
}
