import { setTimeout as delay } from 'node:timers/promises';
import { describeFault, faultKind } from '../db/sqlstate.js';
import { repeatCollisions } from '../db/transaction.js';
import { backoffMs } from '../domain/backoff.js';
import { sideTitle, sideTitleCapitalized, type Side } from '../domain/side.js';
import type { Logger } from '../logger.js';
import type { CommittedBatch } from './batch.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import type { SecondaryWriter } from './secondary-writer.js';
import type { Settlement } from './settlement.js';

export interface RetryPolicy {
  /** Tries after the first one. */
  readonly retries: number;
  /** Pause before the first retry, in ms; doubles, with jitter. */
  readonly delayMs: number;
}

export interface SecondarySenderOptions {
  readonly side: Side;
  readonly writer: SecondaryWriter;
  readonly breaker: CircuitBreaker;
  readonly settlement: Settlement;
  readonly retry: RetryPolicy;
  /** Batches sent side by side. */
  readonly concurrency: number;
  /** Memory for batches that wait, in bytes; beyond it a batch is entered as missed at once. */
  readonly maxBytes: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export type SendOutcome = { readonly confirmed: true } | { readonly confirmed: false; readonly reason: string };

/** Readings by what became of them on the secondary. */
export interface SendTotals {
  readonly confirmed: number;
  readonly missed: number;
}

/** Sends committed batches to the secondary outside the path to the acknowledgement, within bounds, and settles each. */
export class SecondarySender {
  #waiting: CommittedBatch[] = [];
  #waitingBytes = 0;
  #sending = new Set<Promise<void>>();
  #totals = { confirmed: 0, missed: 0 };

  constructor(private readonly options: SecondarySenderOptions) {}

  /** Takes a batch over; never blocks and never throws. Whatever becomes of the batch ends in the ledger. */
  enqueue(batch: CommittedBatch): void {
    if (batch.batchId === null) return;
    if (this.#waitingBytes + batch.bytes > this.options.maxBytes) {
      this.settle(batch, { confirmed: false, reason: `${sideTitle(this.options.side)} is slower than ingestion` });
      return;
    }
    this.#waiting.push(batch);
    this.#waitingBytes += batch.bytes;
    this.#startNext();
  }

  /** Resolves when every batch taken over has been confirmed or entered as missed. */
  async idle(): Promise<void> {
    while (this.#sending.size > 0) await Promise.all(this.#sending);
    await this.options.settlement.idle();
  }

  #startNext(): void {
    while (this.#sending.size < this.options.concurrency) {
      const batch = this.#waiting.shift();
      if (batch === undefined) return;
      const sending = this.send(batch).then((outcome) => {
        this.settle(batch, outcome);
        this.#waitingBytes -= batch.bytes;
        this.#sending.delete(sending);
        this.#startNext();
      });
      this.#sending.add(sending);
    }
  }

  get totals(): SendTotals {
    return this.#totals;
  }

  /** Carries the outcome of a batch to the ledger, together with others, in the background. */
  settle(batch: CommittedBatch, outcome: SendOutcome): void {
    if (batch.batchId === null) return;
    this.#totals[outcome.confirmed ? 'confirmed' : 'missed'] += batch.accepted;
    if (outcome.confirmed) this.options.settlement.confirm(batch.batchId);
    else this.options.settlement.miss(batch.batchId, outcome.reason);
  }

  /** Tries until the secondary confirms, the retries are used up, or the breaker is open. Does not throw. */
  async send(batch: CommittedBatch): Promise<SendOutcome> {
    const { breaker, retry, signal } = this.options;
    const attempts = retry.retries + 1;
    for (let attempt = 1; ; attempt += 1) {
      if (signal.aborted) return { confirmed: false, reason: 'the consumer was stopped' };
      if (!breaker.tryAcquire()) return { confirmed: false, reason: breaker.reason ?? 'the circuit breaker is open' };
      const failure = await this.#attempt(batch, attempt, attempts);
      if (failure === null) return { confirmed: true };
      if (attempt === attempts || !failure.retryable) return { confirmed: false, reason: failure.reason };
      await delay(backoffMs(attempt, retry.delayMs), undefined, { signal }).catch(() => undefined);
    }
  }

  async #attempt(batch: CommittedBatch, attempt: number, attempts: number): Promise<Failure | null> {
    const { breaker, logger, side } = this.options;
    const startedAt = performance.now();
    try {
      await repeatCollisions(() => this.options.writer.write(batch));
    } catch (error) {
      const reason = describeFault(error);
      const kind = faultKind(error);
      if (kind === 'refused') breaker.succeeded();
      else breaker.failed(reason);
      logger.warn(`${sideTitleCapitalized(side)} write failed`, {
        batch: batch.batchId,
        attempt,
        attempts,
        error: reason,
      });
      return { reason, retryable: kind === 'unavailable' };
    }
    breaker.succeeded();
    const ms = Math.round(performance.now() - startedAt);
    logger.info(`${sideTitleCapitalized(side)} write successful`, {
      batch: batch.batchId,
      readings: batch.accepted,
      ms,
    });
    return null;
  }
}

interface Failure {
  readonly reason: string;
  readonly retryable: boolean;
}
