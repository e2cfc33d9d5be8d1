import { parseInstant } from '../../domain/time.js';
import { mergeRanges, type TimeRange } from '../../domain/time-range.js';
import type { UnsettledKey, UnsettledRange } from '../ledger/ledger.js';

/** What it means that the secondary lacks a row, or is behind with it: on its way, known to the ledger as missed or refused, or a loss. */
export type MissingClass = 'pending' | 'known gap' | 'unexplained';

/** What was read of the ledger beside rows that differ; a key bears the place of the row among them. */
interface Unsettled {
  readonly suspects: readonly { readonly name: string }[];
  readonly ranges: readonly UnsettledRange[];
  readonly keys: readonly UnsettledKey[];
}

/**
 * Classes rows by ledger entries. An entry newer than `newestEntry` cannot be the reason for what differed when that one was
 * the newest; only a refusal, which names its reading, counts whenever it came.
 */
export class LedgerCover {
  readonly #pending: Intervals;
  readonly #missed: Intervals;
  readonly #refused: ReadonlySet<string>;
  readonly #keys = new Map<string, UnsettledKey[]>();
  readonly #newestEntry: number;

  constructor({ suspects, ranges, keys }: Unsettled, newestEntry: number) {
    const old = ranges.filter(({ entryId, sensorId }) => sensorId === null && entryId <= newestEntry);
    this.#pending = new Intervals(old.filter(({ state }) => state === 'pending'));
    this.#missed = new Intervals(old.filter(({ state }) => state !== 'pending'));
    const refused = ranges.filter(({ sensorId }) => sensorId !== null);
    this.#refused = new Set(refused.map(({ from, sensorId }) => `${from} ${sensorId}`));
    this.#newestEntry = newestEntry;
    for (const entry of keys) {
      const name = suspects[entry.place]?.name ?? '';
      this.#keys.set(name, [...(this.#keys.get(name) ?? []), entry]);
    }
  }

  /** Of a reading that is missing; null where no entry explains it. */
  ofReading({ time, sensorId }: { readonly time: string; readonly sensorId: string }): MissingClass | null {
    const instant = parseInstant(time);
    if (instant === null) return null;
    if (this.#refused.has(`${instant} ${sensorId}`) || this.#missed.cover(instant)) return 'known gap';
    return this.#pending.cover(instant) ? 'pending' : null;
  }

  /** Of a row that an entry up to this one names by its key, or with its whole table; null where none does. */
  ofKey(name: string, upTo = this.#newestEntry): MissingClass | null {
    const states = (this.#keys.get(name) ?? []).filter(({ entryId }) => entryId <= upTo).map(({ state }) => state);
    if (states.length === 0) return null;
    return states.every((state) => state === 'pending') ? 'pending' : 'known gap';
  }
}

/** Ranges, merged, for looking up many instants. */
class Intervals {
  readonly #merged: readonly TimeRange[];

  constructor(ranges: readonly TimeRange[]) {
    this.#merged = mergeRanges(ranges);
  }

  cover(instant: number): boolean {
    let [low, high] = [0, this.#merged.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#merged[middle]?.to ?? 0) <= instant) low = middle + 1;
      else high = middle;
    }
    return (this.#merged[low]?.from ?? Infinity) <= instant;
  }
}
