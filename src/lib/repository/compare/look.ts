import type { Queryable } from '../../db/database.js';
import { assertNotRewritten, planRewriteCheck } from '../tables/rewritten-tables.js';
import { keepAwake, withTransaction } from '../../db/transaction.js';
import type { Comparison, Leaf } from './find-leaves.js';
import { groupBy, subtract, type KeyedRows } from './multiset.js';
import {
  dropEqualRows,
  keyOfName,
  listLeaves,
  nameOfRow,
  readByKey,
  type FoundRow,
  type RowList,
  type Values,
} from './rows-on-sides.js';
import { keyColumns } from './slices.js';
import { ask, repeatReading } from './sides.js';

/** A column whose values differ, as texts. */
export interface ColumnDifference {
  readonly name: string;
  readonly primary: string | null;
  readonly secondary: string | null;
}

/** A row that differed at one look. */
export interface Suspect {
  /** `missing` on the secondary, `extra` there, or `different` under one key. */
  readonly kind: 'missing' | 'extra' | 'different';
  /** The values of the key columns, as texts; of all columns for a table without a key. */
  readonly key: Values;
  /** Names the row from look to look: its key, and which of several copies it is. */
  readonly name: string;
  readonly leaf: Leaf;
  readonly columns: readonly ColumnDifference[];
}

/** Where the suspects lie, each leaf once. */
export function leavesOf(suspects: readonly Suspect[]): Leaf[] {
  return [...new Set(suspects.map(({ leaf }) => leaf))];
}

const FIX_SNAPSHOT = { text: 'select 1' };

interface LookSteps<Explained, Before> {
  readonly before: () => Promise<Before>;
  readonly explain: (snapshot: Queryable, suspects: readonly Suspect[], before: Before) => Promise<Explained>;
}

/**
 * Compares the rows of leaves so that a write in flight is never taken for one that is lost: the primary's rows are read
 * in one snapshot, the secondary's after it, and what then seems extra or different on the secondary is read again on
 * the primary. `before` is awaited once the snapshot stands, before the secondary's rows are read. `explain` is given what
 * differs, and the open snapshot, in which it may read the ledger. Begins again where
 * the snapshot may have shown the table without its rows.
 */
export async function look<Explained, Before>(
  comparison: Comparison,
  leaves: readonly Leaf[],
  { before, explain }: LookSteps<Explained, Before>,
): Promise<Explained> {
  const { primary } = comparison.sides;
  return await repeatReading(() =>
    withTransaction(
      primary.pool,
      async (snapshot) => {
        const [check] = await Promise.all([
          planRewriteCheck(primary, [comparison.table.sides.primary]),
          ask(primary, FIX_SNAPSHOT, { through: snapshot }),
        ]);
        // It is idle while the secondary takes its time.
        return await keepAwake(snapshot, async () => {
          const found = await before();
          const suspects = await findSuspects(comparison, leaves, snapshot);
          const explained = await explain(snapshot, suspects, found);
          await assertNotRewritten(snapshot, primary, check);
          return explained;
        });
      },
      'repeatable read',
    ),
  );
}

async function findSuspects(comparison: Comparison, leaves: readonly Leaf[], snapshot: Queryable): Promise<Suspect[]> {
  const [primary, secondary] = await Promise.all([
    listLeaves(comparison, 'primary', leaves, snapshot),
    listLeaves(comparison, 'secondary', leaves),
  ]);
  const missing = subtract(primary.digests, secondary.digests);
  const extra = subtract(secondary.digests, primary.digests);
  const keyless = keyColumns(comparison.table).length === 0;
  const doubtful = keyless ? [...missing.keys(), ...extra.keys()] : [...extra.keys()];
  const doubts = new Set(doubtful);
  const plain = [...missing]
    .filter(([name]) => !doubts.has(name))
    .flatMap(([name, copies]) => copies.map((_, copy) => missingRow(name, copy, primary)));
  return [...plain, ...(await settleDoubts(comparison, keysByLeaf(doubtful, [primary, secondary]), missing))];
}

