import { readChunks } from '../../repository/timescaledb/chunks.js';
import type { Database } from '../../db/database.js';
import type { TimeRange } from '../../domain/time-range.js';
import { buildUnits } from '../../repository/backfill/unit-builder.js';
import type { PlannedUnit, UnitPart } from '../../repository/backfill/unit-store.js';
import type { DigestMethod } from '../../repository/compare/digest-method.js';
import { planLine, scanClasses } from '../../repository/compare/class-scan.js';
import { findLeaves, NOTHING, type DifferingRange, type Leaf } from '../../repository/compare/find-leaves.js';
import {
  leastSpanOf,
  scanRange,
  scanSegments,
  type ScanOptions,
  type ScanProgress,
  type SegmentDigest,
} from '../../repository/compare/scan.js';
import { ask } from '../../repository/compare/sides.js';
import { axisOf, countBuckets, type ClassSlice } from '../../repository/compare/slices.js';
import { rangeOfTable, type LeftOut, type OpenRange } from '../../repository/compare/window.js';
import { assertWritable } from '../../repository/timescaledb/compressed-chunks.js';
import type { Transfer } from '../../repository/repair/transfer.js';
import type { BackfillRequest } from './backfill-report.js';
import { isTimeAxis, microsOfPlace, placesOf, type AxisType } from '../../repository/tables/axis.js';
import { rowsSql, tableSql, type Table } from '../../repository/tables/table.js';
import type { TablePair } from '../../repository/tables/table-pair.js';

export interface PlanningOptions {
  readonly source: Database;
  readonly target: Database;
  readonly request: BackfillRequest;
  /** The requested window, by the clock of the primary. */
  readonly window: OpenRange;
  readonly jobs: number;
  readonly method: DigestMethod;
  readonly stop: AbortSignal;
  readonly onProgress: (table: string, rows: number) => void;
}

export interface Planned {
  readonly units: readonly TableUnit[];
  readonly bytes: number;
  readonly leftOut: readonly LeftOut[];
}

/** A unit should take a second or so. */
const UNIT_ROWS = 50_000;
const LEAST_UNIT_ROWS = 500;
/** Segments looked at side by side: one alone makes either side wait for the other. */
const SEGMENTS_AT_ONCE = 2;
/** The cost of a unit besides its rows, in rows. */
const BETWEEN_ROWS = 1_000;
/** Seconds that a unit may take at a rate that was asked for. */
const UNIT_SECONDS = 2;

/** For a hypertable, estimated from one chunk: a statement over all of them locks each. */
const ROW_BYTES = (from: string): string =>
  `select coalesce(avg(pg_column_size(sample.*)), 0)::float8::text as bytes from (select * from ${from} limit 1000) as sample`;

/** Finds what of a table is to be copied, and cuts it into units. */
export async function planUnits(transfer: Transfer, options: PlanningOptions): Promise<Planned> {
  const { compared } = transfer;
  const [along, rest, leftOut] = compared.axis === null ? NO_AXIS : await planAlongAxis(transfer, options);
  const line = compared.axis === null ? await planClasses(transfer, 'all', options) : rest;
  const units = [...along, ...line];
  const rows = units.reduce((sum, unit) => sum + unit.rows, 0);
  const bytes = units.length === 0 ? 0 : rows * (await rowBytes(options.source, compared.sides.primary));
  return { units, bytes: Math.round(bytes), leftOut: leftOut === null ? [] : [leftOut] };
}

/** A unit before it has its place among those of other tables. */
export type TableUnit = Omit<PlannedUnit, 'level' | 'prune'>;

const NO_AXIS: readonly [readonly TableUnit[], readonly TableUnit[], null] = [[], [], null];

