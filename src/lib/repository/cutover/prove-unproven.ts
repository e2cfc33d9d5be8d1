import { boundsOf } from '../../db/micros.js';
import { chunksOf } from '../../domain/chunks.js';
import { intersect, mergeRanges, type TimeRange } from '../../domain/time-range.js';
import { UnreachableError } from '../../errors.js';
import type { TablePair } from '../tables/table-pair.js';
import { agreeOnMethod } from '../compare/digest-method.js';
import {
  digestOnBothSides,
  findLeaves,
  type Comparison,
  type Digested,
  type DifferingRange,
  type Leaf,
} from '../compare/find-leaves.js';
import { scanClasses } from '../compare/class-scan.js';
import { groupLeaves, inTime } from '../compare/leaf-groups.js';
import { planNamedTables } from '../compare/plan-named-tables.js';
import { resolveLeaves, type Difference } from '../compare/resolve.js';
import { scanRange } from '../compare/scan.js';
import { queryableOf, type ComparedSides } from '../compare/sides.js';
import { readCutoff, withoutDropped } from '../compare/window.js';
import { WHOLE_TABLES } from '../tables/reading-tables.js';

/** The result of a proof of everything that settled since the last one. */
export interface Proof {
  /** Ranges that were digested on both sides, and rows that they hold on the primary. */
  readonly ranges: number;
  readonly rows: number;
  /** By table, ranges in which rows differ. */
  readonly differing: ReadonlyMap<string, readonly TimeRange[]>;
  /** Tables that were compared whole, and those of them that differ; empty also where it was not asked for. */
  readonly whole: readonly string[];
  readonly wholeDiffering: readonly string[];
  /**
   * Tables with an axis of which rows were brought by their keys: each was verified by the repair that brought it, and only
   * a comparison of the whole table looks at it again.
   */
  readonly verified: readonly string[];
}

interface ProofOptions {
  /** False: nothing is taken off the record. */
  readonly recorded?: boolean;
  /**
   * Where digests differ the values are looked at, and batches on their way may take so long to settle, in ms; 0 where
   * none is. Null: nobody looks, and what differs by its digest counts as different.
   */
  readonly settleMs?: number | null;
  /** Compares tables without an axis too, whole: batches change their rows, so only while none is written. */
  readonly withWhole?: boolean;
}

interface Unproven extends TimeRange {
  readonly id: number;
  readonly table: string;
}

const READ_UNPROVEN = `
  select unproven_id as id, table_name as "table", ${boundsOf('range')}
  from (select unproven_id, table_name, unnest(times) as range from sensorctl.unproven) as ranges
  order by table_name, lower(range)`;

/** Tables of which any row may have been written. Entries that settle later have other numbers, and stay. */
const READ_UNPROVEN_TABLES = `
  select unproven_id as id, table_name as "table" from sensorctl.unproven where whole_table`;

const REMOVE_PROVEN = 'select sensorctl.remove_proven($1)';

const RANGES_AT_ONCE = 40;
/** Neighbours within this, in µs, are digested as one range. */
const JOIN_MICROS = 60_000_000;
const WIDE_MICROS = 1_800_000_000;

/**
 * Compares on both sides, by digest, whatever ranges settled batches have touched since the last proof. What is equal is
 * proven and, unless the caller wants nothing recorded, taken off the record; so is what retention drops on either side,
 * which nobody can compare. A range in which rows differ, or are on their way, stays on it.
 */
export async function proveUnproven(
  sides: ComparedSides,
  stop: AbortSignal,
  { recorded = true, settleMs = null, withWhole = false }: ProofOptions = {},
): Promise<Proof> {
  const { primary } = sides;
  const { rows: unproven } = await primary.pool.query<Unproven & Record<string, unknown>>(READ_UNPROVEN);
  const { rows: whole } = await primary.pool.query<Pick<Unproven, 'id' | 'table'>>(READ_UNPROVEN_TABLES);
  const settled = [...unproven, ...whole].map(({ table }) => table);
  const tables = await planCompared(sides, settled);
  const method = await agreeOnMethod([queryableOf(primary), queryableOf(sides.secondary)], tables);
  const differing = new Map<string, readonly TimeRange[]>();
  const open = new Map<string, readonly TimeRange[]>();
  let [ranges, rows] = [0, 0];
  for (const table of tables.filter(({ axis }) => axis !== null)) {
    const joined = mergeRanges(await withoutDroppedRanges(sides, table, unproven), JOIN_MICROS);
    const digested = await digest({ sides, table, method }, joined, stop);
    ranges += joined.length;
    rows += digested.rows;
    const found = await lookAtRanges({ sides, table, method }, digested.differing, { settleMs, stop });
    open.set(table.name, found.open);
    if (found.differing.length > 0) differing.set(table.name, found.differing);
  }
  const wholeDiffering: string[] = [];
  const wholeProven = new Set<string>();
  const comparedWhole = withWhole ? tables.filter(({ axis }) => axis === null) : [];
  for (const table of comparedWhole) {
    const found = await compareWhole({ sides, table, method }, { settleMs, stop });
    if (found === 'lost') wholeDiffering.push(table.name);
    if (found === 'equal') wholeProven.add(table.name);
  }
  const isOpen = (each: Unproven): boolean => isTouched(each, open.get(each.table) ?? []);
  const kept = new Set(unproven.filter(isOpen).map(({ id }) => id));
  const provenWhole = whole.filter(({ table }) => wholeProven.has(table));
  const ids = [...new Set([...unproven, ...provenWhole].map(({ id }) => id))].filter((id) => !kept.has(id));
  if (recorded && ids.length > 0) await primary.pool.query(REMOVE_PROVEN, [ids]);
  const broughtByKey = new Set(whole.map(({ table }) => table));
  const verified = tables.filter(({ name, axis }) => axis !== null && broughtByKey.has(name)).map(({ name }) => name);
  return { ranges, rows, differing, whole: comparedWhole.map(({ name }) => name), wholeDiffering, verified };
}

