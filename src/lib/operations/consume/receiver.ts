import { pause } from '../../domain/async.js';
import { backoff, singleFlight, withDeadline, withRetries, type FailedAttempt } from '../../domain/retry.js';
import type { Logger } from '../../logger.js';
import { asQueueError, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';
import type { InFlightMessages } from './in-flight-messages.js';

export interface ReceiverOptions {
  readonly queue: Queue;
  readonly inFlight: InFlightMessages;
  /** Long polls side by side. */
  readonly pollers: number;
  /** How long one poll waits for a message, in seconds. */
  readonly waitSeconds: number;
  /** Messages to receive in all; Infinity for no end. */
  readonly maxMessages: number;
  /** Ends once the queue is empty and nothing is in flight. */
  readonly drain: boolean;
  /** Resolves while the primary takes batches; nothing is received before. */
  readonly mayReceive: () => Promise<void>;
  readonly deliver: (message: ReceivedMessage) => void;
  readonly logger: Logger;
  /** Ends polling; the polls under way are awaited, for SQS may have answered them. */
  readonly stop: AbortSignal;
}

const RETRY_MS = 500;
/** Receiving was held back on purpose where it waited so long. */
const HELD_MS = 1_000;
/** A queue is drained when its counts were zero so many times in a row: they are approximate. */
const EMPTY_COUNTS = 2;
/** Between two polls of all pollers, while the queue does not wait for a message before it says that there is none. */
const HURRIED_POLL_MS = 250;
/** The SDK gives a call up before; a poll that outlives this has stopped silently, and another takes its place. */
const POLL_DEADLINE_MS = 45_000;

/** Receives messages with several long polls in parallel until it is stopped, has enough, or the queue is drained. */
export class Receiver {
  #budget: number;
  #emptyCounts = 0;
  #isDrained = false;
  readonly #checkDrained = singleFlight(() => this.#countQueue());
  #answeredAt = performance.now();
  #failure: string | null = null;
  /** When the next poll may begin after an answer that came early and empty. */
  #nextPollAt = 0;

  constructor(private readonly options: ReceiverOptions) {
    this.#budget = options.maxMessages;
  }

  /** Resolves when polling has ended. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: this.options.pollers }, () => this.#poll()));
  }

  /** How long ago the queue answered a poll, in ms; it grows while nothing may be received. */
  get pollAgeMs(): number {
    return performance.now() - this.#answeredAt;
  }

  /** Why the last poll failed; null once one was answered. */
  get pollFailure(): string | null {
    return this.#failure;
  }

  /** Receives as long as messages are wanted. Only a stop ends the attempts after a failure. */
  async #poll(): Promise<void> {
    const { queue, logger, stop } = this.options;
    const policy = {
      pauseMs: backoff(RETRY_MS),
      onFailedAttempt: ({ error, attempt }: FailedAttempt) => {
        this.#failure = asQueueError(error, queue.url).message;
        logger.warn('receiving failed, trying again', { attempt, error: this.#failure });
      },
      signal: stop,
    };
    while (this.#wantsMore()) await withRetries(() => this.#receive(), policy).catch(() => undefined);
  }

  #wantsMore(): boolean {
    return !this.options.stop.aborted && !this.#isDrained && this.#budget > 0;
  }

  async #receive(): Promise<void> {
    const { inFlight, mayReceive } = this.options;
    const heldAt = performance.now();
    await inFlight.untilRoom();
    await mayReceive();
    // Nobody answers who was not asked: the queue's silence begins anew.
    if (performance.now() - heldAt > HELD_MS) this.#answeredAt = performance.now();
    if (!this.#wantsMore()) return;
    await withDeadline(this.#receiveMessages(), POLL_DEADLINE_MS, () => {
      throw new Error(`a poll has been silent for ${POLL_DEADLINE_MS / 1000} s`);
    });
  }

  /** One long poll. Messages that come after its deadline are delivered all the same. */
  async #receiveMessages(): Promise<void> {
    const { queue, inFlight, deliver, drain, waitSeconds } = this.options;
    const wanted = Math.min(this.#budget, SQS_BATCH);
    this.#budget -= wanted;
    const askedAt = performance.now();
    let messages: ReceivedMessage[] = [];
    try {
      messages = await queue.receive(wanted, waitSeconds, (ids) => this.#reportDamaged(ids));
      this.#answeredAt = performance.now();
      this.#failure = null;
    } finally {
      this.#budget += wanted - messages.length;
    }
    for (const message of messages) {
      inFlight.add(message);
      deliver(message);
    }
    if (messages.length > 0) this.#emptyCounts = 0;
    else if (drain) await this.#checkDrained();
    if (messages.length === 0) await this.#waitForTurn(performance.now() - askedAt);
  }

  /** A queue that waits with an empty answer sets the pace of polling; for another, the pollers take turns. */
  async #waitForTurn(answeredInMs: number): Promise<void> {
    if (answeredInMs > (this.options.waitSeconds * 1000) / 2 || !this.#wantsMore()) return;
    const now = performance.now();
    this.#nextPollAt = Math.max(now, this.#nextPollAt) + HURRIED_POLL_MS;
    await pause(this.#nextPollAt - now, this.options.stop);
  }

  #reportDamaged(messageIds: readonly string[]): void {
    this.options.logger.warn('messages came with a wrong checksum; they are left in the queue and come again', {
      messages: messageIds.length,
      ids: messageIds.join(', '),
    });
  }

  async #countQueue(): Promise<void> {
    const { visible, inFlight, delayed } = await this.options.queue.readState();
    const isEmpty = visible + inFlight + delayed + this.options.inFlight.size === 0;
    this.#emptyCounts = isEmpty ? this.#emptyCounts + 1 : 0;
    this.#isDrained = this.#emptyCounts >= EMPTY_COUNTS;
  }
}