/** A row that is doubtful lies in the same leaf on both sides: its key holds its time, or tells its class. */
function keysByLeaf(doubtful: readonly string[], lists: readonly RowList[]): ReadonlyMap<Leaf, Values[]> {
  const leafOf = (name: string): Leaf => {
    const leaf = lists.map(({ leaves }) => leaves.get(name)).find((found) => found !== undefined);
    if (leaf === undefined) throw new TypeError(`a row of no leaf: ${name}`);
    return leaf;
  };
  const byLeaf = groupBy(doubtful, leafOf);
  return new Map([...byLeaf].map(([leaf, names]) => [leaf, names.map(keyOfName)]));
}

function missingRow(name: string, copy: number, { leaves }: RowList): Suspect {
  return suspect('missing', { name, copy, leaf: leaves.get(name) });
}

/** Reads the values of doubtful rows, the secondary's first, and lets the primary's server say which are equal. */
async function settleDoubts(
  comparison: Comparison,
  doubtful: ReadonlyMap<Leaf, readonly Values[]>,
  missing: KeyedRows,
): Promise<Suspect[]> {
  if (doubtful.size === 0) return [];
  const secondary = await readByKey(comparison, 'secondary', doubtful);
  const primary = await readByKey(comparison, 'primary', doubtful);
  const left = await dropEqualRows(comparison, primary, secondary);
  const mine = groupBy(left.primary, (row) => nameOfRow(comparison, row));
  const theirs = groupBy(left.secondary, (row) => nameOfRow(comparison, row));
  const names = new Set([...mine.keys(), ...theirs.keys()]);
  const keyless = keyColumns(comparison.table).length === 0;
  return [...names].flatMap((name) => {
    // A row that came to the primary after the snapshot is not missing.
    const lacking = keyless ? Infinity : (missing.get(name)?.length ?? 0);
    return pairRows(comparison, name, { mine: mine.get(name) ?? [], theirs: theirs.get(name) ?? [], lacking });
  });
}

interface Unpaired {
  readonly mine: readonly FoundRow[];
  readonly theirs: readonly FoundRow[];
  readonly lacking: number;
}

function pairRows(comparison: Comparison, name: string, { mine, theirs, lacking }: Unpaired): Suspect[] {
  const pairs = Math.min(mine.length, theirs.length);
  const rows = Math.max(theirs.length, Math.min(mine.length, Math.max(pairs, lacking)));
  return Array.from({ length: rows }, (_, copy) => {
    const kind = copy < pairs ? 'different' : theirs.length > pairs ? 'extra' : 'missing';
    const [one, other] = [mine[copy], theirs[copy]];
    const columns = columnDifferences(comparison, one, other);
    return suspect(kind, { name, copy, leaf: (one ?? other)?.leaf, columns });
  });
}

interface SuspectRow {
  readonly name: string;
  readonly copy: number;
  readonly leaf: Leaf | undefined;
  readonly columns?: readonly ColumnDifference[];
}

function suspect(kind: Suspect['kind'], { name, copy, leaf, columns = [] }: SuspectRow): Suspect {
  if (leaf === undefined) throw new TypeError(`a row of no leaf: ${name}`);
  return { kind, key: keyOfName(name), name: `${copy} ${name}`, leaf, columns };
}

function columnDifferences(
  { table }: Comparison,
  primary: FoundRow | undefined,
  secondary: FoundRow | undefined,
): ColumnDifference[] {
  if (primary === undefined || secondary === undefined) return [];
  return table.columns
    .map(({ name }, index) => ({
      name,
      primary: primary.values[index] ?? null,
      secondary: secondary.values[index] ?? null,
    }))
    .filter((_, index) => primary.classes[index] !== secondary.classes[index]);
}
