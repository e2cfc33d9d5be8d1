import { asQueueError, type Queue } from '../../queue/queue.js';

/** The figures of the queue, as SQS gives them. */
export interface QueueLook {
  readonly answers: boolean;
  readonly problem: string | null;
  /** Messages, by SQS's approximate count; null where it did not answer. */
  readonly visible: number | null;
  readonly inFlight: number | null;
  readonly delayed: number | null;
  /** Messages in the dead-letter queue; null where there is none, or where this role may not look. */
  readonly deadLetters: number | null;
}

const DEAD_LETTERS_EVERY_MS = 30_000;
const EVERY_MS = 2_000;

/** Looks at the queue, and now and then at its dead letters: SQS has a price a call. */
export class QueueWatch {
  #deadLetters: number | null = null;
  #deadLettersAt = -Infinity;
  #last: QueueLook | null = null;
  #lookedAt = -Infinity;

  constructor(private readonly queue: Queue) {}

  /** Never throws. */
  async look(): Promise<QueueLook> {
    if (this.#last !== null && performance.now() - this.#lookedAt < EVERY_MS) return this.#last;
    this.#lookedAt = performance.now();
    this.#last = await this.#ask();
    return this.#last;
  }

  async #ask(): Promise<QueueLook> {
    try {
      const [{ visible, inFlight, delayed }, deadLetters] = await Promise.all([
        this.queue.readState(),
        this.#readDeadLetters(),
      ]);
      return { answers: true, problem: null, visible, inFlight, delayed, deadLetters };
    } catch (error) {
      const problem = asQueueError(error, this.queue.url).message;
      return { answers: false, problem, visible: null, inFlight: null, delayed: null, deadLetters: null };
    }
  }

  /** A role may be allowed to see the queue, and not its dead letters. */
  async #readDeadLetters(): Promise<number | null> {
    if (performance.now() - this.#deadLettersAt < DEAD_LETTERS_EVERY_MS) return this.#deadLetters;
    this.#deadLettersAt = performance.now();
    this.#deadLetters = await this.queue.readDeadLetters().catch(() => null);
    return this.#deadLetters;
  }
}
