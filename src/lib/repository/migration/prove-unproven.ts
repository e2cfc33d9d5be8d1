import { chunksOf } from '../../domain/chunks.js';
import { intersect, type TimeRange } from '../../domain/time-range.js';
import { UnreachableError } from '../../errors.js';
import type { ComparedTable } from '../comparison/compared-table.js';
import { agreeOnMethod } from '../comparison/digest-method.js';
import {
  digestOnBothSides,
  digestWholeTable,
  findLeaves,
  type Comparison,
  type Digested,
  type DifferingRange,
  type Leaf,
} from '../comparison/find-leaves.js';
import { planNamedTables } from '../comparison/plan-named-table.js';
import { resolveLeaves } from '../comparison/resolve.js';
import { scanRange } from '../comparison/scan.js';
import { queryableOf, type ComparedSides } from '../comparison/sides.js';
import { readCutoff, withoutDropped } from '../comparison/window.js';
import { REGISTRY } from '../reading-tables.js';

/** What a proof of everything that settled since the last one has found. */
export interface Proof {
  /** Ranges that were digested on both sides, and rows that they hold on the primary. */
  readonly ranges: number;
  readonly rows: number;
  /** By table, ranges in which rows differ. */
  readonly differing: ReadonlyMap<string, readonly TimeRange[]>;
  /** False also where it was not asked for. */
  readonly registryDiffers: boolean;
}

interface ProofOptions {
  /** False: nothing is taken off the record. */
  readonly recorded?: boolean;
  /** While batches are written: how long those on their way may take, in ms; null where nothing is on its way. */
  readonly settleMs?: number | null;
  /** Compares sensor_registry too, whole: each batch changes it, so only while none is written. */
  readonly withRegistry?: boolean;
}

interface Unproven extends TimeRange {
  readonly id: number;
  readonly table: string;
}

const READ_UNPROVEN = `
  select unproven_id as id, table_name as "table", (extract(epoch from lower(range)) * 1000000)::bigint as "from",
    (extract(epoch from upper(range)) * 1000000)::bigint as "to"
  from (select unproven_id, table_name, unnest(times) as range from sensorctl.unproven) as ranges
  order by table_name, lower(range)`;

/** By what was read: a row that consumers rewrite meanwhile has another number, and stays. */
const REMOVE_PROVEN = 'delete from sensorctl.unproven where unproven_id = any ($1::bigint[])';

const RANGES_AT_ONCE = 40;
/** Neighbours within this, in µs, are digested as one range. */
const JOIN_MICROS = 60_000_000;
const WIDE_MICROS = 1_800_000_000;

/**
 * Compares on both sides, by digest, whatever ranges settled batches have touched since the last proof. What is equal is
 * proven and, unless the caller wants nothing recorded, taken off the record; so is what retention drops on either side,
 * which nobody can compare. A range whose digests differ stays on it.
 */
export async function proveUnproven(
  sides: ComparedSides,
  stop: AbortSignal,
  { recorded = true, settleMs = null, withRegistry = false }: ProofOptions = {},
): Promise<Proof> {
  const { primary } = sides;
  const { rows: unproven } = await primary.pool.query<Unproven & Record<string, unknown>>(READ_UNPROVEN);
  const names = [...new Set(unproven.map(({ table }) => table))];
  const tables = await planCompared(sides, [REGISTRY, ...names]);
  const method = await agreeOnMethod([queryableOf(primary), queryableOf(sides.secondary)], tables);
  const differing = new Map<string, TimeRange[]>();
  const suspect = new Map<string, readonly DifferingRange[]>();
  let [ranges, rows] = [0, 0];
  for (const table of tables.filter(({ name }) => name !== REGISTRY)) {
    const joined = joinRanges(await withoutDroppedRanges(sides, table, unproven));
    const digested = await digest({ sides, table, method }, joined, stop);
    ranges += joined.length;
    rows += digested.rows;
    if (digested.differing.length === 0) continue;
    suspect.set(table.name, digested.differing);
    const found =
      settleMs === null
        ? digested.differing
        : await findSettled({ sides, table, method }, digested.differing, { settleMs, stop });
    if (found.length > 0) differing.set(table.name, found);
  }
  const registry = tables.find(({ name }) => name === REGISTRY);
  const registryDiffers =
    withRegistry &&
    registry !== undefined &&
    (await digestWholeTable({ sides, table: registry, method })).differing.length > 0;
  const isOpen = (each: Unproven): boolean => isTouched(each, suspect.get(each.table) ?? []);
  const open = new Set(unproven.filter(isOpen).map(({ id }) => id));
  const ids = [...new Set(unproven.map(({ id }) => id))].filter((id) => !open.has(id));
  if (recorded && ids.length > 0) await primary.pool.query(REMOVE_PROVEN, [ids]);
  return { ranges, rows, differing, registryDiffers };
}

/** Throws where one of the tables cannot be compared. */
async function planCompared(sides: ComparedSides, names: readonly string[]): Promise<ComparedTable[]> {
  const plans = await planNamedTables(sides, names);
  return plans.map((plan, place) => {
    if (plan !== null && typeof plan !== 'string') return plan;
    throw new UnreachableError(`a table cannot be compared: ${plan ?? `neither side has ${names[place] ?? ''}`}`, {
      next: 'sensorctl verify-schema',
    });
  });
}

/** The ranges of the table as far as neither side's retention drops them. */
async function withoutDroppedRanges(
  sides: ComparedSides,
  table: ComparedTable,
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
    add(await scanRange(comparison, { range, bucketMicros: null, jobs: 1, stop, onProgress }));
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

/** Looks at the rows again, as compare does; answers where they differ for another reason than a batch on its way. */
async function findSettled(
  comparison: Comparison,
  ranges: readonly DifferingRange[],
  options: { readonly settleMs: number; readonly stop: AbortSignal },
): Promise<TimeRange[]> {
  const leaves: Leaf[] = [];
  for await (const leaf of findLeaves(comparison, ranges)) leaves.push(leaf);
  if (leaves.length === 0) return [];
  const differences = await resolveLeaves(comparison, leaves, { ...options, ledger: true });
  const { kept } = await withoutDropped(comparison.sides, comparison.table, differences);
  const real = kept.filter((difference) => difference.class !== 'pending');
  return [...new Set(real.map(({ leaf }) => leaf.slice))].flatMap((slice) => ('from' in slice ? [slice] : []));
}

/** Too wide for one statement. */
function isWide({ from, to }: TimeRange): boolean {
  return to - from > WIDE_MICROS;
}

/** In time order, as few as cover them. */
function joinRanges(ranges: readonly TimeRange[]): TimeRange[] {
  const joined: { from: number; to: number }[] = [];
  for (const { from, to } of ranges) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last.to + JOIN_MICROS) last.to = Math.max(last.to, to);
    else joined.push({ from, to });
  }
  return joined;
}

function isTouched({ from, to }: TimeRange, differing: readonly TimeRange[]): boolean {
  return differing.some((range) => range.from < to && from < range.to);
}
