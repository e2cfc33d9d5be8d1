import type { CommittedBatch } from '../../repository/write/batch.js';
import type { ReceivedMessage } from '../../queue/queue.js';
import type { MigratingRepository } from '../../repository/migrating-repository.js';
import type { DecodedMessage } from './message-batcher.js';
import { countFaults } from '../../repository/ledger/quarantine.js';

/** The counts of one run of the consumer. messages + furtherReadings = accepted + refused + quarantined + empty. */
export interface ConsumeSummary {
  readonly writeMode: string;
  /** Messages committed, each delivery counted. */
  readonly messages: number;
  /** Readings beyond the first of a gateway message. */
  readonly furtherReadings: number;
  /** Messages that mean nothing to the decoder: it makes no row of them, and finds no fault. */
  readonly empty: number;
  /** Readings that were new. */
  readonly accepted: number;
  /** Readings whose key was there already: retransmissions and redeliveries. */
  readonly refused: number;
  /** Faults of messages, and each reading of rows that were refused; `quarantinedAnew` messages were not in the quarantine before. */
  readonly quarantined: number;
  readonly quarantinedAnew: number;
  /** Accepted readings that the secondary confirmed, and those that the ledger says it lacks or refused. */
  readonly confirmed: number;
  readonly missed: number;
  readonly refusedBySecondary: number;
  /** Messages that SQS did not confirm as deleted: they come again. */
  readonly unacknowledged: number;
  readonly seconds: number;
}

/** Adds up what a run did, batch by batch. */
export class ConsumeTotals {
  #messages = 0;
  #items = 0;
  #empty = 0;
  #accepted = 0;
  #duplicates = 0;
  #quarantined = 0;
  #quarantinedAnew = 0;
  #unacknowledged = 0;
  readonly #startedAt = performance.now();

  addCommitted(messages: readonly DecodedMessage[], items: number, batches: readonly CommittedBatch[]): void {
    this.#messages += messages.length;
    this.#empty += messages.filter(({ units, faults }) => units.length + faults.length === 0).length;
    this.#items += items;
    for (const batch of batches) {
      this.#accepted += batch.accepted;
      this.#duplicates += batch.duplicates;
      this.#quarantined += countFaults(batch.quarantined);
      this.#quarantinedAnew += batch.quarantinedAnew;
    }
  }

  addUnacknowledged(messages: number): void {
    this.#unacknowledged += messages;
  }

  get messages(): number {
    return this.#messages;
  }

  summarize({ roles, meter }: Pick<MigratingRepository, 'roles' | 'meter'>): ConsumeSummary {
    const { totals } = meter;
    return {
      writeMode: roles.writeMode,
      confirmed: totals.confirmed,
      missed: totals.missed,
      refusedBySecondary: totals.refused,
      messages: this.#messages,
      furtherReadings: this.#items + this.#empty - this.#messages,
      empty: this.#empty,
      accepted: this.#accepted,
      refused: this.#duplicates,
      quarantined: this.#quarantined,
      quarantinedAnew: this.#quarantinedAnew,
      unacknowledged: this.#unacknowledged,
      seconds: Math.round(performance.now() - this.#startedAt) / 1000,
    };
  }
}

const RECENT_MS = 60_000;

/**
 * How long messages had been in the queue when they were received. SQS tells the age of its oldest message only to
 * CloudWatch; this is what a consumer sees of it, as exact as this host's clock.
 */
export class RecentWaits {
  #waits: { readonly at: number; readonly ms: number }[] = [];

  constructor(private readonly now: () => number = Date.now) {}

  add({ sentAtMs }: Pick<ReceivedMessage, 'sentAtMs'>): void {
    if (sentAtMs === null) return;
    const at = this.now();
    const ms = Math.max(0, at - sentAtMs);
    // A wait that is shorter and older than another one can never be the longest again.
    while ((this.#waits.at(-1)?.ms ?? Infinity) <= ms) this.#waits.pop();
    this.#waits.push({ at, ms });
  }

  /** The longest of the last minute, in ms; null where no message came. */
  get longestMs(): number | null {
    const oldest = this.now() - RECENT_MS;
    while ((this.#waits[0]?.at ?? Infinity) < oldest) this.#waits.shift();
    return this.#waits[0]?.ms ?? null;
  }
}
