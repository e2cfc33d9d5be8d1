import type { LedgerView } from '../ledger/ledger.js';
import type { UpdateRule } from '../tables/table-pair.js';
import type { ColumnDifference, Suspect } from './look.js';
import type { RowClock } from './row-clocks.js';

/** A wrong value that the secondary has shown from one look on, without having been written in between. */
export interface Rest {
  /** Looks that saw it; 0 at the first look, whose clocks are younger than its rows. */
  readonly looks: number;
  /** The ledger when it was seen first: an entry that came later cannot be the reason for it. */
  readonly view: LedgerView;
  /** Another value was there at an earlier look, or the same one written earlier. */
  readonly moved: boolean;
}

interface Resting extends Rest {
  readonly value: string | null;
  readonly clock: string | null;
}

/** What each look of rows that are updated needs to have read, the clocks before the rows. */
interface LookedRows {
  readonly suspects: readonly Suspect[];
  readonly clocks: ReadonlyMap<string, RowClock>;
  readonly view: LedgerView;
}

/** The wrong values of rows that are updated, from look to look: for telling lost updates from late ones. */
export class RestingValues {
  #rests: ReadonlyMap<string, Resting> = new Map();

  constructor(
    private readonly rule: UpdateRule,
    first: LookedRows,
  ) {
    this.add(first, 0);
  }

  /** Takes another look into account. */
  add({ suspects, clocks, view }: LookedRows, looks = 1): void {
    const rests = new Map<string, Resting>();
    for (const suspect of suspects) {
      for (const column of suspect.columns) {
        const clock = this.#clockOf(column, clocks.get(suspect.name));
        const seen = { value: column.secondary, clock };
        const before = this.#rests.get(placeOf(suspect, column));
        const isSame = before?.value === seen.value && before.clock === clock;
        rests.set(
          placeOf(suspect, column),
          isSame
            ? { ...before, looks: before.looks + 1, view: before.looks === 0 ? view : before.view }
            : { ...seen, looks, view, moved: before !== undefined },
        );
      }
    }
    this.#rests = rests;
  }

  /** Of each wrong value of a row that the last look saw. */
  of(suspect: Suspect): Rest[] {
    return suspect.columns.flatMap((column) => this.#rests.get(placeOf(suspect, column)) ?? []);
  }

  /** Null of a column that no batch writes. */
  #clockOf({ name }: ColumnDifference, clock: RowClock | undefined): string | null {
    if (this.rule.remembered.includes(name)) return clock?.remembered ?? null;
    return this.rule.columns.includes(name) ? (clock?.row ?? null) : null;
  }
}

function placeOf({ name }: Suspect, column: ColumnDifference): string {
  return `${name} ${column.name}`;
}
