import { setMaxListeners } from 'node:events';
import type { Server } from 'node:http';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { backoffMs } from '../../domain/backoff.js';
import { pause } from '../../domain/pause.js';
import type { Reading } from '../../domain/reading.js';
import { sideTitle } from '../../domain/side.js';
import type { Address } from '../../http/serve.js';
import { serveMetrics } from '../../http/metrics.js';
import type { Logger } from '../../logger.js';
import { asQueueError } from '../../queue/queue-error.js';
import type { Queue, ReceivedMessage } from '../../queue/queue.js';
import type { CommittedBatch } from '../../repository/batch.js';
import { LEASE_MS } from '../../repository/consumer-lease.js';
import type { Gap } from '../../repository/ledger.js';
import { leavesNoRole, type MigratingRepository } from '../../repository/migration/migrating-repository.js';
import type { WriteRequest } from '../../repository/primary-writer.js';
import type { QuarantineRecord } from '../../repository/quarantine.js';
import { decodeMessage, type DecodeOptions } from '../../telemetry/decode.js';
import { TIMES } from '../../timing.js';
import { acknowledge } from './acknowledger.js';
import { Batcher } from './batcher.js';
import { serveHealth, type ConsumerHealth } from './health.js';
import { InHand } from './in-hand.js';
import { Intake } from './intake.js';
import { createConsumerMetrics, type Intaken } from './metrics.js';
import { PrimaryGate } from './primary-gate.js';
import { Tally, type ConsumeSummary } from './tally.js';
import { RecentWaits } from './recent-waits.js';

export interface ConsumeOptions {
  readonly queue: Queue;
  readonly repository: MigratingRepository;
  readonly telemetry: DecodeOptions;
  readonly pollers: number;
  readonly batchMessages: number;
  readonly lingerMs: number;
  readonly maxMessages: number;
  readonly drain: boolean;
  readonly logger: Logger;
  /** Ends receiving; what is in hand is finished. */
  readonly stop: AbortSignal;
  /** Where to answer /healthz and /readyz; null for nowhere. */
  readonly health: Address | null;
  /** Where to answer /metrics; null for nowhere. */
  readonly metrics: Address | null;
}

export interface ConsumeReport extends ConsumeSummary {
  /** What EC2 may lack, of this run and of all others; null where the ledger did not answer. */
  readonly gaps: readonly Gap[] | null;
}

const LONG_POLL_SECONDS = Math.ceil(TIMES.longPollMs / 1000);
const DRAIN_POLL_SECONDS = 1;
const BATCHES_IN_HAND = 8;
const BYTES_IN_HAND = 64 * 1024 * 1024;
const POLL_SILENCE_MS = TIMES.pollSilenceMs;
const PRIMARY_RETRY_MS = 500;
const PRIMARY_RETRY_LIMIT_MS = 10_000;

/**
 * Consumes the queue until it is stopped, drained, or has `maxMessages`: gathers messages into batches, commits each on
 * the primary, acknowledges it, and sends it to the secondary in the background. Throws when the queue cannot be read at
 * start, or at a defect; afterwards trouble with queue or databases is waited out.
 */
export async function consume(options: ConsumeOptions): Promise<ConsumeReport> {
  const { queue, logger } = options;
  const state = await queue.readState().catch((error: unknown) => {
    throw asQueueError(error, queue.url);
  });
  const limits = { messages: options.batchMessages * BATCHES_IN_HAND, bytes: BYTES_IN_HAND };
  const inHand = new InHand(queue, Math.max(1, state.visibilityTimeoutSeconds) * 1000, limits, logger);
  inHand.start();
  try {
    const summary = await new Consumption(options, inHand).run();
    const gaps = await options.repository.readGaps().catch((error: unknown) => {
      logger.warn('the ledger could not be read', { error: describeFault(error) });
      return null;
    });
    return { ...summary, gaps };
  } finally {
    await inHand.stop();
  }
}

class Consumption {
  readonly #gate = new PrimaryGate();
  readonly #tally = new Tally();
  readonly #waits = new RecentWaits();
  readonly #working = new Set<Promise<void>>();
  readonly #failed = new AbortController();
  readonly #stop: AbortSignal;
  #defect: Error | undefined;

