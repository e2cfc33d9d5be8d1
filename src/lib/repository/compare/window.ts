import { readChunks, type Chunk } from '../timescaledb/chunks.js';
import { readRetentionCutoff } from '../timescaledb/retention.js';
import { sideTitle, type Role } from '../../domain/side.js';

import { intersect, type TimeRange } from '../../domain/time-range.js';
import { SERVER_CLOCK } from '../phase/state.js';
import { columnOf } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import {
  areOnAxis,
  formatPlace,
  isTimeAxis,
  microsOfPlace,
  offAxisSql,
  onAxisSql,
  placeSql,
  placesOf,
} from '../tables/axis.js';
import { placeOf } from './place-of-row.js';
import type { Difference } from './resolve.js';
import { ask, queryableOf, type ComparedSides } from './sides.js';
import { axisOf } from './slices.js';

/** A range that is not compared. */
export interface LeftOut {
  readonly table: string;
  /** Everything before this time (UTC text). */
  readonly before: string;
  readonly reason: string;
}

/** A range in µs since 1970 whose null bounds are those of each table. */
export interface OpenRange {
  readonly from: number | null;
  readonly to: number | null;
}

/** What to compare: from and to, a window up to now, or (all null) everything. */
export interface WindowRequest extends OpenRange {
  readonly windowMicros: number | null;
}

interface Cutoff {
  /** On the table's axis. */
  readonly place: number;
  /** In µs since 1970; null of an axis of integers. */
  readonly micros: number | null;
  /** Whose retention it is, for people. */
  readonly side: string;
}

/** The window by the clock of the primary. */
export async function resolveWindow(
  { primary }: ComparedSides,
  { from, to, windowMicros }: WindowRequest,
): Promise<OpenRange> {
  if (windowMicros === null) return { from, to };
  const end = to ?? SERVER_CLOCK.parse(await ask(primary, SERVER_CLOCK));
  return { from: end - windowMicros, to: end };
}

/** What of a table is compared. */
export interface ComparedPart {
  /** Along its axis; null where it holds nothing there. */
  readonly range: TimeRange | null;
  /** It holds rows off its axis, and these are compared too: not where a range of time was asked for. */
  readonly offAxis: boolean;
  /** No range was asked for. */
  readonly isAll: boolean;
  readonly leftOut: LeftOut | null;
}

/**
 * The part of a table that a window means, a range of times: of one whose axis is no time, everything. `resumed` is the
 * range along the axis by which an earlier comparison went.
 */
export async function rangeOfTable(
  sides: ComparedSides,
  table: TablePair,
  window: OpenRange,
  resumed: TimeRange | null = null,
): Promise<ComparedPart> {
  const { type } = axisOf({ table, role: 'primary' });
  const asked = isTimeAxis(type) ? placesOf(type, window) : { from: null, to: null };
  const { from, to } = resumed ?? asked;
  const isAll = asked.from === null && asked.to === null;
  const [held, cutoff] = await Promise.all([
    isAll || from === null || to === null ? heldRange(sides, table) : null,
    readCutoff(sides, table),
  ]);
  const range = { from: from ?? held?.from ?? 0, to: to ?? held?.to ?? 0 };
  const offAxis = isAll && held?.offAxis === true;
  if (cutoff === null || cutoff.place <= range.from)
    return { range: range.from < range.to ? range : null, offAxis, isAll, leftOut: null };
  const kept = intersect(range, { from: cutoff.place, to: Infinity });
  return { range: kept, offAxis, isAll, leftOut: leftOutBy(cutoff, table) };
}

/**
 * Retention goes on dropping while sides are compared: asked after the look at these rows, it says which are gone for
 * that. Answers the others, and what is left out with those.
 */
export async function withoutDropped(
  sides: ComparedSides,
  table: TablePair,
  found: readonly Difference[],
): Promise<{ kept: readonly Difference[]; leftOut: LeftOut | null }> {
  const cutoff = found.length === 0 || table.axis === null ? null : await readCutoff(sides, table);
  if (cutoff === null) return { kept: found, leftOut: null };
  const kept = found.filter((difference) => (placeOf(table, difference) ?? Infinity) >= cutoff.place);
  return { kept, leftOut: kept.length < found.length ? leftOutBy(cutoff, table) : null };
}

