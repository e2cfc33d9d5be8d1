import type { Queryable } from '../../db/database.js';
import { parseInstant } from '../../domain/time.js';
import { readNewestEntry, readUnsettled, type UnsettledRange } from '../ledger/ledger.js';
import type { TablePair } from '../tables/table-pair.js';
import type { Comparison, Leaf } from './find-leaves.js';
import { LedgerCover, type MissingClass } from './ledger-cover.js';
import { leavesOf, look, type Suspect } from './look.js';
import { RetryBudget } from './retry-budget.js';
import { keyColumns } from './slices.js';

/** A difference that was looked at more than once. */
export interface Difference extends Suspect {
  /** Of a missing row; null for the other kinds. */
  readonly class: MissingClass | null;
}

export interface ResolveOptions {
  /** How long writes in flight may take to settle, in ms: for these leaves, whatever others have needed. */
  readonly settleMs: number;
  readonly stop: AbortSignal;
  /** Whether the primary's ledger knows this table. */
  readonly ledger: boolean;
  /** False: no write of sensorctl can be on its way to this table, so that two looks are enough. */
  readonly mayArrive?: boolean;
}

interface Looked {
  readonly suspects: readonly Suspect[];
  readonly unsettled: readonly UnsettledRange[];
  readonly newestEntry: number;
}

/**
 * Looks at leaves at least twice, and again while what is missing may still be on its way; answers what differed at every look.
 * A row is `pending` only while an entry that was there at the first look is: its own was.
 */
export async function resolveLeaves(
  comparison: Comparison,
  leaves: readonly Leaf[],
  { settleMs, stop, ledger, mayArrive = true }: ResolveOptions,
): Promise<Difference[]> {
  const budget = new RetryBudget(settleMs, stop);
  const isExplained = ledger || !mayArrive;
  const lookAt = (at: readonly Leaf[]): Promise<Looked> =>
    look(comparison, at, (snapshot, suspects) => readLedger(comparison, snapshot, { suspects, ledger }));
  const first = await lookAt(leaves);
  let differences: Difference[] = first.suspects.map((suspect) => ({ ...suspect, class: null }));
  while (differences.length > 0) {
    await budget.pause();
    const again = await lookAt(leavesOf(differences));
    const names = new Set(differences.map(({ name }) => name));
    const cover = new LedgerCover(again.unsettled, first.newestEntry);
    differences = again.suspects
      .filter(({ name }) => names.has(name))
      .map((suspect) => ({ ...suspect, class: classOf(comparison, suspect, cover) }));
    const settled = isExplained && differences.every((difference) => difference.class !== 'pending');
    if (settled || budget.exhausted) break;
  }
  return differences;
}

/** When the reading was, in µs since 1970, of a row of a table that is compared by ranges. */
export function timeOf(table: TablePair, { key, leaf: { slice } }: Suspect): number {
  const named = keyColumns(table).length === 0 ? table.columns : keyColumns(table);
  const time = key[named.findIndex(({ isAxis }) => isAxis)];
  return parseInstant(time ?? '') ?? ('from' in slice ? slice.from : 0);
}

async function readLedger(
  comparison: Comparison,
  snapshot: Queryable,
  { suspects, ledger }: { suspects: readonly Suspect[]; ledger: boolean },
): Promise<Looked> {
  const ranges = leavesOf(suspects).flatMap(({ slice }) => ('classes' in slice ? [] : [slice]));
  if (!ledger || ranges.length === 0) return { suspects, unsettled: [], newestEntry: 0 };
  const unsettled = await readUnsettled(snapshot, comparison.table.name, ranges);
  // Asked outside the snapshot: rows that were read again after it may be newer than it.
  return { suspects, unsettled, newestEntry: await readNewestEntry(comparison.sides.primary.pool) };
}

function classOf({ table }: Comparison, { kind, key }: Suspect, cover: LedgerCover): MissingClass | null {
  if (kind !== 'missing') return null;
  // The ledger knows a reading by its place on the axis and by its sensor.
  const place = keyColumns(table).findIndex(({ isAxis }) => isAxis);
  return cover.classOf(key[place] ?? '', key.find((_, index) => index !== place) ?? '');
}
