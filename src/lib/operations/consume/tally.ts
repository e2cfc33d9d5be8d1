import type { CommittedBatch } from '../../repository/write/batch.js';
import type { MigratingRepository } from '../../repository/migrating-repository.js';
import { countFaults } from '../../repository/ledger/quarantine.js';

/** What one run of the consumer did. messages + furtherReadings = accepted + refused + quarantined. */
export interface ConsumeSummary {
  readonly writeMode: string;
  /** Messages committed, each delivery counted. */
  readonly messages: number;
  /** Readings beyond the first of a gateway message. */
  readonly furtherReadings: number;
  /** Readings that were new. */
  readonly accepted: number;
  /** Readings whose key was there already: retransmissions and redeliveries. */
  readonly refused: number;
  /** Faults of messages; `quarantinedAnew` messages were not in the quarantine before. */
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
export class Tally {
  #messages = 0;
  #items = 0;
  #accepted = 0;
  #refused = 0;
  #quarantined = 0;
  #quarantinedAnew = 0;
  #unacknowledged = 0;
  readonly #startedAt = performance.now();

  addCommitted(messages: number, items: number, batches: readonly CommittedBatch[]): void {
    this.#messages += messages;
    this.#items += items;
    for (const batch of batches) {
      this.#accepted += batch.accepted;
      this.#refused += batch.refused;
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

  summarize({ writeMode, totals }: Pick<MigratingRepository, 'writeMode' | 'totals'>): ConsumeSummary {
    return {
      writeMode,
      confirmed: totals.confirmed,
      missed: totals.missed,
      refusedBySecondary: totals.refused,
      messages: this.#messages,
      furtherReadings: this.#items - this.#messages,
      accepted: this.#accepted,
      refused: this.#refused,
      quarantined: this.#quarantined,
      quarantinedAnew: this.#quarantinedAnew,
      unacknowledged: this.#unacknowledged,
      seconds: Math.round(performance.now() - this.#startedAt) / 1000,
    };
  }
}
