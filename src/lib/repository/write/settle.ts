import type { Database } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import { pause } from '../../domain/async.js';
import { backoff, singleFlight, withRetries } from '../../domain/retry.js';
import type { Logger } from '../../logger.js';
import { markMissed, settleBatches, type RefusedKey, type RefusedReading, type Refusal } from '../ledger/ledger.js';
import type { CommittedBatch } from './batch.js';
import type { WriteMeter } from './write-meter.js';

/** The outcome of a batch on the secondary: it holds the batch but for the readings that it refused, or lacks it. */
export type SendOutcome =
  | { readonly confirmed: true; readonly refused: readonly (Refusal | RefusedKey)[] }
  | { readonly confirmed: false; readonly reason: string };

const LINGER_MS = 50;
const RETRY_MS = 500;

/**
 * Carries what became of each batch to the ledger, many at a time. While the primary is away it keeps trying; an entry
 * that is never settled only costs a repair that finds nothing to do.
 */
export class Settlement {
  /** By batch, which readings the secondary refused, and whether it took all rows that the ledger knows by their keys. */
  #confirmed = new Map<string, { readonly hasKeys: boolean; readonly refused: readonly RefusedReading[] }>();
  #missed = new Map<string, string>();
  readonly #closing = new AbortController();
  readonly #writeAll = singleFlight(() => this.#writeUntilEmpty());

  constructor(
    private readonly options: {
      readonly primary: Database;
      /** Batches that the consumer still answers for; a batch that stands settled in the ledger leaves them. */
      readonly inFlight: Set<string>;
      readonly meter: WriteMeter;
      readonly logger: Logger;
    },
  ) {}

  /** Counts the outcome of a batch, and carries it to the ledger in the background. */
  settle(batch: CommittedBatch, outcome: SendOutcome): void {
    if (batch.batchId === null) return;
    const { meter } = this.options;
    if (outcome.confirmed) {
      const refused = outcome.refused.flatMap((refusal) =>
        'time' in refusal ? [{ ...refusal, consumerId: batch.consumerId }] : [],
      );
      const count = outcome.refused.length;
      const hasKeys = outcome.refused.length === refused.length;
      meter.settled({ confirmed: Math.max(0, batch.accepted - count), missed: 0, refused: count });
      this.#confirmed.set(batch.batchId, { hasKeys, refused });
    } else {
      meter.settled({ confirmed: 0, missed: batch.accepted, refused: 0 });
      this.#missed.set(batch.batchId, outcome.reason);
    }
    void this.#start();
  }

  /** Resolves when everything settled so far stands in the ledger, or `close` gave up on it. */
  async idle(): Promise<void> {
    while (this.#writeAll.current !== null || this.#hasWork) await this.#writeAll();
  }

  /** Stops retrying; what is not in the ledger by then counts as missed once the lease has ended. */
  close(): void {
    this.#closing.abort();
  }

  get #isEmpty(): boolean {
    return this.#confirmed.size + this.#missed.size === 0;
  }

  get #hasWork(): boolean {
    return !this.#isEmpty && !this.#closing.signal.aborted;
  }

  /** Batches that settle in the moment in which the writing ends are written by the next one. */
  async #start(): Promise<void> {
    await this.#writeAll();
    if (this.#hasWork) void this.#start();
  }

  async #writeUntilEmpty(): Promise<void> {
    const { signal } = this.#closing;
    while (!this.#isEmpty) {
      await pause(LINGER_MS, signal);
      const attempts = signal.aborted ? 1 : Infinity;
      try {
        await withRetries(() => this.#write(), { attempts, pauseMs: backoff(RETRY_MS), signal });
      } catch {
        // It was closed while it waited for the next attempt: this one is the last.
        if (attempts === 1 || !(await this.#write().then(succeeded, failed))) return;
      }
    }
  }

  async #write(): Promise<void> {
    const { primary, inFlight, logger } = this.options;
    const confirmed = [...this.#confirmed.keys()];
    const readings = [...this.#confirmed.values()].flatMap(({ refused }) => refused);
    const refusedIn = confirmed.filter((batchId) => this.#confirmed.get(batchId)?.hasKeys === false);
    const missed = new Map(this.#missed);
    try {
      if (confirmed.length > 0) await settleBatches(primary.pool, confirmed, { readings, batchIds: refusedIn });
      if (missed.size > 0) await markMissed(primary.pool, missed);
    } catch (error) {
      logger.warn('ledger could not be updated, trying again', { error: describeFault(error) });
      throw error;
    }
    for (const batchId of confirmed) this.#confirmed.delete(batchId);
    for (const batchId of missed.keys()) this.#missed.delete(batchId);
    for (const batchId of [...confirmed, ...missed.keys()]) inFlight.delete(batchId);
  }
}

const succeeded = (): boolean => true;
const failed = (): boolean => false;
