import type { Database } from '../../db/database.js';
import { backoffMs, pause } from '../../domain/async.js';
import type { Logger } from '../../logger.js';
import { describeFault } from '../../db/sqlstate.js';
import { markMissed, settleBatches, type RefusedReading } from '../ledger/ledger.js';

const LINGER_MS = 50;
const RETRY_MS = 500;

/**
 * Carries what became of each batch to the ledger, many at a time. While the primary is away it keeps trying; an entry
 * that is never settled only costs a repair that finds nothing to do.
 */
export class Settlement {
  #confirmed = new Map<string, readonly RefusedReading[]>();
  #missed = new Map<string, string>();
  #flushing: Promise<void> | null = null;
  readonly #closing = new AbortController();

  constructor(
    private readonly primary: Database,
    private readonly held: Set<string>,
    private readonly logger: Logger,
  ) {}

  /** The secondary holds the batch, but for the readings that it refused. */
  confirm(batchId: string, refusals: readonly RefusedReading[]): void {
    this.#confirmed.set(batchId, refusals);
    this.#schedule();
  }

  miss(batchId: string, reason: string): void {
    this.#missed.set(batchId, reason);
    this.#schedule();
  }

  /** Resolves when everything reported so far stands in the ledger, or `close` gave up on it. */
  async idle(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing;
  }

  /** Stops retrying; what is not in the ledger by then counts as missed once the lease has ended. */
  close(): void {
    this.#closing.abort();
  }

  #schedule(): void {
    this.#flushing ??= this.#flushAll().finally(() => {
      this.#flushing = null;
      if (this.#confirmed.size + this.#missed.size > 0 && !this.#closing.signal.aborted) this.#schedule();
    });
  }

  async #flushAll(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    while (this.#confirmed.size + this.#missed.size > 0 && !(signal.aborted && failures > 0)) {
      const pauseMs = failures === 0 ? LINGER_MS : backoffMs(failures, RETRY_MS);
      await pause(pauseMs, signal);
      failures = (await this.#flush()) ? 0 : failures + 1;
    }
  }

  async #flush(): Promise<boolean> {
    const confirmed = [...this.#confirmed.keys()];
    const refusals = [...this.#confirmed.values()].flat();
    const missed = new Map(this.#missed);
    try {
      if (confirmed.length > 0) await settleBatches(this.primary.pool, confirmed, refusals);
      if (missed.size > 0) await markMissed(this.primary.pool, missed);
    } catch (error) {
      this.logger.warn('ledger could not be updated, trying again', { error: describeFault(error) });
      return false;
    }
    for (const batchId of confirmed) this.#confirmed.delete(batchId);
    for (const batchId of missed.keys()) this.#missed.delete(batchId);
    for (const batchId of [...confirmed, ...missed.keys()]) this.held.delete(batchId);
    return true;
  }
}