  constructor(
    private readonly options: ConsumeOptions,
    private readonly inHand: InHand,
  ) {
    this.#stop = AbortSignal.any([options.stop, options.repository.ended, this.#failed.signal]);
    // Every poller and every batch that waits for the primary listens to it.
    setMaxListeners(0, this.#stop);
    options.repository.meter.follow(() => this.#readIntake());
  }

  async run(): Promise<ConsumeSummary> {
    const { options } = this;
    const batcher = new Batcher<ReceivedMessage>(options.batchMessages, options.lingerMs, (batch) =>
      this.#start(batch),
    );
    const intake = new Intake({
      ...options,
      inHand: this.inHand,
      waitSeconds: options.drain ? DRAIN_POLL_SECONDS : LONG_POLL_SECONDS,
      primaryAvailable: () => this.#gate.untilOpen(),
      deliver: (message) => {
        this.#waits.add(message);
        batcher.add(message);
      },
      stop: this.#stop,
    });
    const health = options.health === null ? null : await serveHealth(options.health, () => this.#readHealth(intake));
    const metrics = options.metrics === null ? null : await this.#serveMetrics(options.metrics);
    await intake.run().finally(() => health?.close());
    batcher.flush();
    while (this.#working.size > 0) await Promise.all(this.#working);
    if (this.#defect !== undefined) throw this.#defect;
    options.repository.ended.throwIfAborted();
    await options.repository.idle(this.#stop);
    metrics?.close();
    return this.#tally.summarize(options.repository);
  }

  async #serveMetrics(address: Address): Promise<Server> {
    return await serveMetrics(
      address,
      createConsumerMetrics(this.options.repository, () => this.#readIntake()),
    );
  }

  #readIntake(): Intaken {
    const { messages, quarantined, unacknowledged } = this.#tally.summarize(this.options.repository);
    return {
      ...{ messages, quarantined, unacknowledged },
      inHand: this.inHand.size,
      longestWaitMs: this.#waits.longestMs,
    };
  }

  #readHealth(intake: Intake): ConsumerHealth {
    const { repository } = this.options;
    const paused = !this.#gate.isOpen;
    const polls = paused || intake.idleMs < POLL_SILENCE_MS ? [] : ['no poll of the queue has begun for a minute'];
    const lease = repository.leaseAgeMs < LEASE_MS ? [] : ['the lease could not be renewed'];
    const primary = paused ? [`${sideTitle(repository.primarySide)} does not take batches; receiving pauses`] : [];
    return {
      healthy: polls.length === 0,
      ready: polls.length + lease.length + primary.length === 0,
      reasons: [...polls, ...lease, ...primary],
      writeMode: repository.writeMode,
      messages: this.#tally.messages,
      messagesInHand: this.inHand.size,
      breaker: repository.breaker,
    };
  }

  #start(messages: ReceivedMessage[]): void {
    const work = this.#process(messages)
      .catch((error: unknown) => {
        this.#defect ??= error as Error;
        this.#failed.abort();
      })
      .finally(() => this.#working.delete(work));
    this.#working.add(work);
  }

  async #process(messages: ReceivedMessage[]): Promise<void> {
    const request = decodeAll(messages, this.options);
    const batches = await this.#commit(request);
    if (batches === null) {
      this.inHand.remove(messages);
      return;
    }
    for (const batch of batches) this.options.repository.dispatch(batch);
    this.#tally.addCommitted(messages.length, request.readings.length + request.rejects.length, batches);
    this.#tally.addUnacknowledged(await acknowledge(this.options.queue, messages, this.options.logger));
    this.inHand.remove(messages);
  }

  /** Waits trouble of the primary out; null when the consumer was told to stop meanwhile: the messages come again. */
  async #commit(request: WriteRequest): Promise<CommittedBatch[] | null> {
    try {
      return await this.options.repository.writeBatch(request);
    } catch (error) {
      return await this.#gate.whileFailing(() => this.#commitLater(request, error));
    }
  }

  async #commitLater(request: WriteRequest, firstError: unknown): Promise<CommittedBatch[] | null> {
    const { repository } = this.options;
    let error = firstError;
    for (let attempt = 1; !this.#stop.aborted; attempt += 1) {
      if (faultKind(error) === 'defect' || leavesNoRole(error)) throw error;
      if (faultKind(error) !== 'fenced') await this.#pause(attempt, error);
      try {
        await repository.follow(this.#stop);
        return await repository.writeBatch(request);
      } catch (nextError) {
        error = nextError;
      }
    }
    return null;
  }

  async #pause(attempt: number, error: unknown): Promise<void> {
    const { repository, logger } = this.options;
    const pauseMs = backoffMs(attempt, PRIMARY_RETRY_MS, PRIMARY_RETRY_LIMIT_MS);
    const fields = { attempt, pauseMs: Math.round(pauseMs), error: describeFault(error) };
    logger.error(`${repository.primarySide} write failed; nothing is acknowledged, receiving pauses`, fields);
    await pause(pauseMs, this.#stop);
  }
}

function decodeAll(messages: readonly ReceivedMessage[], options: ConsumeOptions): WriteRequest {
  const readings: Reading[] = [];
  const rejects: QuarantineRecord[] = [];
  for (const { messageId, body } of messages) {
    const source = { messageId, body };
    const decoded = decodeMessage(body, options.telemetry);
    for (const reading of decoded.readings) readings.push({ ...reading, source });
    for (const fault of decoded.faults) {
      rejects.push({ ...fault, ...source, side: options.repository.primarySide, sqlstate: null, table: null });
    }
  }
  return { readings, rejects };
}
