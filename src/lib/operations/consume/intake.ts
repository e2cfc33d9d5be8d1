import { backoffMs, pause } from '../../domain/async.js';
import type { Logger } from '../../logger.js';
import { asQueueError, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';
import type { InHand } from './in-hand.js';

export interface IntakeOptions {
  readonly queue: Queue;
  readonly inHand: InHand;
  /** Long polls side by side. */
  readonly pollers: number;
  /** How long one poll waits for a message, in seconds. */
  readonly waitSeconds: number;
  /** Messages to receive in all; Infinity for no end. */
  readonly maxMessages: number;
  /** Ends once the queue is empty and nothing is in hand. */
  readonly drain: boolean;
  /** Resolves while the primary takes batches; nothing is received before. */
  readonly primaryAvailable: () => Promise<void>;
  readonly deliver: (message: ReceivedMessage) => void;
  readonly logger: Logger;
  /** Ends polling; the polls under way are awaited, for SQS may have answered them. */
  readonly stop: AbortSignal;
}

const FIRST_RETRY_MS = 500;
/** Receiving was held back on purpose where it waited so long. */
const HELD_MS = 1_000;
/** A queue is drained when so many looks in a row found nothing: its counts are approximate. */
const EMPTY_LOOKS = 2;
/** The SDK gives a call up before; a poll that outlives this has stopped silently, and another takes its place. */
const POLL_DEADLINE_MS = 45_000;

/** Receives messages with several long polls in parallel until it is stopped, has enough, or the queue is drained. */
export class Intake {
  #budget: number;
  #emptyLooks = 0;
  #checkingEmpty: Promise<void> | null = null;
  #drained = false;
  #answeredAt = performance.now();
  #failure: string | null = null;

  constructor(private readonly options: IntakeOptions) {
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

  async #poll(): Promise<void> {
    const { inHand, primaryAvailable, logger, queue } = this.options;
    let failures = 0;
    while (this.#wanted()) {
      const heldAt = performance.now();
      await inHand.untilRoom();
      await primaryAvailable();
      // Nobody answers who was not asked: the queue's silence begins anew.
      if (performance.now() - heldAt > HELD_MS) this.#answeredAt = performance.now();
      try {
        await withDeadline(this.#receiveOnce(), POLL_DEADLINE_MS);
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#failure = asQueueError(error, queue.url).message;
        logger.warn('receiving failed, trying again', { attempt: failures, error: this.#failure });
        await pause(backoffMs(failures, FIRST_RETRY_MS), this.options.stop);
      }
    }
  }

  #wanted(): boolean {
    return !this.options.stop.aborted && !this.#drained && this.#budget > 0;
  }

  async #receiveOnce(): Promise<void> {
    if (!this.#wanted()) return;
    const { queue, inHand, deliver, waitSeconds } = this.options;
    const wanted = Math.min(this.#budget, SQS_BATCH);
    this.#budget -= wanted;
    let messages: ReceivedMessage[] = [];
    try {
      messages = await queue.receive(wanted, waitSeconds);
      this.#answeredAt = performance.now();
      this.#failure = null;
    } finally {
      this.#budget += wanted - messages.length;
    }
    for (const message of messages) {
      inHand.add(message);
      deliver(message);
    }
    if (messages.length > 0) this.#emptyLooks = 0;
    else if (this.options.drain) await (this.#checkingEmpty ??= this.#checkEmpty());
  }

  async #checkEmpty(): Promise<void> {
    try {
      const { visible, inFlight, delayed } = await this.options.queue.readState();
      const empty = visible + inFlight + delayed + this.options.inHand.size === 0;
      this.#emptyLooks = empty ? this.#emptyLooks + 1 : 0;
      this.#drained = this.#emptyLooks >= EMPTY_LOOKS;
    } finally {
      this.#checkingEmpty = null;
    }
  }
}

/** Rejects when the work takes longer; whatever it brings later is delivered all the same. */
async function withDeadline(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`a poll has been silent for ${ms / 1000} s`)), ms);
  });
  await Promise.race([work, deadline]).finally(() => clearTimeout(timer));
}