/** Units of ranges, then those of what is off the axis, and what is left out. */
async function planAlongAxis(
  transfer: Transfer,
  options: PlanningOptions,
): Promise<readonly [readonly TableUnit[], readonly TableUnit[], LeftOut | null]> {
  const { source, target, request, jobs } = options;
  const { table, compared } = transfer;
  const type = axisOf({ table: compared, role: 'primary' }).type;
  const sides = { primary: source, secondary: target };
  const { range, offAxis, leftOut } = await rangeOfTable(sides, compared, options.window);
  const rest = offAxis ? await planClasses(transfer, 'off axis', options) : [];
  if (range === null) return [[], rest, leftOut];
  const find = request.mode === 'full' ? findRows : findDifferences;
  const ranges = request.mode === 'given' ? givenRanges(request, table) : await find(transfer, range, options);
  const isTimed = isTimeAxis(type);
  const micros = (place: number): number => microsOfPlace(type, place) ?? place;
  const timesOf = (part: TimeRange): TimeRange => ({ from: micros(part.from), to: micros(part.to) });
  const { secondary: to } = compared.sides;
  const [cuts] = await Promise.all([
    readChunkStarts(target, to, type),
    assertWritable(target, to, isTimed ? ranges.map(timesOf) : undefined),
  ]);
  const built = buildUnits(ranges, {
    rows: unitRows(request, jobs),
    cuts,
    // Without a comparison there is nothing between them.
    betweenRows: request.mode === 'full' ? 0 : BETWEEN_ROWS,
  });
  const units = built.map(({ rows, ...part }) => ({ table, isTimed, rows, part: isTimed ? timesOf(part) : part }));
  return [units, rest, leftOut];
}

function givenRanges({ given }: BackfillRequest, table: string): DifferingRange[] {
  return (given?.get(table) ?? []).flatMap(({ slice, rows }) => ('classes' in slice ? [] : [{ ...slice, rows }]));
}

/** Units of rows by the class of their keys; of everything: of the pages of the source, where the key tells what is there. */
async function planClasses(
  transfer: Transfer,
  rows: ClassSlice['rows'],
  options: PlanningOptions,
): Promise<readonly TableUnit[]> {
  const { source: primary, target: secondary, request, method, stop, jobs } = options;
  const { table, compared } = transfer;
  const size = unitRows(request, jobs);
  const unit = (part: UnitPart, count: number): TableUnit => ({ table, part, isTimed: false, rows: count });
  const sides = { primary, secondary };
  if (request.mode === 'given') {
    const leaves = request.given?.get(table) ?? [];
    return joinLeaves(leaves, size).map(({ slice, rows: count }) => unit({ slice }, count));
  }
  if (request.mode !== 'full') {
    const onProgress = (_: unknown, count: number): Promise<void> => {
      options.onProgress(table, count);
      return Promise.resolve();
    };
    const { leaves } = await scanClasses({ sides, table: compared, method }, { rows, stop, onProgress });
    return joinLeaves(leaves, size).map(({ slice, rows: count }) => unit({ slice }, count));
  }
  const line = await planLine({ sides, table: compared }, rows);
  const count = await countRows(options.source, compared);
  if (rows === 'all' && count <= size) return [unit({ all: true }, count)];
  const parts = Math.max(1, Math.ceil(count / size));
  const { pages } = line;
  if (rows === 'all' && transfer.guard === 'key' && pages.primary !== null) {
    const width = Math.max(1, Math.ceil(pages.primary / parts));
    return Array.from({ length: Math.ceil(pages.primary / width) }, (_, place) => {
      const to = (place + 1) * width >= (pages.primary ?? 0) ? null : (place + 1) * width;
      return unit({ pages: { from: place * width, to } }, Math.ceil(count / parts));
    });
  }
  const classes = Array.from({ length: line.of }, (_, place) => place);
  const width = rows === 'all' ? Math.ceil(line.of / Math.min(parts, line.of)) : line.of;
  return Array.from({ length: Math.ceil(line.of / width) }, (_, place) =>
    unit({ slice: { ...line, classes: classes.slice(place * width, (place + 1) * width) } }, Math.ceil(count / parts)),
  );
}

/** Leaves of few rows become one unit: to look for a class is to read the table. */
function joinLeaves(
  leaves: readonly Leaf[],
  size: number,
): readonly { readonly slice: ClassSlice; readonly rows: number }[] {
  const joined: { slice: ClassSlice; rows: number }[] = [];
  for (const { slice, rows } of leaves) {
    if (!('classes' in slice)) continue;
    const last = joined.at(-1);
    if (last?.slice.rows !== slice.rows || last.slice.of !== slice.of || last.rows + rows > size) {
      joined.push({ slice, rows });
    } else {
      last.slice = { ...slice, classes: [...last.slice.classes, ...slice.classes] };
      last.rows += rows;
    }
  }
  return joined;
}

