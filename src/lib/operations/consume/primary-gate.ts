import { setTimeout as delay } from 'node:timers/promises';

/** `closed`: the primary takes nothing. `ajar`: it fails, and that may be the fault of what is written to it. */
export type Trouble = 'closed' | 'ajar';

const AJAR_MS = 1_000;

/**
 * Closed while the primary does not take batches, so that nothing is received that could not be stored. Where the batches
 * themselves may be at fault it is ajar: a little is received, since others that are stored tell who is.
 */
export class PrimaryGate {
  readonly #troubles = new Map<object, Trouble>();
  #waiting: (() => void)[] = [];

  /** Says how the writes of one batch fare. */
  report(batch: object, trouble: Trouble | null): void {
    if (trouble === null) this.#troubles.delete(batch);
    else this.#troubles.set(batch, trouble);
    for (const resume of this.#waiting.splice(0)) resume();
  }

  /** Says that a batch was stored: where others are in doubt it is for what they hold. */
  trust(): void {
    for (const [batch, trouble] of this.#troubles) if (trouble === 'ajar') this.report(batch, null);
  }

  get isOpen(): boolean {
    return this.#troubles.size === 0;
  }

  /** Resolves when something may be received. */
  async untilOpen(): Promise<void> {
    const ajarFrom = performance.now() + AJAR_MS;
    while (!this.isOpen) {
      const isClosed = [...this.#troubles.values()].includes('closed');
      const leftMs = ajarFrom - performance.now();
      if (!isClosed && leftMs <= 0) return;
      await this.#changed(isClosed ? null : leftMs);
    }
  }

  async #changed(orAfterMs: number | null): Promise<void> {
    const change = new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (orAfterMs === null) await change;
    else {
      const timeout = new AbortController();
      await Promise.race([change, delay(orAfterMs, undefined, { signal: timeout.signal }).catch(() => undefined)]);
      timeout.abort();
    }
  }
}
