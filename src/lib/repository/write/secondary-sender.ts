import { describeFault, faultKind } from '../../db/sqlstate.js';
import { backoffMs, pause } from '../../domain/async.js';
import { sideTitle, sideTitleCapitalized, type Side } from '../../domain/side.js';
import type { Logger } from '../../logger.js';
import type { CommittedBatch } from './batch.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import type { Refusal, SecondaryWriter } from './secondary-writer.js';
import type { Settlement } from './settlement.js';
import type { WriteMeter } from './write-meter.js';

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
  readonly meter: WriteMeter;
  readonly retry: RetryPolicy;
  /** Batches sent side by side. */
  readonly concurrency: number;
  /** Memory for batches that wait, in bytes; beyond it a batch is entered as missed at once. */
  readonly maxBytes: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export type SendOutcome =
  | { readonly confirmed: true; readonly refused: readonly Refusal[] }
  | { readonly confirmed: false; readonly reason: string };

/** Sends committed batches to the secondary outside the path to the acknowledgement, within bounds, and settles each. */
export class SecondarySender {
  #waiting: CommittedBatch[] = [];
  #waitingBytes = 0;
  #sending = new Set<Promise<void>>();

  constructor(private readonly options: SecondarySenderOptions) {}

  /** Takes a batch over; never blocks and never throws. Whatever becomes of the batch ends in the ledger. */
  enqueue(batch: CommittedBatch): void {
    if (batch.batchId === null) return;
    if (this.#waitingBytes + batch.bytes > this.options.maxBytes) {
      this.settle(batch, { confirmed: false, reason: `${sideTitle(this.options.side)} is slower than ingestion` });
      return;
    }
    // The quarantined messages have been stored: only what is sent waits.
    this.#waiting.push({ ...batch, quarantined: [] });
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

  /** Carries the outcome of a batch to the ledger, together with others, in the background. */
  settle(batch: CommittedBatch, outcome: SendOutcome): void {
    if (batch.batchId === null) return;
    const { settlement, meter } = this.options;
    if (!outcome.confirmed) {
      meter.settled({ confirmed: 0, missed: batch.accepted, refused: 0 });
      settlement.miss(batch.batchId, outcome.reason);
      return;
    }
    const refused = outcome.refused.map((refusal) => ({ ...refusal, consumerId: batch.consumerId }));
    meter.settled({ confirmed: batch.accepted - refused.length, missed: 0, refused: refused.length });
    settlement.confirm(batch.batchId, refused);
  }

  /** Tries until the secondary confirms, the retries are used up, or the breaker is open. Does not throw. */
  async send(batch: CommittedBatch): Promise<SendOutcome> {
    const { breaker, retry, signal } = this.options;
    const attempts = retry.retries + 1;
    for (let attempt = 1; ; attempt += 1) {
      if (signal.aborted) return { confirmed: false, reason: 'the consumer was stopped' };
      if (!breaker.tryAcquire()) return { confirmed: false, reason: breaker.reason ?? 'the circuit breaker is open' };
      const result = await this.#attempt(batch, attempt, attempts);
      if ('refused' in result) return { confirmed: true, refused: result.refused };
      if (attempt === attempts || !result.retryable) return { confirmed: false, reason: result.reason };
      await pause(backoffMs(attempt, retry.delayMs), signal);
    }
  }

  async #attempt(batch: CommittedBatch, attempt: number, attempts: number): Promise<Attempt> {
    const startedAt = performance.now();
    const { writer, breaker } = this.options;
    try {
      const batchId = batch.batchId ?? '';
      const result = await writer.write({ ...batch, batchId });
      if ('left' in result) {
        breaker.succeeded();
        return { reason: result.left, retryable: false };
      }
      this.#reportSuccess(batch, result.refused.length, startedAt);
      return result;
    } catch (error) {
      const reason = describeFault(error);
      this.#reportFailure(batch, { attempt, attempts, error: reason });
      return { reason, retryable: faultKind(error) === 'unavailable' };
    }
  }

  #reportSuccess(batch: CommittedBatch, refused: number, startedAt: number): void {
    const { breaker, logger, side, meter } = this.options;
    if (breaker.state !== 'closed') logger.info(`${sideTitle(side)} answers again`);
    breaker.succeeded();
    const ms = Math.round(performance.now() - startedAt);
    meter.written(side, performance.now() - startedAt, batch.accepted - refused);
    const fields = { batch: batch.batchId, readings: batch.accepted, refused, ms };
    logger.info(`${sideTitleCapitalized(side)} write successful`, fields);
  }

  #reportFailure(batch: CommittedBatch, fields: { attempt: number; attempts: number; error: string }): void {
    const { breaker, logger, side, meter } = this.options;
    const opened = breaker.failed(fields.error);
    meter.failed(side, fields.error);
    logger.warn(`${sideTitleCapitalized(side)} write failed`, { batch: batch.batchId, ...fields });
    if (opened) {
      logger.warn(`${sideTitle(side)} is left out until it answers again; batches go to the ledger`);
    }
  }
}

type Attempt = { readonly refused: readonly Refusal[] } | { readonly reason: string; readonly retryable: boolean };
