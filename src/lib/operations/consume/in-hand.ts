import { chunksOf } from '../../domain/chunks.js';
import type { Logger } from '../../logger.js';
import { asQueueError, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';

const CALLS_AT_ONCE = 8;

interface Held {
  readonly message: ReceivedMessage;
  /** When SQS would show the message to others again, by our monotonic clock, in ms. */
  invisibleUntil: number;
  /** Memory that its body takes, and what it was decoded to. */
  bytes: number;
  decodedBytes: number;
}

export interface InHandLimits {
  readonly messages: number;
  /** Of bodies; a receive that is under way when they are reached may add what it brings. */
  readonly bytes: number;
  /** Of what they were decoded to; the last one that is decoded may go beyond. */
  readonly decodedBytes: number;
}

/** The messages received and not yet acknowledged: bounds their number and memory, and keeps them invisible to others. */
export class InHand {
  readonly #held = new Map<string, Held>();
  #bytes = 0;
  #decodedBytes = 0;
  #waiting: (() => void)[] = [];
  #keeper: NodeJS.Timeout | undefined;
  #extending: Promise<void> | null = null;

  constructor(
    private readonly queue: Queue,
    private readonly visibilityMs: number,
    private readonly limits: InHandLimits,
    private readonly logger: Logger,
  ) {}

  get size(): number {
    return this.#held.size;
  }

  /** Starts extending the visibility of whatever has used up half of it. */
  start(): void {
    this.#keeper = setInterval(() => {
      this.#extending ??= this.#extendAgeing().finally(() => (this.#extending = null));
    }, this.visibilityMs / 4);
  }

  async stop(): Promise<void> {
    clearInterval(this.#keeper);
    await this.#extending;
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
    for (const resume of this.#waiting.splice(0)) resume();
  }

  /** Resolves as soon as there is room for another receive. */
  async untilRoom(): Promise<void> {
    while (this.#held.size >= this.limits.messages || this.#bytes >= this.limits.bytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Resolves as soon as there is room to decode another message. */
  async untilDecodable(): Promise<void> {
    while (this.#decodedBytes >= this.limits.decodedBytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
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

  async #extend(group: readonly Held[]): Promise<void> {
    if (group.length === 0) return;
    const messages = group.map((held) => held.message);
    const seconds = Math.ceil(this.visibilityMs / 1000);
    try {
      const refused = new Set(await this.queue.extendVisibility(messages, seconds));
      const until = performance.now() + this.visibilityMs;
      for (const held of group) if (!refused.has(held.message)) held.invisibleUntil = until;
      // One that was deleted meanwhile cannot be extended, and need not be.
      const left = group.filter((held) => refused.has(held.message) && this.#isHeld(held));
      this.#warn(left.length, 'SQS did not confirm it');
    } catch (error) {
      this.#warn(messages.length, asQueueError(error, this.queue.url).message);
    }
  }

  #isHeld({ message }: Held): boolean {
    return this.#held.has(message.receiptHandle);
  }

  #warn(messages: number, error: string): void {
    if (messages > 0)
      this.logger.warn('visibility could not be extended; messages may be delivered again', { messages, error });
  }
}
