import { parseInstant } from '../../domain/time.js';
import { mergeRanges, type TimeRange } from '../../domain/time-range.js';
import type { LedgerState, LedgerView, UnsettledKey, UnsettledRange } from '../ledger/ledger.js';
import { groupBy } from './multiset.js';

/** Why a row differs: it is on its way, the ledger knows it as missed or refused, or nothing accounts for it. */
export type DifferenceClass = 'pending' | 'known gap' | 'unexplained';

/** How the ledger may explain a row that differs. */
export interface Explanation {
  readonly class: Exclude<DifferenceClass, 'unexplained'>;
  /** An entry that was there at the first look names it; else one that came since, from a program that touched the row again. */
  readonly isFirst: boolean;
}

/** A row that differs, as the ledger may name it. */
interface NamedRow {
  readonly kind: 'missing' | 'extra' | 'different';
  readonly name: string;
  /** Of a row with a place in time: what names it beside its key. */
  readonly reading: { readonly time: string; readonly sensorId: string } | null;
}

/** What was read of the ledger beside rows that differ; a key bears the place of the row among them. */
interface Unsettled {
  readonly suspects: readonly { readonly name: string }[];
  readonly ranges: readonly UnsettledRange[];
  readonly keys: readonly UnsettledKey[];
}

/**
 * Classes rows by ledger entries. The entry of a batch that was not there at the first look cannot be the reason for what
 * differed then. That of another program is none either, but its repair makes the row what the primary holds. A refusal,
 * which names its reading, counts whenever it came.
 */
export class LedgerCover {
  readonly #ranges: readonly RangesAlike[];
  readonly #refused: ReadonlySet<string>;
  readonly #keys = new Map<string, UnsettledKey[]>();

  constructor(
    { suspects, ranges, keys }: Unsettled,
    private readonly first: LedgerView,
  ) {
    const refused = ranges.filter(({ sensorId }) => sensorId !== null);
    this.#refused = new Set(refused.map(({ from, sensorId }) => `${from} ${sensorId}`));
    const counting = ranges.filter((entry) => entry.sensorId === null && this.#counts(entry));
    const alike = groupBy(counting, (entry) => [entry.state, first.shows(entry), entry.ofWriter].join());
    this.#ranges = [...alike.values()].flatMap((group) => {
      const [entry] = group;
      if (entry === undefined) return [];
      const { state, ofWriter } = entry;
      return [{ state, ofWriter, isFirst: first.shows(entry), times: new Intervals(group) }];
    });
    for (const entry of keys) {
      const name = suspects[entry.place]?.name ?? '';
      this.#keys.set(name, [...(this.#keys.get(name) ?? []), entry]);
    }
  }

  /** Null where no entry explains it. Only what says that a row may be gone explains that the secondary has it. */
  of({ kind, name, reading }: NamedRow): Explanation | null {
    const keys = (this.#keys.get(name) ?? []).filter(
      (entry) => this.#counts(entry) && (kind !== 'extra' || entry.gone),
    );
    const found = keys.map((entry) => ({ state: entry.state, isFirst: this.first.shows(entry) }));
    const instant = reading === null || kind === 'extra' ? null : parseInstant(reading.time);
    if (instant !== null) {
      if (kind === 'missing' && this.#refused.has(`${instant} ${reading?.sensorId ?? ''}`))
        return { class: 'known gap', isFirst: true };
      // A batch only adds rows: it does not change one that is there.
      const covering = this.#ranges.filter(
        ({ ofWriter, times }) => (ofWriter || kind === 'missing') && times.cover(instant),
      );
      found.push(...covering);
    }
    return explain(found);
  }

  /** Of a row that an entry names by its key, or with its whole table, that was there at this time; null where none does. */
  ofKey(name: string, view: LedgerView): Explanation['class'] | null {
    const entries = (this.#keys.get(name) ?? []).filter((entry) => view.shows(entry));
    return explain(entries.map(({ state }) => ({ state, isFirst: true })))?.class ?? null;
  }

  /** Of a row that another program's entry names, whenever it came: its repair makes the row what the primary holds. */
  ofWriter(name: string): Explanation | null {
    const entries = (this.#keys.get(name) ?? []).filter((entry) => entry.ofWriter);
    return explain(entries.map((entry) => ({ state: entry.state, isFirst: this.first.shows(entry) })));
  }

  #counts(entry: UnsettledKey | UnsettledRange): boolean {
    return entry.ofWriter || this.first.shows(entry);
  }
}

interface RangesAlike {
  readonly state: LedgerState;
  readonly isFirst: boolean;
  readonly ofWriter: boolean;
  readonly times: Intervals;
}

/** Those of the first look go before those that came since; a gap before what is on its way. */
function explain(found: readonly { readonly state: LedgerState; readonly isFirst: boolean }[]): Explanation | null {
  if (found.length === 0) return null;
  const isFirst = found.some((entry) => entry.isFirst);
  const entries = found.filter((entry) => entry.isFirst === isFirst);
  return { class: entries.every(({ state }) => state === 'pending') ? 'pending' : 'known gap', isFirst };
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
