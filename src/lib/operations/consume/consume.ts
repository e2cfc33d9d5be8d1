import { setMaxListeners } from 'node:events';
import { describeFault, faultKind, isDoubtful, sqlstateOf } from '../../db/sqlstate.js';
import type { UsedDecoder } from '../../decoders/run-decoder.js';
import { chunksOf } from '../../domain/chunks.js';
import { backoff, withRetries, type FailedAttempt } from '../../domain/retry.js';
import type { Side } from '../../domain/side.js';
import { type Address, type Endpoint, serveMetrics } from '../../http/serve.js';
import type { Logger } from '../../logger.js';
import { asQueueError, describeCodes, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';
import { readGaps, type Gap } from '../../repository/ledger/ledger.js';
import { countFaults } from '../../repository/ledger/quarantine.js';
import { leavesNoRole, type MigratingRepository } from '../../repository/migrating-repository.js';
import { countAll, type CommittedBatch } from '../../repository/write/batch.js';
import type { WriteRequest } from '../../repository/write/divide-batch.js';
import type { SecondarySender } from '../../repository/write/send-batch.js';
import type { PrimaryWriter } from '../../repository/write/write-batch.js';
import { TIMES } from '../../timing.js';
import { ConsumeTotals, RecentWaits, type ConsumeSummary } from './consume-summary.js';
import { createConsumerMetrics, type ReceiveFigures } from './consumer-metrics.js';
import { DecoderWatch } from './decoder-watch.js';
import { FailingReadings, type Suspects } from './failing-readings.js';
import { judgeVitals, serveHealth, type ConsumerHealth } from './health.js';
import { InFlightMessages } from './in-flight-messages.js';
import { decodeReceived, faultsOf, MessageBatcher, type DecodedMessage } from './message-batcher.js';
import { ReceiveGate } from './receive-gate.js';
import { Receiver } from './receiver.js';
import { warnOfUnknownKeys } from './unknown-keys.js';

export interface ConsumeOptions {
  readonly queue: Queue;
  readonly repository: MigratingRepository;
  readonly decoder: UsedDecoder;
  /** Whether SENSOR_ID_FROM_MAC is set; null for a decoder that does not know it. */
  readonly fromMac: boolean | null;
  /** Long polls side by side. */
  readonly pollers: number;
  readonly batchMessages: number;
  readonly lingerMs: number;
  /** Messages to receive in all; Infinity for no end. */
  readonly maxMessages: number;
  /** Ends once the queue is empty and nothing is in flight. */
  readonly drain: boolean;
  readonly logger: Logger;
  /** Ends receiving; what is in flight is finished. */
  readonly stop: AbortSignal;
  /** Where to answer /healthz and /readyz; null for nowhere. */
  readonly health: Address | null;
  /** Where to answer /metrics; null for nowhere. */
  readonly metrics: Address | null;
}

export interface ConsumeReport extends ConsumeSummary {
  /** Time ranges that EC2 may lack, of this run and of all others; null where the ledger did not answer. */
  readonly gaps: readonly Gap[] | null;
}

const LONG_POLL_SECONDS = Math.ceil(TIMES.longPollMs / 1000);
const DRAIN_POLL_SECONDS = 1;
const BATCHES_IN_FLIGHT = 8;
const MIB = 1024 * 1024;
/** The limit of bodies in memory, and again of the readings that they become. */
const BYTES_IN_FLIGHT = 64 * MIB;
/** One statement holds no more, so that neither a text of Node nor a message to PostgreSQL comes near its limit. */
const BATCH_READINGS = 5_000;
const BATCH_BYTES = 8 * MIB;
const WRITE_PAUSE = backoff(500, 10_000);
/** Attempts after which an error of our own, which no other batch disproves, is a defect. */
const ATTEMPTS_OF_A_DEFECT = 6;
const LONGEST_FAILURE = 300;
const DECODED_AT_ONCE = 20;
const DELETE_ATTEMPTS = 4;
const DELETE_PAUSE = backoff(200);

/**
 * Consumes the queue until it is stopped, drained, or has `maxMessages`: gathers messages into batches, commits each on
 * the primary, acknowledges it, and sends it to the secondary in the background. Throws when the queue cannot be read at
 * start, or at a defect; afterwards trouble with queue or databases is waited out.
 */
export async function consume(options: ConsumeOptions): Promise<ConsumeReport> {
  const { queue, logger, repository } = options;
  const state = await queue.readState().catch((error: unknown) => {
    throw asQueueError(error, queue.url);
  });
  const messages = options.batchMessages * BATCHES_IN_FLIGHT;
  const limits = { messages, bytes: BYTES_IN_FLIGHT, decodedBytes: BYTES_IN_FLIGHT };
  const inFlight = new InFlightMessages(queue, Math.max(1, state.visibilityTimeoutSeconds) * 1000, limits, logger);
  inFlight.startHeartbeat();
  try {
    const summary = await new Consumer(options, inFlight).run();
    const gaps = await readGaps(repository.current.primary.database.pool).catch((error: unknown) => {
      logger.warn('the ledger could not be read', { error: describeFault(error) });
      return null;
    });
    return { ...summary, gaps };
  } finally {
    await inFlight.stopHeartbeat();
  }
}

/** The way of a message: received, decoded, gathered into a batch, written, sent in the background, acknowledged. */
class Consumer {
  readonly #gate = new ReceiveGate();
  readonly #failing: FailingReadings;
  readonly #receiver: Receiver;
  readonly #batcher: MessageBatcher;
  readonly #totals = new ConsumeTotals();
  readonly #waits = new RecentWaits();
  /** Messages are decoded one after the other. */
  readonly #undecoded: ReceivedMessage[] = [];
  #decoded: Promise<void> = Promise.resolve();
  readonly #decoderWatch: DecoderWatch;
  /** The look at the registry before the first batch is written. */
  #sensorsChecked: Promise<void> | undefined;
  readonly #processing = new Set<Promise<void>>();
  readonly #failed = new AbortController();
  readonly #stop: AbortSignal;
  #defect: Error | undefined;

  constructor(
    private readonly options: ConsumeOptions,
    private readonly inFlight: InFlightMessages,
  ) {
    const { repository, lingerMs, batchMessages } = options;
    this.#stop = AbortSignal.any([options.stop, repository.ended, this.#failed.signal]);
    // Every poller and every batch that waits for the primary listens to it.
    setMaxListeners(0, this.#stop);
    this.#failing = new FailingReadings(repository, this.#gate, this.#stop);
    const atMost = { items: batchMessages, readings: BATCH_READINGS, bytes: BATCH_BYTES };
    this.#batcher = new MessageBatcher(atMost, lingerMs, (batch) => this.#start(batch));
    this.#receiver = new Receiver({
      ...options,
      inFlight,
      waitSeconds: options.drain ? DRAIN_POLL_SECONDS : LONG_POLL_SECONDS,
      mayReceive: () => this.#gate.untilOpen(),
      deliver: (message) => this.#takeOver(message),
      stop: this.#stop,
    });
    this.#decoderWatch = new DecoderWatch(options.decoder, options.logger);
    repository.meter.follow(() => this.#readFigures());
  }

  async run(): Promise<ConsumeSummary> {
    const { options } = this;
    const health = options.health === null ? null : await serveHealth(options.health, () => this.#readHealth());
    let metrics: Endpoint | null = null;
    this.#decoderWatch.start();
    try {
      const registry = createConsumerMetrics(options.repository, () => this.#readFigures());
      metrics = options.metrics === null ? null : await serveMetrics(options.metrics, registry);
      await this.#receiver.run();
      // It receives nothing any more, and is no longer there for who asks.
      health?.close();
      await this.#decoded;
      this.#batcher.flush();
      while (this.#processing.size > 0) await Promise.all(this.#processing);
      if (this.#defect !== undefined) throw this.#defect;
      options.repository.ended.throwIfAborted();
      await options.repository.current.idle(this.#stop);
      return this.#totals.summarize(options.repository);
    } finally {
      await this.#decoderWatch.stop();
      for (const endpoint of [health, metrics]) endpoint?.close();
    }
  }

  /** Those of the roles of this moment: a switch exchanges them. */
  get #writers(): { readonly primary: PrimaryWriter; readonly secondary: SecondarySender | null } {
    return this.options.repository.current;
  }

  #takeOver(message: ReceivedMessage): void {
    this.#waits.add(message);
    this.#undecoded.push(message);
    this.#decoded = this.#decoded.then(() => this.#decodeNext());
  }

  /** Waits until there is room for what messages become, and decodes one at least. */
  async #decodeNext(): Promise<void> {
    if (this.#undecoded.length === 0) return;
    await this.inFlight.untilDecodable();
    const { decoder } = this.options;
    // What guards a module costs as much as decoding: several messages share it.
    const decoded = decodeReceived(this.#undecoded.slice(0, decoder.file === null ? 1 : DECODED_AT_ONCE), decoder);
    this.#undecoded.splice(0, decoded.length);
    for (const each of decoded) {
      this.inFlight.addDecoded(each.message, each.bytes);
      this.#batcher.add(each);
    }
    this.#decoderWatch.count(decoded);
    // One that took its whole time has held up all else.
    if (decoded.some(({ failed }) => failed)) await new Promise((resolve) => setImmediate(resolve));
  }

  #start(batch: DecodedMessage[]): void {
    const processing = this.#process(batch)
      .catch((error: unknown) => {
        this.#defect ??= error as Error;
        this.#failed.abort();
      })
      .finally(() => this.#processing.delete(processing));
    this.#processing.add(processing);
  }

  async #process(batch: readonly DecodedMessage[]): Promise<void> {
    const request = requestOf(batch, this.options.repository.roles.primary);
    const suspects: Suspects = new Map();
    await this.#checkSensors(request);
    const batches = await this.#write(request, suspects);
    if (batches !== null) this.#failing.noteStored(request.units.filter((unit) => !suspects.has(unit)));
    const isDone = ({ source }: DecodedMessage): boolean => ![...suspects].some(([each]) => each.source === source);
    const items = countAll(request.units) + countFaults(request.rejects) - countAll([...suspects.keys()]);
    await this.#finish(batch.filter(isDone), batches, items);
    const rest = batch.filter((each) => !isDone(each));
    if (rest.length > 0) await this.#finish(rest, await this.#writeSuspects(suspects), countAll([...suspects.keys()]));
  }

  async #checkSensors({ units }: WriteRequest): Promise<void> {
    const { repository, fromMac, logger } = this.options;
    if (units.length === 0) return;
    this.#sensorsChecked ??= warnOfUnknownKeys(repository.current.primary.database, units, { fromMac, logger });
    await this.#sensorsChecked;
  }

  /** Writes until the primary stores it; null where the consumer was told to stop meanwhile: the messages come again. */
  async #write(request: WriteRequest, suspects: Suspects): Promise<CommittedBatch[] | null> {
    const { repository } = this.options;
    const doubt = this.#failing.doubtOf(request, suspects);
    const attempts = withRetries(
      async (attempt) => {
        suspects.clear();
        if (attempt > 1) await repository.follow(this.#stop);
        repository.ended.throwIfAborted();
        return await this.#writers.primary.write({ ...request, doubt });
      },
      {
        pauseMs: (failures, error) => (faultKind(error) === 'fenced' ? 0 : WRITE_PAUSE(failures)),
        retryIf: (error, attempt) => !isFinal(error, attempt),
        onFailedAttempt: (failed) => this.#reportFailure(request, failed),
        signal: this.#stop,
      },
    );
    try {
      return await attempts;
    } catch (error) {
      if (error === this.#stop.reason) return null;
      throw error;
    } finally {
      this.#gate.report(request, null);
    }
  }

  #reportFailure(request: WriteRequest, { error, attempt, pauseMs }: FailedAttempt): void {
    const { repository, logger } = this.options;
    if (pauseMs === null) return;
    this.#gate.report(request, isDoubtful(error) ? 'ajar' : 'closed');
    if (faultKind(error) === 'fenced') return;
    const fields = { attempt, pauseMs: Math.round(pauseMs), error: describeFault(error) };
    logger.error(`${repository.roles.primary} write failed; nothing is acknowledged, receiving pauses`, fields);
  }

  async #writeSuspects(suspects: Suspects): Promise<CommittedBatch[] | null> {
    const retried = await this.#failing.retry(suspects);
    if (retried === null || retried.rejects.length === 0) return retried?.batches ?? null;
    const kept = await this.#write({ units: [], rejects: retried.rejects }, new Map());
    return kept && [...retried.batches, ...kept];
  }

  /** Acknowledges messages whose readings are committed; where `batches` is null they are left to come again. */
  async #finish(
    decoded: readonly DecodedMessage[],
    batches: readonly CommittedBatch[] | null,
    items: number,
  ): Promise<void> {
    const messages = decoded.map(({ message }) => message);
    if (batches !== null) {
      for (const batch of batches) this.#writers.secondary?.enqueue(batch);
      this.#totals.addCommitted(decoded, items, batches);
      this.#totals.addUnacknowledged(await this.#acknowledge(messages));
    }
    this.inFlight.remove(messages);
  }

  /** Returns how many messages SQS did not confirm as deleted in the end: they come again, and change nothing. */
  async #acknowledge(messages: readonly ReceivedMessage[]): Promise<number> {
    const left = await Promise.all(chunksOf(messages, SQS_BATCH).map((group) => this.#delete(group)));
    return left.reduce((sum, count) => sum + count, 0);
  }

  async #delete(group: readonly ReceivedMessage[]): Promise<number> {
    const { queue, logger } = this.options;
    let left = [...group];
    const deleteLeft = async (attempt: number): Promise<void> => {
      const warn = (error: string): void => {
        const fields = { messages: left.length, attempt, attempts: DELETE_ATTEMPTS, error };
        logger.warn('acknowledgement failed', fields);
      };
      try {
        // A batch delete can fail in part: what it did not confirm is deleted again.
        const unconfirmed = await queue.delete(left);
        left = unconfirmed.map(({ item }) => item);
        if (left.length > 0) warn(`SQS did not confirm it (${describeCodes(unconfirmed)})`);
      } catch (error) {
        warn(asQueueError(error, queue.url).message);
      }
      if (left.length > 0) throw new Error('SQS did not confirm every message');
    };
    await withRetries(deleteLeft, { attempts: DELETE_ATTEMPTS, pauseMs: DELETE_PAUSE }).catch(() => undefined);
    return left.length;
  }

  #readFigures(): ReceiveFigures {
    const { messages, quarantined, unacknowledged } = this.#totals.summarize(this.options.repository);
    const { longestMs: longestWaitMs } = this.#waits;
    const { pollAgeMs } = this.#receiver;
    const pollFailure = this.#receiver.pollFailure?.slice(0, LONGEST_FAILURE) ?? null;
    const inHand = this.inFlight.size;
    return { messages, quarantined, unacknowledged, inHand, longestWaitMs, pollAgeMs, pollFailure };
  }

  #readHealth(): ConsumerHealth {
    const { current, roles } = this.options.repository;
    const { state, reason } = current.breaker;
    return {
      ...judgeVitals({
        paused: !this.#gate.isOpen,
        primary: roles.primary,
        pollAgeMs: this.#receiver.pollAgeMs,
        pollFailure: this.#receiver.pollFailure,
        leaseAgeMs: current.session.leaseAgeMs,
      }),
      writeMode: roles.writeMode,
      messages: this.#totals.messages,
      messagesInHand: this.inFlight.size,
      breaker: { state, reason },
    };
  }
}

/** The rows of a batch, and the records of its messages that decode to faults, for the side that is the primary. */
function requestOf(batch: readonly DecodedMessage[], side: Side): WriteRequest {
  return {
    units: batch.flatMap(({ units }) => units),
    rejects: batch.flatMap((each) => faultsOf(each, side) ?? []),
  };
}

/** A wrong statement is wrong for every batch; an error that our code throws may be for this one. */
function isFinal(error: unknown, attempt: number): boolean {
  if (leavesNoRole(error)) return true;
  return faultKind(error) === 'defect' && (sqlstateOf(error) !== undefined || attempt >= ATTEMPTS_OF_A_DEFECT);
}
