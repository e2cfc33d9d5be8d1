import { isTooMuch } from '../../db/sqlstate.js';
import type { Role } from '../../domain/side.js';
import type { TimeRange } from '../../domain/time-range.js';
import type { TablePair } from '../tables/table-pair.js';
import type { DigestMethod } from './digest-method.js';
import { digestRanges, type BucketDigest, type Slice, type TableView } from './slices.js';
import type { Statement } from '../../db/transaction.js';
import { askForDigests, repeatReading, type ComparedSides } from './sides.js';

/** A table, the two sides that hold it, and the method that they agreed on. */
export interface Comparison {
  readonly sides: ComparedSides;
  readonly table: TablePair;
  readonly method: DigestMethod;
}

/** A range whose digests differ, with the rows of the side that holds more. */
export interface DifferingRange extends TimeRange {
  readonly rows: number;
}

/** A part small enough that its rows are compared one by one. */
export interface Leaf {
  readonly slice: Slice;
  readonly rows: number;
}

/** What one side holds of what was digested. */
export interface SideTotals {
  readonly rows: number;
  /** The last place on the axis; null where there are no rows, or no axis. */
  readonly newest: number | null;
}

export interface Digested<Difference> {
  readonly primary: SideTotals;
  readonly secondary: SideTotals;
  readonly differing: readonly Difference[];
}

/** Rows of a leaf, at most, unless they share one microsecond or one class. */
const LEAF_ROWS = 2_000;
const RANGES_AT_ONCE = 16;
const SPLIT_AT_MOST = 64;
const SPLIT_AT_LEAST = 4;
const ROWS_A_PART = 500;

/** How one side of a comparison is read. */
export function viewOf({ table, method }: Comparison, role: Role): TableView {
  return { table, method, role };
}

/** Does a piece of a side's work once the limit of that side lets it. */
export type WithinLimit = <Result>(role: Role, work: () => Promise<Result>) => Promise<Result>;

const UNLIMITED: WithinLimit = (_role, work) => work();

/**
 * Both sides digest the ranges, each range cut into buckets of its width; answers the buckets that differ, and the
 * time that the slower side took, in ms.
 */
export async function digestOnBothSides(
  comparison: Comparison,
  ranges: readonly (TimeRange & { width: number })[],
  withinLimit: WithinLimit = UNLIMITED,
): Promise<Digested<DifferingRange> & { readonly ms: number }> {
  const digested = await bothSides(comparison, (view) => digestRanges(view, ranges), withinLimit);
  const differing = digested.differing.map(({ place, bucket, rows }) => {
    const { to = bucket, width = 0 } = ranges[place] ?? {};
    return { from: bucket, to: Math.min(bucket + width, to), rows };
  });
  return { ...digested, differing: differing.toSorted((one, other) => one.from - other.from) };
}

/** Splits ranges that differ, again and again, until what differs is small; in time order within each. */
export async function* findLeaves(comparison: Comparison, ranges: readonly DifferingRange[]): AsyncGenerator<Leaf> {
  const queue = [...ranges];
  while (queue.length > 0) {
    const batch = queue.splice(0, RANGES_AT_ONCE);
    const small = batch.filter((range) => isLeaf(range));
    for (const { from, to, rows } of small) yield { slice: { from, to }, rows };
    const parts = batch.filter((range) => !isLeaf(range)).map((range) => ({ ...range, width: partWidth(range) }));
    if (parts.length > 0) queue.unshift(...(await splitRanges(comparison, parts)));
  }
}

/** Answers the parts that differ; what a server could not digest in time is cut up without asking. */
async function splitRanges(
  comparison: Comparison,
  parts: readonly (DifferingRange & { width: number })[],
): Promise<DifferingRange[]> {
  try {
    return [...(await digestOnBothSides(comparison, parts)).differing];
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    if (parts.length === 1) return parts.flatMap(halve);
    const middle = Math.ceil(parts.length / 2);
    return [
      ...(await splitRanges(comparison, parts.slice(0, middle))),
      ...(await splitRanges(comparison, parts.slice(middle))),
    ];
  }
}

/** Both halves of a leaf; none of one that cannot be cut. */
export function halveLeaf({ slice, rows }: Leaf): Leaf[] {
  if ('classes' in slice) {
    const middle = slice.classes.length >> 1;
    return [slice.classes.slice(0, middle), slice.classes.slice(middle)]
      .filter((classes) => middle > 0 && classes.length > 0)
      .map((classes) => ({ slice: { ...slice, classes }, rows: rows >> 1 }));
  }
  if (slice.to - slice.from < 2) return [];
  return halve({ ...slice, rows }).map(({ from, to }) => ({ slice: { from, to }, rows }));
}

function halve({ from, to, rows }: DifferingRange): DifferingRange[] {
  const middle = Math.floor((from + to) / 2);
  return [
    { from, to: middle, rows },
    { from: middle, to, rows },
  ];
}

function isLeaf({ from, to, rows }: DifferingRange): boolean {
  return rows <= LEAF_ROWS || to - from <= 1;
}

function partWidth({ from, to, rows }: DifferingRange): number {
  const parts = Math.min(SPLIT_AT_MOST, Math.max(SPLIT_AT_LEAST, Math.ceil(rows / ROWS_A_PART)));
  return Math.ceil((to - from) / parts);
}

async function bothSides(
  comparison: Comparison,
  statementOf: (view: TableView) => Statement,
  withinLimit = UNLIMITED,
): Promise<Digested<{ place: number; bucket: number; rows: number }> & { readonly ms: number }> {
  const digest = (role: Role): Promise<{ buckets: BucketDigest[]; ms: number }> =>
    withinLimit(role, async () => {
      const startedAt = performance.now();
      const statement = statementOf(viewOf(comparison, role));
      const buckets = await repeatReading(() => askForDigests<BucketDigest>(comparison.sides[role], statement));
      return { buckets, ms: performance.now() - startedAt };
    });
  const [primary, secondary] = await Promise.all([digest('primary'), digest('secondary')]);
  return {
    primary: totalsOf(primary.buckets),
    secondary: totalsOf(secondary.buckets),
    differing: unequalBuckets(primary.buckets, secondary.buckets),
    ms: Math.max(primary.ms, secondary.ms),
  };
}

export function unequalBuckets(
  primary: readonly BucketDigest[],
  secondary: readonly BucketDigest[],
): { place: number; bucket: number; rows: number }[] {
  const name = ({ place, bucket }: BucketDigest): string => `${place} ${bucket}`;
  const there = new Map(secondary.map((digest) => [name(digest), digest]));
  const unequal = primary.filter((digest) => {
    const other = there.get(name(digest));
    there.delete(name(digest));
    return other?.rows !== digest.rows || other.digest !== digest.digest;
  });
  const rowsThere = new Map(secondary.map((digest) => [name(digest), digest.rows]));
  return [...unequal, ...there.values()].map(({ place, bucket, rows }) => {
    return { place, bucket, rows: Math.max(rows, rowsThere.get(`${place} ${bucket}`) ?? 0) };
  });
}

function totalsOf(buckets: readonly BucketDigest[]): SideTotals {
  return buckets.map(({ rows, newest }) => ({ rows, newest })).reduce(addTotals, NOTHING);
}

export const NOTHING: SideTotals = { rows: 0, newest: null };

export function addTotals(one: SideTotals, other: SideTotals): SideTotals {
  const newest = [one.newest, other.newest].filter((time) => time !== null);
  return { rows: one.rows + other.rows, newest: newest.length === 0 ? null : Math.max(...newest) };
}
