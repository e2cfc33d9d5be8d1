import type { ReceivedMessage } from '../../queue/queue.js';

const RECENT_MS = 60_000;

/**
 * How long messages had been in the queue when they were received. SQS tells the age of its oldest message only to
 * CloudWatch; this is what a consumer sees of it, as exact as this host's clock.
 */
export class RecentWaits {
  #waits: { readonly at: number; readonly ms: number }[] = [];

  constructor(private readonly now: () => number = Date.now) {}

  add({ sentAtMs }: Pick<ReceivedMessage, 'sentAtMs'>): void {
    if (sentAtMs === null) return;
    const at = this.now();
    const ms = Math.max(0, at - sentAtMs);
    // What is shorter and older than another one can never be the longest again.
    while ((this.#waits.at(-1)?.ms ?? Infinity) <= ms) this.#waits.pop();
    this.#waits.push({ at, ms });
  }

  /** The longest of the last minute, in ms; null where no message came. */
  get longestMs(): number | null {
    const oldest = this.now() - RECENT_MS;
    while ((this.#waits[0]?.at ?? Infinity) < oldest) this.#waits.shift();
    return this.#waits[0]?.ms ?? null;
  }
}
