import { chunksOf } from '../../domain/chunks.js';
import { repeatEvery, WaitList, type Repeating } from '../../domain/retry.js';
import type { Logger } from '../../logger.js';
import { asQueueError, describeCodes, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';

const CALLS_AT_ONCE = 8;

interface InFlight {
  readonly message: ReceivedMessage;
  /** When SQS would show the message to others again, by our monotonic clock, in ms. */
  invisibleUntil: number;
  /** Memory that its body takes, and what it was decoded to. */
  bytes: number;
  decodedBytes: number;
}

export interface InFlightLimits {
  readonly messages: number;
  /** The limit of bodies; a receive that is under way when it is reached may add its messages. */
  readonly bytes: number;
  /** The limit of decoded readings; the last message that is decoded may go beyond. */
  readonly decodedBytes: number;
}

/** The messages received and not yet acknowledged: bounds their number and memory, and keeps them invisible to others. */
export class InFlightMessages {
  readonly #held = new Map<string, InFlight>();
  #bytes = 0;
  #decodedBytes = 0;
  readonly #waiting = new WaitList();
  #heartbeat: Repeating | undefined;

  constructor(
    private readonly queue: Queue,
    private readonly visibilityMs: number,
    private readonly limits: InFlightLimits,
    private readonly logger: Logger,
  ) {}

  get size(): number {
    return this.#held.size;
  }

  /** Starts extending the visibility of whatever has used up half of it. */
  startHeartbeat(): void {
    this.#heartbeat = repeatEvery(this.visibilityMs / 4, () => this.#extendAgeing());
  }

  async stopHeartbeat(): Promise<void> {
    await this.#heartbeat?.stop();
  }

  add(message: ReceivedMessage): void {
    const bytes = Buffer.byteLength(message.body);
    const invisibleUntil = performance.now() + this.visibilityMs;
    this.#held.set(message.receiptHandle, { message, invisibleUntil, bytes, decodedBytes: 0 });
    this.#bytes += bytes;
  }

  /** Counts what a message was decoded to. */
  addDecoded({ receiptHandle }: ReceivedMessage, decodedBytes: number): void {
    const held = this.#held.get(receiptHandle);
    if (held === undefined) return;
    held.decodedBytes = decodedBytes;
    this.#decodedBytes += decodedBytes;
  }

  /** Lets messages go: they were deleted, or are left to be delivered again. */
  remove(messages: readonly ReceivedMessage[]): void {
    for (const { receiptHandle } of messages) {
      const held = this.#held.get(receiptHandle);
      this.#held.delete(receiptHandle);
      this.#bytes -= held?.bytes ?? 0;
      this.#decodedBytes -= held?.decodedBytes ?? 0;
    }
    this.#waiting.notify();
  }

  /** Resolves as soon as there is room for another receive. */
  async untilRoom(): Promise<void> {
    const { messages, bytes } = this.limits;
    await this.#waiting.until(() => this.#held.size < messages && this.#bytes < bytes);
  }

  /** Resolves as soon as there is room to decode another message. */
  async untilDecodable(): Promise<void> {
    await this.#waiting.until(() => this.#decodedBytes < this.limits.decodedBytes);
  }

  async #extendAgeing(): Promise<void> {
    const now = performance.now();
    const ageing = [...this.#held.values()].filter((held) => held.invisibleUntil - now < this.visibilityMs / 2);
    const groups = chunksOf(ageing, SQS_BATCH).values();
    // The groups are shared out: thousands of messages age together where the primary hangs.
    const work = async (): Promise<void> => {
      for (const group of groups) await this.#extend(group.filter((held) => this.#isHeld(held)));
    };
    await Promise.all(Array.from({ length: CALLS_AT_ONCE }, work));
  }

  async #extend(group: readonly InFlight[]): Promise<void> {
    if (group.length === 0) return;
    const messages = group.map((held) => held.message);
    const seconds = Math.ceil(this.visibilityMs / 1000);
    try {
      const unconfirmed = await this.queue.extendVisibility(messages, seconds);
      const items = new Set(unconfirmed.map(({ item }) => item));
      const until = performance.now() + this.visibilityMs;
      for (const held of group) if (!items.has(held.message)) held.invisibleUntil = until;
      // One that was deleted meanwhile cannot be extended, and need not be.
      const left = unconfirmed.filter(({ item }) => this.#held.has(item.receiptHandle));
      this.#warn(left.length, `SQS did not confirm it (${describeCodes(left)})`);
    } catch (error) {
      this.#warn(messages.length, asQueueError(error, this.queue.url).message);
    }
  }

  #isHeld({ message }: InFlight): boolean {
    return this.#held.has(message.receiptHandle);
  }

  #warn(messages: number, error: string): void {
    if (messages > 0)
      this.logger.warn('visibility could not be extended; messages may be delivered again', { messages, error });
  }
}
