import type { Database } from '../../db/database.js';
import { readChunks, type Chunk } from '../timescaledb/chunks.js';
import { readRetentionCutoff } from '../timescaledb/retention.js';
import { sideTitle, type Role } from '../../domain/side.js';
import { formatInstant, parseInstant } from '../../domain/time.js';
import { intersect, type TimeRange } from '../../domain/time-range.js';
import { UnreachableError } from '../../errors.js';
import { SERVER_CLOCK } from '../phase/state.js';
import { columnOf } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { timeOf, type Difference } from './resolve.js';
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
  readonly micros: number;
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

/** The range of a table to compare, and what is left out of it; null where the table has nothing there. */
export async function rangeOfTable(
  sides: ComparedSides,
  table: TablePair,
  { from, to }: OpenRange,
): Promise<{ range: TimeRange | null; leftOut: LeftOut | null }> {
  const held = from === null || to === null ? await heldRange(sides, table) : null;
  const range = { from: from ?? held?.from ?? 0, to: to ?? held?.to ?? 0 };
  const cutoff = await readCutoff(sides, table);
  if (cutoff === null || cutoff.micros <= range.from)
    return { range: range.from < range.to ? range : null, leftOut: null };
  return { range: intersect(range, { from: cutoff.micros, to: Infinity }), leftOut: leftOutBy(cutoff, table) };
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
  const kept = found.filter((difference) => timeOf(table, difference) >= cutoff.micros);
  return { kept, leftOut: kept.length < found.length ? leftOutBy(cutoff, table) : null };
}

function leftOutBy({ micros, side }: Cutoff, { name }: TablePair): LeftOut {
  return { table: name, before: formatInstant(micros), reason: `retention on ${side} drops it` };
}

/** From the oldest row of either side to after the newest. */
async function heldRange(sides: ComparedSides, table: TablePair): Promise<TimeRange | null> {
  const bounds = await Promise.all(
    (['primary', 'secondary'] as const).map(async (role) => {
      const row = (await readEndsByChunks(sides, table, role)) ?? (await readHeldRow(sides, table, role));
      if (row?.offAxis === true) throw outsideRanges(table.name, sides[role], 'rows without a time');
      return [row?.oldest ?? null, row?.newest ?? null].map((time) => readTime(time, table.name, sides[role]));
    }),
  );
  const times = bounds.flat().filter((time) => time !== null);
  return times.length === 0 ? null : { from: Math.min(...times), to: Math.max(...times) + 1 };
}

async function readHeldRow(sides: ComparedSides, table: TablePair, role: Role): Promise<HeldRow | undefined> {
  return (await ask<HeldRow>(sides[role], { text: heldRangeSql(table, role) }))[0];
}

/** From so many chunks on a statement over all of them may want more locks than a server has by default. */
const MANY_CHUNKS = 500;

/** The same of a hypertable with many chunks, from its first and its last one that hold a row; null for any other table. */
async function readEndsByChunks(sides: ComparedSides, table: TablePair, role: Role): Promise<HeldRow | null> {
  const { name, hypertable } = table.sides[role];
  if (hypertable === null) return null;
  const chunks = await readChunks(queryableOf(sides[role]), name);
  if (chunks.length < MANY_CHUNKS) return null;
  const { sql: axis } = axisOf({ table, role });
  const find = async (end: 'min' | 'max', inOrder: readonly Chunk[]): Promise<string | null> => {
    for (const { from } of inOrder) {
      // Those of other space partitions begin at the same time.
      const parts = chunks
        .filter((chunk) => chunk.from === from)
        .map((chunk) => `select ${end}(${axis}) as bound from ${chunk.name}`);
      const text = `select ${end}(bound)::text as bound from (${parts.join(' union all ')}) as ends`;
      const [found] = await ask<{ bound: string | null }>(sides[role], { text });
      if (found?.bound != null) return found.bound;
    }
    return null;
  };
  const [oldest, newest] = await Promise.all([find('min', chunks), find('max', chunks.toReversed())]);
  return { oldest, newest, offAxis: false };
}

function heldRangeSql(table: TablePair, role: Role): string {
  const { sql: axis } = axisOf({ table, role });
  const rows = sideSql(table, role);
  const isNotNull = columnOf(table.sides[role], table.axis?.column ?? '')?.notNull === true;
  const offAxis = isNotNull ? 'false' : `exists (select from ${rows} where ${axis} is null)`;
  return `select min(${axis})::text as oldest, max(${axis})::text as newest, ${offAxis} as "offAxis" from ${rows}`;
}

interface HeldRow {
  readonly oldest: string | null;
  readonly newest: string | null;
  readonly offAxis: boolean;
}

function readTime(text: string | null, table: string, database: Database): number | null {
  const instant = text === null ? null : parseInstant(text);
  if (text === null || instant !== null) return instant;
  throw outsideRanges(table, database, `the time ${text}, which is outside the years 1685 to 2254`);
}

function outsideRanges(table: string, { side }: Database, what: string): UnreachableError {
  return new UnreachableError(`${table} on ${sideTitle(side)} holds ${what}`, {
    code: 'time-outside-range',
  });
}

/** The later cutoff of both sides, in µs since 1970: before it, rows may be gone on one of them. Null where neither drops any. */
export async function readCutoff(sides: ComparedSides, table: TablePair): Promise<Cutoff | null> {
  const cutoffs = await Promise.all(
    (['primary', 'secondary'] as const).map(async (role) => {
      const micros = await readRetentionCutoff(queryableOf(sides[role]), table.sides[role]);
      return micros === null ? [] : [{ micros, side: sideTitle(sides[role].side) }];
    }),
  );
  return cutoffs.flat().toSorted((one, other) => other.micros - one.micros)[0] ?? null;
}
