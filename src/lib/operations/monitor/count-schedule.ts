import { Pace } from './pace.js';

/** The newest rows and what was touched; a slice of what is older. */
export type CountKind = 'recent' | 'older';

/** What both sides count of a table in one look. */
export interface CountOrder {
  readonly table: string;
  readonly kinds: readonly CountKind[];
}

/** What a side was asked to count: what it cost the server in ms, and whether the server refused it. */
export interface CountOutcome {
  readonly table: string;
  readonly kind: CountKind;
  readonly costMs: number;
  readonly isRefused: boolean;
}

/** A table whose rows of the window are counted, as far as it is known on both sides. */
export interface Countable {
  readonly table: string;
  /** Consumers write it: it is counted as often as its cost allows. */
  readonly isReading: boolean;
  /** Its counts are apart, so it is counted as often, until they meet. */
  readonly isApart: boolean;
  /** The whole window was counted once. */
  readonly isCounted: boolean;
  /** On some side the older rows are to be counted before anything can be said of them. */
  readonly needsOlder: boolean;
}

/** A slice of what is older is counted anew so seldom, for what nothing told of: a backfill of history, a deletion. */
const OLDER_EVERY_MS = 120_000;
/** Of the tables that are counted seldom, so many with one look. */
const SELDOM_AT_ONCE = 40;

/**
 * Says which tables both sides count with the next look, always the same ones, or their figures would not be of one moment.
 * Reading tables and those that are apart have a share of the server's time each; all others have one among them.
 */
export class CountSchedule {
  readonly #pace: Pace;
  readonly #olderAt = new Map<string, number>();
  readonly #countedAt = new Map<string, number>();

  constructor(private readonly now: () => number = () => performance.now()) {
    this.#pace = new Pace(now);
  }

  /** `hurried`: what is apart is counted whatever it costs, since there is no other look. */
  plan(tables: readonly Countable[], hurried = false): CountOrder[] {
    const often = tables.filter(isOften).map((each) => ({
      table: each.table,
      kinds: hurried && each.isApart ? (['recent', 'older'] as const) : this.#dueOf(each),
    }));
    const seldom = tables.filter((each) => !isOften(each) && this.#pace.isDue(each.table));
    const places = new Map(seldom.map(({ table }) => [table, this.#countedAt.get(table) ?? -Infinity]));
    const first = seldom.toSorted((one, other) => (places.get(one.table) ?? 0) - (places.get(other.table) ?? 0));
    return [
      ...often.filter(({ kinds }) => kinds.length > 0),
      ...first.slice(0, SELDOM_AT_ONCE).map(({ table }) => ({ table, kinds: ['recent', 'older'] as const })),
    ];
  }

  /** Takes what was counted on any side, of these tables. */
  spent(outcomes: readonly CountOutcome[], tables: readonly Countable[]): void {
    const seldom = tables.filter((each) => !isOften(each)).length;
    for (const countable of tables) {
      const { table } = countable;
      const ofTable = outcomes.filter((each) => each.table === table);
      if (ofTable.length === 0) continue;
      this.#countedAt.set(table, this.now());
      // The first round is not held back, slice by slice, but where the server refuses it.
      const isHeldBack = countable.isCounted || ofTable.some(({ isRefused }) => isRefused);
      const [recent, older] = [costOf(ofTable, 'recent'), costOf(ofTable, 'older')];
      if (!isOften(countable)) {
        if (isHeldBack) this.#pace.spent(table, (recent ?? 0) + (older ?? 0), seldom);
        continue;
      }
      if (recent !== null) this.#pace.spent(`recent ${table}`, recent);
      if (older !== null && isHeldBack) this.#pace.spent(`older ${table}`, older);
    }
  }

  #dueOf({ table, isApart, isCounted, needsOlder }: Countable): CountKind[] {
    const older = this.#isOlderDue(table, isApart || !isCounted || needsOlder);
    return [
      ...(this.#pace.isDue(`recent ${table}`) ? (['recent'] as const) : []),
      ...(older ? (['older'] as const) : []),
    ];
  }

  #isOlderDue(table: string, isWanted: boolean): boolean {
    if (!this.#pace.isDue(`older ${table}`)) return false;
    const isDue = isWanted || this.now() >= (this.#olderAt.get(table) ?? this.now()) + OLDER_EVERY_MS;
    if (isDue || !this.#olderAt.has(table)) this.#olderAt.set(table, this.now());
    return isDue;
  }
}

function isOften({ isReading, isApart }: Countable): boolean {
  return isReading || isApart;
}

/** On the side that it cost more; null where it was not asked for. */
function costOf(outcomes: readonly CountOutcome[], kind: CountKind): number | null {
  const costs = outcomes.flatMap((each) => (each.kind === kind ? [each.costMs] : []));
  return costs.length === 0 ? null : Math.max(...costs);
}