function leftOutBy({ place, side }: Cutoff, table: TablePair): LeftOut {
  const { type } = axisOf({ table, role: 'primary' });
  return { table: table.name, before: formatPlace(type, place), reason: `retention on ${side} drops it` };
}

interface HeldRange extends Partial<TimeRange> {
  readonly offAxis: boolean;
}

/** From the first row of either side to after the last. */
async function heldRange(sides: ComparedSides, table: TablePair): Promise<HeldRange> {
  const held = await Promise.all(
    (['primary', 'secondary'] as const).map(
      async (role) => (await readEndsByChunks(sides, table, role)) ?? (await readHeldRow(sides, table, role)),
    ),
  );
  const places = held.flatMap((row) => [row?.first ?? null, row?.last ?? null]).filter((place) => place !== null);
  const offAxis = held.some((row) => row?.offAxis === true);
  return places.length === 0 ? { offAxis } : { from: Math.min(...places), to: Math.max(...places) + 1, offAxis };
}

async function readHeldRow(sides: ComparedSides, table: TablePair, role: Role): Promise<HeldRow | undefined> {
  // Where there is no index for it, it takes long: nobody else waits behind it.
  const through = table.sides[role].hypertable === null ? sides[role].pool : queryableOf(sides[role]);
  return (await ask<HeldRow>(sides[role], { text: heldRangeSql(table, role) }, { through }))[0];
}

/** From so many chunks on a statement over all of them may want more locks than a server has by default. */
const MANY_CHUNKS = 500;

/** The same of a hypertable with many chunks, from its first and its last one that hold a row; null for any other table. */
async function readEndsByChunks(sides: ComparedSides, table: TablePair, role: Role): Promise<HeldRow | null> {
  const { name, hypertable } = table.sides[role];
  if (hypertable === null) return null;
  const chunks = await readChunks(queryableOf(sides[role]), name);
  if (chunks.length < MANY_CHUNKS) return null;
  const { sql: axis, type } = axisOf({ table, role });
  const find = async (end: 'min' | 'max', inOrder: readonly Chunk[]): Promise<number | null> => {
    for (const { from } of inOrder) {
      // Those of other space partitions begin at the same time.
      const parts = chunks
        .filter((chunk) => chunk.from === from)
        .map((chunk) => `select ${end}(${axis}) as bound from ${chunk.name} where ${onAxisSql(type, axis) ?? 'true'}`);
      const text = `select ${placeSql(type, `${end}(bound)`)} as bound from (${parts.join(' union all ')}) as ends`;
      const [found] = await ask<{ bound: number | null }>(sides[role], { text });
      if (found?.bound != null) return found.bound;
    }
    return null;
  };
  const [first, last] = await Promise.all([find('min', chunks), find('max', chunks.toReversed())]);
  const offAxis = chunks.some(({ from, to }) => !areOnAxis(type, [from, to]));
  return { first, last, offAxis };
}

function heldRangeSql(table: TablePair, role: Role): string {
  const { sql: axis, type } = axisOf({ table, role });
  const rows = sideSql(table, role);
  const isNotNull = columnOf(table.sides[role], table.axis?.column ?? '')?.notNull === true;
  const ways = offAxisSql(type, axis, isNotNull).map((way) => `exists (select from ${rows} where ${way})`);
  const offAxis = ways.length === 0 ? 'false' : ways.join(' or ');
  const within = onAxisSql(type, axis);
  return `select ${placeSql(type, `min(${axis})`)} as first, ${placeSql(type, `max(${axis})`)} as last,
    ${offAxis} as "offAxis" from ${rows} ${within === null ? '' : `where ${within}`}`;
}

interface HeldRow {
  readonly first: number | null;
  readonly last: number | null;
  readonly offAxis: boolean;
}

/** The later cutoff of both sides: before it, rows may be gone on one of them. Null where neither drops any. */
export async function readCutoff(sides: ComparedSides, table: TablePair): Promise<Cutoff | null> {
  const { axis } = table;
  if (axis === null) return null;
  const cutoffs = await Promise.all(
    (['primary', 'secondary'] as const).map(async (role) => {
      const place = await readRetentionCutoff(queryableOf(sides[role]), table.sides[role]);
      if (place === null) return [];
      return { place, micros: microsOfPlace(axis.primary, place), side: sideTitle(sides[role].side) };
    }),
  );
  return cutoffs.flat().toSorted((one, other) => other.place - one.place)[0] ?? null;
}
