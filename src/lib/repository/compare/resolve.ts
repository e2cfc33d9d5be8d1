import type { Queryable } from '../../db/database.js';
import {
  readLedgerView,
  readUnsettled,
  readUnsettledKeys,
  LedgerView,
  type UnsettledKey,
  type UnsettledRange,
} from '../ledger/ledger.js';
import type { TimeRange } from '../../domain/time-range.js';
import { isTimeAxis, microsOfPlace } from '../tables/axis.js';
import { columnOf } from '../tables/table.js';
import type { TablePair } from '../tables/table-pair.js';
import type { Comparison, Leaf } from './find-leaves.js';
import { LedgerCover, type DifferenceClass } from './ledger-cover.js';
import { leavesOf, look, type Suspect } from './look.js';
import { RestingValues } from './resting-values.js';
import { RetryBudget } from './retry-budget.js';
import { readClocks, type RowClock } from './row-clocks.js';
import { keyColumns, type Slice } from './slices.js';

/** A difference that was looked at more than once. */
export interface Difference extends Suspect {
  readonly class: DifferenceClass;
}

export interface ResolveOptions {
  /** How long writes in flight may take to settle, in ms: for these leaves, whatever others have needed. */
  readonly settleMs: number;
  readonly stop: AbortSignal;
  /** Whether the primary has a ledger that may explain what differs. */
  readonly ledger: boolean;
}

interface Looked {
  readonly suspects: readonly Suspect[];
  readonly ranges: readonly UnsettledRange[];
  readonly keys: readonly UnsettledKey[];
  readonly view: LedgerView;
  readonly clocks: ReadonlyMap<string, RowClock>;
}

/** A later look may tell more. */
interface Judged {
  readonly difference: Difference;
  readonly waits: boolean;
}

/**
 * Looks at leaves at least twice, and again while what differs may still be on its way; answers what differed at every look.
 * - A row that the secondary lacks, that is behind there, or that it still has, is pending or a known gap while an entry of
 *   the first look that names it is still there: its own was. What another program touched since is looked at again.
 * - A row that consumers update changes with every batch. A wrong value in it that the secondary has not written since a
 *   look is lost once no entry that was there at that look names the row; while all of them change, its updates arrive: the
 *   row counts as pending, and nobody waits.
 * - Without a ledger nothing explains a difference: what still differs when the retry budget is used up is lost.
 */
export async function resolveLeaves(
  comparison: Comparison,
  leaves: readonly Leaf[],
  { settleMs, stop, ledger }: ResolveOptions,
): Promise<Difference[]> {
  const budget = new RetryBudget(settleMs, stop);
  const rule = ledger ? (comparison.table.known?.updated ?? null) : null;
  const lookAt = (at: readonly Leaf[], known: readonly Suspect[]): Promise<Looked> =>
    look(comparison, at, {
      before: () => readClocks(comparison, rule === null ? [] : known),
      explain: async (snapshot, suspects, found) => {
        // The first look knows no rows before it has read them.
        const clocks = rule !== null && known.length === 0 ? await readClocks(comparison, suspects) : found;
        return { ...(await readLedger(comparison, snapshot, { suspects, ledger })), clocks };
      },
    });
  const first = await lookAt(leaves, []);
  const resting = rule === null ? null : new RestingValues(rule, first);
  let differences: Difference[] = first.suspects.map((suspect) => ({ ...suspect, class: 'unexplained' }));
  while (differences.length > 0) {
    await budget.pause();
    const again = await lookAt(leavesOf(differences), differences);
    const names = new Set(differences.map(({ name }) => name));
    const suspects = again.suspects.filter(({ name }) => names.has(name));
    resting?.add({ ...again, suspects });
    const cover = new LedgerCover(again, first.view);
    const judged = suspects.map((suspect) =>
      resting !== null && suspect.kind === 'different'
        ? judgeUpdated(suspect, { cover, resting, isLast: budget.exhausted })
        : judge(comparison, suspect, cover),
    );
    differences = judged.map(({ difference }) => difference);
    if ((ledger && judged.every(({ waits }) => !waits)) || budget.exhausted) break;
  }
  return differences;
}

