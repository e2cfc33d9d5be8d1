import { setMaxListeners } from 'node:events';
import { describeFault } from '../../db/sqlstate.js';
import type { Side } from '../../domain/side.js';
import { type Address, type Endpoint, serveMetrics } from '../../http/serve.js';
import type { Logger } from '../../logger.js';
import { asQueueError, type Queue, type ReceivedMessage } from '../../queue/queue.js';
import type { CommittedBatch } from '../../repository/write/batch.js';
import type { Gap } from '../../repository/ledger/ledger.js';
import type { MigratingRepository } from '../../repository/migrating-repository.js';
import type { WriteRequest } from '../../repository/write/division.js';
import { countFaults } from '../../repository/ledger/quarantine.js';
import type { DecodeOptions } from '../../decoders/decode.js';
import { TIMES } from '../../timing.js';
import { acknowledge } from './acknowledger.js';
import { Batcher } from './batcher.js';
import { decodeReceived, faultsOf, type DecodedMessage } from './decoded-message.js';
import { judgeVitals, serveHealth, type ConsumerHealth } from './health.js';
import { InHand } from './in-hand.js';
import { Intake } from './intake.js';
import { createConsumerMetrics, type Intaken } from './metrics.js';
import { PatientWriter } from './patient-writer.js';
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
const MIB = 1024 * 1024;
/** Of bodies, and again of what they become. */
const BYTES_IN_HAND = 64 * MIB;
/** One statement holds no more, so that neither a text of Node nor a message to PostgreSQL comes near its limit. */
const BATCH_READINGS = 5_000;
const BATCH_BYTES = 8 * MIB;

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
  const messages = options.batchMessages * BATCHES_IN_HAND;
  const limits = { messages, bytes: BYTES_IN_HAND, decodedBytes: BYTES_IN_HAND };
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
  readonly #writer: PatientWriter;
  readonly #received: ReceivedMessage[] = [];
  #decoding: Promise<void> | null = null;
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
    this.#writer = new PatientWriter({ ...options, gate: this.#gate, stop: this.#stop });
    // Every poller and every batch that waits for the primary listens to it.
    setMaxListeners(0, this.#stop);
    options.repository.meter.follow(() => this.#readIntake());
  }

  async run(): Promise<ConsumeSummary> {
    const { options } = this;
    const atMost = { items: options.batchMessages, readings: BATCH_READINGS, bytes: BATCH_BYTES };
    const batcher = new Batcher<DecodedMessage>(atMost, options.lingerMs, (batch) => this.#start(batch));
    const intake = new Intake({
      ...options,
      inHand: this.inHand,
      waitSeconds: options.drain ? DRAIN_POLL_SECONDS : LONG_POLL_SECONDS,
      primaryAvailable: () => this.#gate.untilOpen(),
      deliver: (message) => {
        this.#waits.add(message);
        this.#received.push(message);
        this.#decoding ??= this.#decodeReceived(batcher).finally(() => (this.#decoding = null));
      },
      stop: this.#stop,
    });
    const health = options.health === null ? null : await serveHealth(options.health, () => this.#readHealth(intake));
    let metrics: Endpoint | null = null;
    try {
      metrics = options.metrics === null ? null : await this.#serveMetrics(options.metrics, intake);
      await intake.run();
      // It receives nothing any more, and is no longer there for who asks.
      health?.close();
      await this.#decoding;
      batcher.flush();
      while (this.#working.size > 0) await Promise.all(this.#working);
      if (this.#defect !== undefined) throw this.#defect;
      options.repository.ended.throwIfAborted();
      await options.repository.idle(this.#stop);
      return this.#tally.summarize(options.repository);
    } finally {
      for (const endpoint of [health, metrics]) endpoint?.close();
    }
  }

  async #serveMetrics(address: Address, intake: Intake): Promise<Endpoint> {
    return await serveMetrics(
      address,
      createConsumerMetrics(this.options.repository, () => ({ ...this.#readIntake(), pollAgeMs: intake.pollAgeMs })),
    );
  }

  #readIntake(): Omit<Intaken, 'pollAgeMs'> {
    const { messages, quarantined, unacknowledged } = this.#tally.summarize(this.options.repository);
    return {
      ...{ messages, quarantined, unacknowledged },
      inHand: this.inHand.size,
      longestWaitMs: this.#waits.longestMs,
    };
  }

  #readHealth(intake: Intake): ConsumerHealth {
    const { repository } = this.options;
    return {
      ...judgeVitals({
        paused: !this.#gate.isOpen,
        primary: repository.primarySide,
        pollAgeMs: intake.pollAgeMs,
        pollFailure: intake.pollFailure,
        leaseAgeMs: repository.leaseAgeMs,
      }),
      writeMode: repository.writeMode,
      messages: this.#tally.messages,
      messagesInHand: this.inHand.size,
      breaker: repository.breaker,
    };
  }

  /** Decodes what was received, one after the other, as long as there is room for what it becomes. */
  async #decodeReceived(batcher: Batcher<DecodedMessage>): Promise<void> {
    for (let message = this.#received.shift(); message !== undefined; message = this.#received.shift()) {
      await this.inHand.untilDecodable();
      const decoded = decodeReceived(message, this.options.telemetry);
      this.inHand.addDecoded(message, decoded.bytes);
      batcher.add(decoded);
    }
  }

  #start(batch: DecodedMessage[]): void {
    const work = this.#process(batch)
      .catch((error: unknown) => {
        this.#defect ??= error as Error;
        this.#failed.abort();
      })
      .finally(() => this.#working.delete(work));
    this.#working.add(work);
  }

  async #process(batch: readonly DecodedMessage[]): Promise<void> {
    const request = requestOf(batch, this.options.repository.primarySide);
    const { batches, suspects } = await this.#writer.write(request);
    const isDone = ({ source }: DecodedMessage): boolean => ![...suspects].some(([each]) => each.source === source);
    const done = batch.filter((each) => isDone(each));
    const items = request.readings.length + countFaults(request.rejects) - suspects.size;
    await this.#finish(done, batches, items);
    const rest = batch.filter((each) => !isDone(each));
    if (rest.length > 0) await this.#finish(rest, await this.#writer.writeSuspects(suspects), suspects.size);
  }

  /** Acknowledges messages whose readings are committed; where `batches` is null they are left to come again. */
  async #finish(
    decoded: readonly DecodedMessage[],
    batches: readonly CommittedBatch[] | null,
    items: number,
  ): Promise<void> {
    const { repository, queue, logger } = this.options;
    const messages = decoded.map(({ message }) => message);
    if (batches !== null) {
      for (const batch of batches) repository.dispatch(batch);
      this.#tally.addCommitted(messages.length, items, batches);
      this.#tally.addUnacknowledged(await acknowledge(queue, messages, logger));
    }
    this.inHand.remove(messages);
  }
}

function requestOf(batch: readonly DecodedMessage[], side: Side): WriteRequest {
  return {
    readings: batch.flatMap(({ decoded }) => decoded.readings),
    rejects: batch.flatMap((each) => faultsOf(each, side) ?? []),
  };
}
