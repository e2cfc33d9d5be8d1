import type { Queryable } from '../../db/database.js';
import type { Role } from '../../domain/side.js';
import { isLoose } from '../tables/table-pair.js';
import { viewOf, type Comparison, type Leaf } from './find-leaves.js';
import { groupBy, withoutCopies } from './multiset.js';
import { keyColumns, listRows, rankRows, readRows, type Pages, type Slice } from './slices.js';
import { partsOf } from './class-scan.js';
import type { Statement } from '../../db/transaction.js';
import { ask } from './sides.js';

export type Values = readonly (string | null)[];

/** A row as it was read, and the leaf in which it lies. */
export interface FoundRow {
  readonly leaf: Leaf;
  readonly values: Values;
  /** The values again, but of loose columns what equal values have in common in this answer. */
  readonly classes: readonly (string | number | null)[];
}

/** The rows of leaves on one side, by the name of their key: a digest for each copy. */
export interface RowList {
  readonly digests: ReadonlyMap<string, readonly string[]>;
  readonly leaves: ReadonlyMap<string, Leaf>;
}

/** What tells rows apart, as one text: the values of the key or, without a key, the digest of the row. */
function keyName(values: Values): string {
  return JSON.stringify(values);
}

export function keyOfName(name: string): Values {
  return JSON.parse(name) as Values;
}

/** Lists key and digest of each row in the leaves. */
export async function listLeaves(
  comparison: Comparison,
  role: Role,
  leaves: readonly Leaf[],
  through?: Queryable,
): Promise<RowList> {
  const slices = leaves.map(({ slice }) => slice);
  const rows = await askRows(comparison, role, { slices, through }, (pages) =>
    listRows(viewOf(comparison, role), slices, pages),
  );
  const digests = new Map<string, string[]>();
  const leafOf = new Map<string, Leaf>();
  for (const [place, digest, ...key] of rows) {
    const name = keyName(key.length === 0 ? [digest ?? null] : key);
    const copies = digests.get(name);
    if (copies !== undefined) copies.push(digest ?? '');
    else digests.set(name, [digest ?? '']);
    const leaf = leaves[Number(place)];
    if (leaf !== undefined) leafOf.set(name, leaf);
  }
  return { digests, leaves: leafOf };
}

/** Reads the rows of the leaves that have one of the keys given with each. */
export async function readByKey(
  comparison: Comparison,
  role: Role,
  keys: ReadonlyMap<Leaf, readonly Values[]>,
): Promise<FoundRow[]> {
  const leaves = [...keys.keys()];
  const slices = leaves.map((leaf) => ({ slice: leaf.slice, keys: keys.get(leaf) ?? [] }));
  const rows = await askRows(comparison, role, { slices: leaves.map(({ slice }) => slice) }, (pages) =>
    readRows(viewOf(comparison, role), slices, pages),
  );
  return rows.flatMap(([place, ...values]) => {
    const leaf = leaves[Number(place)];
    return leaf === undefined ? [] : [{ leaf, values, classes: values }];
  });
}

/** What each side holds that the other does not; the primary's server says which rows are equal. */
export async function dropEqualRows(
  comparison: Comparison,
  primary: readonly FoundRow[],
  secondary: readonly FoundRow[],
): Promise<{ primary: FoundRow[]; secondary: FoundRow[] }> {
  const all = [...primary, ...secondary];
  const columns = comparison.table.columns.map((_, index) => all.map(({ values }) => values[index] ?? null));
  const statement = rankRows(comparison.table, columns);
  const ranked = await ask<[number, number, ...number[]]>(comparison.sides.primary, statement, { asArrays: true });
  const classes = new Map(ranked.map(([place, rank]) => [all[place], rank]));
  const looseClasses = new Map(ranked.map(([place, , ...loose]) => [all[place], loose]));
  const classesOf = (rows: readonly FoundRow[]): number[] => rows.map((row) => classes.get(row) ?? -1);
  const left = (rows: readonly FoundRow[], others: readonly FoundRow[]): FoundRow[] => {
    const byClass = groupBy(rows, (row) => classes.get(row) ?? -1);
    const kept = withoutCopies(classesOf(rows), classesOf(others)).flatMap((rank) => byClass.get(rank)?.pop() ?? []);
    return kept.map((row) => withClasses(comparison, row, looseClasses.get(row) ?? []));
  };
  return { primary: left(primary, secondary), secondary: left(secondary, primary) };
}

function withClasses({ table }: Comparison, row: FoundRow, loose: readonly number[]): FoundRow {
  const ranks = [...loose];
  const classes = table.columns.map((column, index) => {
    const value = row.values[index] ?? null;
    return isLoose(column) ? (ranks.shift() ?? null) : value;
  });
  return { ...row, classes };
}

/** The name of a row's key from all of its values; all of them where the table has no key. */
export function nameOfRow({ table }: Comparison, { values }: FoundRow): string {
  const key = keyColumns(table);
  const columns = key.length === 0 ? table.columns : key;
  return keyName(columns.map((column) => values[table.columns.indexOf(column)] ?? null));
}

/** Reads a large table without an axis in parts. */
async function askRows(
  comparison: Comparison,
  role: Role,
  { slices, through }: { slices: readonly Slice[]; through?: Queryable | undefined },
  statementOf: (pages: Pages | null) => Statement,
): Promise<(string | null)[][]> {
  const options = { asArrays: true, ...(through === undefined ? {} : { through }) };
  const pages = Math.max(0, ...slices.map((slice) => ('classes' in slice ? (slice.pages[role] ?? 0) : 0)));
  const rows: (string | null)[][][] = [];
  for (const part of partsOf(pages === 0 ? null : pages)) {
    rows.push(await ask(comparison.sides[role], statementOf(part), options));
  }
  return rows.flat();
}
