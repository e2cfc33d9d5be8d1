import { parseInstant } from '../../domain/time.js';
import { mergeRanges, type TimeRange } from '../../domain/time-range.js';
import type { UnsettledRange } from '../ledger/ledger.js';

/** What a reading that the secondary lacks means: on its way, known to the ledger as missed or refused, or a loss. */
export type MissingClass = 'pending' | 'known gap' | 'unexplained';

/**
 * Classes readings by ledger entries. An entry newer than `newestEntry` cannot be the reason for what was missing when
 * that one was the newest; only a refusal, which names its reading, counts whenever it came.
 */
export class LedgerCover {
  readonly #pending: Intervals;
  readonly #missed: Intervals;
  readonly #refused: ReadonlySet<string>;

  constructor(ranges: readonly UnsettledRange[], newestEntry: number) {
    const old = ranges.filter(({ entryId, sensorId }) => sensorId === null && entryId <= newestEntry);
    this.#pending = new Intervals(old.filter(({ state }) => state === 'pending'));
    this.#missed = new Intervals(old.filter(({ state }) => state !== 'pending'));
    const refused = ranges.filter(({ sensorId }) => sensorId !== null);
    this.#refused = new Set(refused.map(({ from, sensorId }) => `${from} ${sensorId}`));
  }

  classOf(time: string, sensorId: string): MissingClass {
    const instant = parseInstant(time);
    if (instant === null) return 'unexplained';
    if (this.#refused.has(`${instant} ${sensorId}`) || this.#missed.cover(instant)) return 'known gap';
    return this.#pending.cover(instant) ? 'pending' : 'unexplained';
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
