import { readChunks } from '../../repository/timescaledb/chunks.js';
import type { Database } from '../../db/database.js';
import type { TimeRange } from '../../domain/time-range.js';
import { buildUnits } from '../../repository/backfill/unit-builder.js';
import type { PlannedUnit } from '../../repository/backfill/unit-store.js';
import type { DigestMethod } from '../../repository/compare/digest-method.js';
import { findLeaves, NOTHING, type DifferingRange } from '../../repository/compare/find-leaves.js';
import {
  leastSpanOf,
  scanRange,
  scanSegments,
  type ScanOptions,
  type ScanProgress,
  type SegmentDigest,
} from '../../repository/compare/scan.js';
import { ask } from '../../repository/compare/sides.js';
import { countBuckets } from '../../repository/compare/slices.js';
import { rangeOfTable, type LeftOut, type OpenRange } from '../../repository/compare/window.js';
import { assertWritable } from '../../repository/timescaledb/compressed-chunks.js';
import type { Transfer } from '../../repository/repair/transfer.js';
import type { BackfillRequest } from './backfill-report.js';
import { tableSql, type Table } from '../../repository/tables/table.js';

export interface PlanningOptions {
  readonly source: Database;
  readonly target: Database;
  readonly request: BackfillRequest;
  /** What the request asks for, by the clock of the primary. */
  readonly window: OpenRange;
  readonly jobs: number;
  readonly method: DigestMethod;
  readonly stop: AbortSignal;
  readonly onProgress: (table: string, rows: number) => void;
}

export interface Planned {
  readonly units: readonly PlannedUnit[];
  readonly bytes: number;
  readonly leftOut: readonly LeftOut[];
}

/** A unit should take a second or so. */
const UNIT_ROWS = 50_000;
const LEAST_UNIT_ROWS = 500;
/** Segments looked at side by side: one alone makes either side wait for the other. */
const SEGMENTS_AT_ONCE = 2;
/** What a unit costs besides its rows, in rows. */
const BETWEEN_ROWS = 1_000;
/** Seconds that a unit may take at a rate that was asked for. */
const UNIT_SECONDS = 2;

/** Of a hypertable from one chunk: a statement over all of them locks each. */
const ROW_BYTES = (from: string): string =>
  `select coalesce(avg(pg_column_size(sample.*)), 0)::float8::text as bytes from (select * from ${from} limit 1000) as sample`;

/** Finds the ranges of a table to copy, and cuts them into units. */
export async function planUnits(transfer: Transfer, options: PlanningOptions): Promise<Planned> {
  const { source, target, request, jobs } = options;
  const sides = { primary: source, secondary: target };
  const given = request.given?.get(transfer.table);
  const { range, leftOut: left } = await rangeOfTable(sides, transfer.compared, options.window);
  const leftOut = left === null ? [] : [left];
  if (range === null) return { units: [], bytes: 0, leftOut };
  const find = request.mode === 'full' ? findRows : findDifferences;
  const ranges = request.mode === 'given' ? (given ?? []) : await find(transfer, range, options);
  const { primary: from, secondary: to } = transfer.compared.sides;
  const [cuts] = await Promise.all([readChunkStarts(target, to), assertWritable(target, to, ranges)]);
  const units = buildUnits(transfer.table, ranges, {
    rows: unitRows(request, jobs),
    cuts,
    // Without a comparison there is nothing between them.
    betweenRows: request.mode === 'full' ? 0 : BETWEEN_ROWS,
  });
  const rows = units.reduce((sum, unit) => sum + unit.rows, 0);
  return { units, bytes: Math.round(rows * (await rowBytes(source, from))), leftOut };
}

/** No unit spans the beginning of a chunk. */
async function readChunkStarts({ pool }: Database, { name, hypertable }: Table): Promise<number[]> {
  if (hypertable === null) return [];
  return (await readChunks(pool, name)).flatMap(({ from }) => from ?? []);
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
