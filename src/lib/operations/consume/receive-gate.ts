import { WaitList } from '../../domain/retry.js';

/** `closed`: the primary takes nothing. `ajar`: it fails, and that may be the fault of what is written to it. */
export type Trouble = 'closed' | 'ajar';

const AJAR_MS = 1_000;

/**
 * Closed while the primary does not take batches, so that nothing is received that could not be stored. Where the batches
 * themselves may be at fault it is ajar: a little is received, since others that are stored tell who is.
 */
export class ReceiveGate {
  readonly #troubles = new Map<object, Trouble>();
  readonly #waiting = new WaitList();

  /** Says how the writes of one batch fare. */
  report(batch: object, trouble: Trouble | null): void {
    if (trouble === null) this.#troubles.delete(batch);
    else this.#troubles.set(batch, trouble);
    this.#waiting.notify();
  }

  /** Says that a batch was stored: where others are in doubt it is for what they hold. */
  trust(): void {
    for (const [batch, trouble] of this.#troubles) if (trouble === 'ajar') this.report(batch, null);
  }

  get isOpen(): boolean {
    return this.#troubles.size === 0;
  }

  /** Resolves when something may be received: it is open, or has been no more than ajar for a while. */
  async untilOpen(): Promise<void> {
    const isClosed = (): boolean => [...this.#troubles.values()].includes('closed');
    await this.#waiting.until(() => this.isOpen, AJAR_MS);
    await this.#waiting.until(() => this.isOpen || !isClosed());
  }
}