/** By the statistics where they know a large table: a unit need not be exact. */
async function countRows(source: Database, { sides: { primary } }: TablePair): Promise<number> {
  const text = `select case when sum(greatest(reltuples, 0)) >= ${UNIT_ROWS} then sum(greatest(reltuples, 0))::bigint
      else (select count(*) from ${rowsSql(primary)}) end as rows
    from pg_class where oid in (select $1::oid union all select relid from pg_partition_tree($1::regclass) where isleaf)`;
  const [row] = await ask<{ rows: number }>(source, { text, values: [primary.oid] });
  return row?.rows ?? 0;
}

/** No unit spans the beginning of a chunk. */
async function readChunkStarts({ pool }: Database, { name, hypertable }: Table, type: AxisType): Promise<number[]> {
  if (hypertable === null) return [];
  const starts = (await readChunks(pool, name)).flatMap(({ from }) => from ?? []);
  return isTimeAxis(type) ? starts.map((from) => placesOf(type, { from, to: null }).from ?? from) : starts;
}

function unitRows({ maxRate }: BackfillRequest, jobs: number): number {
  if (maxRate === null) return UNIT_ROWS;
  return Math.min(UNIT_ROWS, Math.max(LEAST_UNIT_ROWS, Math.floor((maxRate * UNIT_SECONDS) / jobs)));
}

/** Everything that the source holds, in ranges of some thousand rows. */
async function findRows(transfer: Transfer, range: TimeRange, options: PlanningOptions): Promise<DifferingRange[]> {
  const found: DifferingRange[] = [];
  const count: SegmentDigest = async (segment) => {
    const statement = countBuckets({ table: transfer.compared, method: options.method, role: 'primary' }, segment);
    const buckets = await ask<{ bucket: number; rows: number }>(options.source, statement);
    found.push(
      ...buckets.map(({ bucket, rows }) => ({ from: bucket, to: Math.min(bucket + segment.width, segment.to), rows })),
    );
    const rows = buckets.reduce((sum, bucket) => sum + bucket.rows, 0);
    return { primary: { rows, newest: null }, secondary: NOTHING, differing: [] };
  };
  await scanSegments(count, scanOptions(transfer, range, options));
  return found.toSorted((one, other) => one.from - other.from);
}

async function findDifferences(
  transfer: Transfer,
  range: TimeRange,
  options: PlanningOptions,
): Promise<DifferingRange[]> {
  const { source: primary, target: secondary, method } = options;
  const comparison = { sides: { primary, secondary }, table: transfer.compared, method };
  const scan = await scanRange(comparison, scanOptions(transfer, range, options));
  const found: DifferingRange[] = [];
  for await (const { slice, rows } of findLeaves(comparison, scan.differing)) {
    if (!('classes' in slice)) found.push({ ...slice, rows });
  }
  return found.toSorted((one, other) => one.from - other.from);
}

function scanOptions(
  { table, compared }: Transfer,
  range: TimeRange,
  { jobs, stop, onProgress }: PlanningOptions,
): ScanOptions {
  return {
    range,
    bucketWidth: null,
    leastSpan: leastSpanOf(compared),
    jobs: Math.min(SEGMENTS_AT_ONCE, jobs),
    stop,
    onProgress: ({ primary }: ScanProgress) => {
      onProgress(table, primary.rows);
      return Promise.resolve();
    },
  };
}

async function rowBytes(source: Database, table: Table): Promise<number> {
  const chunks = table.hypertable === null ? [] : await readChunks(source.pool, table.name);
  const sampled = chunks[chunks.length >> 1]?.name ?? tableSql(table);
  const [row] = await ask<{ bytes: string }>(source, { text: ROW_BYTES(sampled) });
  return Number(row?.bytes ?? 0);
}
