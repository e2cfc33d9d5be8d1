import { TIMES } from '../../timing.js';

export type BreakerState = 'closed' | 'open' | 'probing';

const FAILURES_TO_OPEN = 3;
const FIRST_PAUSE_MS = TIMES.breakerPauseMs;
const LONGEST_PAUSE_MS = TIMES.breakerLongestMs;

/**
 * Says whether a batch may try the secondary. Some failures in a row open it; then one probe at a time, with growing
 * pauses between, finds out when the secondary is back.
 */
export class CircuitBreaker {
  #failures = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #probeAt = 0;
  #state: BreakerState = 'closed';
  #reason: string | null = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  get state(): BreakerState {
    return this.#state;
  }

  /** The last failure while the breaker is not closed. */
  get reason(): string | null {
    return this.#reason;
  }

  /** True when the caller may try now; after true it must report `succeeded` or `failed`. */
  tryAcquire(): boolean {
    if (this.#state === 'closed') return true;
    if (this.#state === 'probing' || this.now() < this.#probeAt) return false;
    this.#state = 'probing';
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#state = 'closed';
    this.#reason = null;
  }

  /** True when it was this failure that opened the breaker. */
  failed(reason: string): boolean {
    this.#failures += 1;
    const wasClosed = this.#state === 'closed';
    if (wasClosed && this.#failures < FAILURES_TO_OPEN) return false;
    if (this.#state === 'probing') this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    this.#state = 'open';
    this.#reason = reason;
    this.#probeAt = this.now() + this.#pauseMs;
    return wasClosed;
  }
}