/** These tables, and those that are always compared whole where a side has them. Throws where one cannot be compared. */
async function planCompared(sides: ComparedSides, settled: readonly string[]): Promise<TablePair[]> {
  const names = [...new Set([...WHOLE_TABLES, ...settled])];
  const plans = await planNamedTables(sides, names);
  return names.flatMap((name, place) => {
    const plan = plans[place] ?? null;
    if (plan === null && !settled.includes(name)) return [];
    if (plan !== null && typeof plan !== 'string') return [plan];
    throw new UnreachableError(`a table cannot be compared: ${plan ?? `neither side has ${name}`}`, {
      code: 'schema-differs',
    });
  });
}

/** The ranges of the table as far as neither side's retention drops them. */
async function withoutDroppedRanges(
  sides: ComparedSides,
  table: TablePair,
  unproven: readonly Unproven[],
): Promise<TimeRange[]> {
  const held = { from: (await readCutoff(sides, table))?.micros ?? -Infinity, to: Infinity };
  return unproven.filter((each) => each.table === table.name).flatMap((each) => intersect(each, held) ?? []);
}

async function digest(
  comparison: Comparison,
  ranges: readonly TimeRange[],
  stop: AbortSignal,
): Promise<{ rows: number; differing: DifferingRange[] }> {
  const wide = ranges.filter(isWide);
  const differing: DifferingRange[] = [];
  let rows = 0;
  const add = ({ primary, differing: found }: Digested<DifferingRange>): void => {
    rows += primary.rows;
    differing.push(...found);
  };
  for (const range of wide) {
    const onProgress = (): Promise<void> => Promise.resolve();
    add(await scanRange(comparison, { range, bucketWidth: null, jobs: 1, stop, onProgress }));
  }
  for (const group of chunksOf(
    ranges.filter((range) => !isWide(range)),
    RANGES_AT_ONCE,
  )) {
    const whole = group.map(({ from, to }) => ({ from, to, width: to - from }));
    add(await digestOnBothSides(comparison, whole));
  }
  stop.throwIfAborted();
  return { rows, differing };
}

interface LookOptions {
  readonly settleMs: number | null;
  readonly stop: AbortSignal;
}

/** Returns the ranges in which rows differ, of those whose digests do, and all that are not proven. */
async function lookAtRanges(
  comparison: Comparison,
  ranges: readonly DifferingRange[],
  { settleMs, stop }: LookOptions,
): Promise<{ differing: readonly TimeRange[]; open: readonly TimeRange[] }> {
  if (settleMs === null) return { differing: ranges, open: ranges };
  const differences = await lookAtRows(comparison, findLeaves(comparison, ranges), { settleMs, stop });
  const lost = differences.filter(isLost);
  return lost.length === 0
    ? { differing: [], open: rangesOf(differences) }
    : { differing: rangesOf(lost), open: ranges };
}

async function compareWhole(
  comparison: Comparison,
  { settleMs, stop }: LookOptions,
): Promise<'equal' | 'on its way' | 'lost'> {
  const onProgress = (): Promise<void> => Promise.resolve();
  const { leaves } = await scanClasses(comparison, { rows: 'all', stop, onProgress });
  if (leaves.length === 0) return 'equal';
  if (settleMs === null) return 'lost';
  const found = await lookAtRows(comparison, leaves, { settleMs, stop });
  if (found.length === 0) return 'equal';
  return found.some(isLost) ? 'lost' : 'on its way';
}

/** Looks at the rows, as compare does, up to the first group of leaves in which one differs for good. */
async function lookAtRows(
  comparison: Comparison,
  leaves: AsyncIterable<Leaf> | Iterable<Leaf>,
  { settleMs, stop }: LookOptions & { readonly settleMs: number },
): Promise<Difference[]> {
  const { sides, table } = comparison;
  // Where nothing is on its way the ledger explains nothing.
  const options = { settleMs, stop, ledger: settleMs > 0 };
  const differences: Difference[] = [];
  for await (const group of groupLeaves(leaves)) {
    const found = await inTime(group, (part) => resolveLeaves(comparison, part, options));
    stop.throwIfAborted();
    const { kept } = await withoutDropped(sides, table, found);
    differences.push(...kept);
    if (kept.some(isLost)) break;
  }
  return differences;
}

/** For another reason than a batch on its way. */
function isLost(difference: Difference): boolean {
  return difference.class !== 'pending';
}

function rangesOf(differences: readonly Difference[]): TimeRange[] {
  const slices = new Set(differences.map(({ leaf }) => leaf.slice));
  return [...slices].flatMap((slice) => ('from' in slice ? [slice] : []));
}

/** Too wide for one statement. */
function isWide({ from, to }: TimeRange): boolean {
  return to - from > WIDE_MICROS;
}

function isTouched({ from, to }: TimeRange, differing: readonly TimeRange[]): boolean {
  return differing.some((range) => range.from < to && from < range.to);
}