async function readLedger(
  { table, sides }: Comparison,
  snapshot: Queryable,
  { suspects, ledger }: { suspects: readonly Suspect[]; ledger: boolean },
): Promise<Omit<Looked, 'clocks'>> {
  if (!ledger || suspects.length === 0) return { suspects, ranges: [], keys: [], view: NOTHING_SEEN };
  const times = leavesOf(suspects).flatMap(({ slice }) => timesOf(table, slice));
  const ranges = times.length === 0 ? [] : await readUnsettled(snapshot, table.name, times);
  const keys = await readUnsettledKeys(snapshot, table.name, ledgerKeys(table, suspects));
  // Asked outside the snapshot: rows that were read again after it may be newer than it.
  return { suspects, ranges, keys, view: await readLedgerView(sides.primary.pool) };
}

const NOTHING_SEEN = new LedgerView('0:0:');

/** The times that a slice means, if its axis is one of times. */
function timesOf({ axis }: TablePair, slice: Slice): TimeRange[] {
  if ('classes' in slice || axis === null || !isTimeAxis(axis.primary)) return [];
  const [from, to] = [slice.from, slice.to].map((place) => microsOfPlace(axis.primary, place) ?? 0);
  return from === undefined || to === undefined ? [] : [{ from, to }];
}

/**
 * How the ledger names these rows: by the texts of the columns of the primary's key, in their order there; of a table without
 * a key by their places on the axis, or with the whole table alone.
 */
function ledgerKeys(
  table: TablePair,
  suspects: readonly Suspect[],
): { readonly types: readonly string[]; readonly keys: readonly (readonly (string | null)[])[] } {
  const { primary } = table.sides;
  const compared = namingColumns(table);
  const keyless = primary.key === null && table.known === null;
  const names = keyless ? (primary.axis === null ? [] : [primary.axis.column]) : (primary.key ?? table.key);
  const types = names.map((name) => columnOf(primary, name)?.type ?? 'text');
  const keys = suspects.map(({ key }) => names.map((name) => key[compared.indexOf(name)] ?? null));
  return { types, keys };
}

/** The columns whose values a suspect's key holds. */
function namingColumns(table: TablePair): string[] {
  const key = keyColumns(table).map(({ name }) => name);
  return key.length === 0 ? table.columns.map(({ name }) => name) : key;
}

/** A row that no rule keeps newest, or that one side lacks. */
function judge({ table }: Comparison, suspect: Suspect, cover: LedgerCover): Judged {
  const found = cover.of({ ...suspect, reading: readingOf(table, suspect) });
  if (found === null) return { difference: { ...suspect, class: 'unexplained' }, waits: false };
  const difference = suspect.kind === 'different' ? behind(suspect, found.class) : { ...suspect, class: found.class };
  return { difference, waits: found.class === 'pending' || !found.isFirst };
}

/** So many looks at a value that nobody wrote meanwhile tell that it rests. */
const LOOKS_AT_REST = 2;

function judgeUpdated(
  suspect: Suspect,
  { cover, resting, isLast }: { cover: LedgerCover; resting: RestingValues; isLast: boolean },
): Judged {
  // A value may be the old one again, as where a flag goes on and off: it says nothing while a program's entry names the row.
  const touched = cover.ofWriter(suspect.name);
  if (touched !== null)
    return { difference: behind(suspect, touched.class), waits: touched.class === 'pending' || !touched.isFirst };
  const values = resting.of(suspect).map((rest) => ({ ...rest, said: cover.ofKey(suspect.name, rest.view) }));
  if (values.some(({ said }) => said === 'known gap'))
    return { difference: behind(suspect, 'known gap'), waits: false };
  const isLost = values.some(
    ({ said, looks, moved }) => said === null && (looks >= LOOKS_AT_REST || (isLast && !moved)),
  );
  if (isLost) return { difference: { ...suspect, class: 'unexplained' }, waits: false };
  return { difference: behind(suspect, 'pending'), waits: values.some(({ looks, moved }) => looks > 1 || !moved) };
}

/** The secondary lacks the row, or what it holds of it is older. */
function behind(suspect: Suspect, found: DifferenceClass): Difference {
  return { ...suspect, kind: 'missing', class: found };
}

/** The ledger knows a reading by its place on the axis and by its sensor. */
function readingOf(table: TablePair, { key }: Suspect): { time: string; sensorId: string } | null {
  const place = keyColumns(table).findIndex(({ isAxis }) => isAxis);
  return place === -1 ? null : { time: key[place] ?? '', sensorId: key.find((_, index) => index !== place) ?? '' };
}
