import pLimit from 'p-limit';
import { isTooMuch } from '../../db/sqlstate.js';
import type { TimeRange } from '../../domain/time-range.js';
import { firstSpanOf } from '../tables/axis.js';
import type { TablePair } from '../tables/table-pair.js';
import {
  addTotals,
  digestOnBothSides,
  NOTHING,
  type Comparison,
  type Digested,
  type DifferingRange,
  type SideTotals,
} from './find-leaves.js';

/** How far a scan has come; what is before `frontier` is done, and whoever has this can go on. */
export interface ScanProgress {
  readonly frontier: number;
  readonly primary: SideTotals;
  readonly secondary: SideTotals;
  readonly differing: readonly DifferingRange[];
}

export interface ScanOptions {
  readonly range: TimeRange;
  /** The width of a bucket; null: by the rows there are. */
  readonly bucketWidth: number | null;
  /** The first segment is no shorter. */
  readonly leastSpan: number;
  /** Segments that a side digests at the same time. */
  readonly jobs: number;
  readonly stop: AbortSignal;
  /** Called after each segment. */
  readonly onProgress: (progress: ScanProgress) => Promise<void>;
  /** Where an earlier scan of this range ended. */
  readonly resumed?: ScanProgress;
}

/** The digests of a segment, and how long they took a server, in ms; absent: as long as the answer. */
type TimedDigest = Digested<DifferingRange> & { readonly ms?: number };

/** Digests a segment, cut into buckets of a width. */
export type SegmentDigest = (segment: TimeRange & { width: number }) => Promise<TimedDigest>;

/** A segment should take about so long, in ms: short enough for statement timeouts, for stopping, and for the progress. */
const SEGMENT_MS = 1_500;
const FIRST_SEGMENTS = 100;
const BUCKET_ROWS = 5_000;
const FIRST_BUCKETS = 60;
const BUCKETS_AT_MOST = 500;
const JOINED_ROWS = 500_000;

/** While one side is still at the first of two segments, the other is at the second: neither waits after each of them. */
const SEGMENTS_AT_HAND = 2;

/**
 * Digests a range of the axis on both sides, segment by segment, and answers the ranges that differ. Only digests travel. Ends
 * early, with what is done, when it is told to stop.
 */
export async function scanRange(
  comparison: Comparison,
  options: Omit<ScanOptions, 'leastSpan'>,
): Promise<ScanProgress> {
  const { jobs } = options;
  const leastSpan = leastSpanOf(comparison.table);
  const limits = { primary: pLimit(jobs), secondary: pLimit(jobs) };
  const digest: SegmentDigest = (segment) =>
    digestOnBothSides(comparison, [segment], (role, work) => limits[role](work));
  return await scanSegments(digest, { ...options, leastSpan, jobs: jobs * SEGMENTS_AT_HAND });
}

export function leastSpanOf({ axis }: TablePair): number {
  return axis === null ? 1 : firstSpanOf(axis.primary);
}

/** The same with another digest, such as one that only counts. */
export async function scanSegments(digest: SegmentDigest, options: ScanOptions): Promise<ScanProgress> {
  const scan = new Scan(digest, options);
  await scan.run();
  return scan.progress;
}

class Scan {
  progress: ScanProgress;
  #cursor: number;
  #spanWidth: number;
  /** Rows a place, as the segment before had them. */
  #density = 0;
  #failed = false;
  readonly #ahead = new Map<number, { to: number; digested: Digested<DifferingRange> }>();

  constructor(
    private readonly digest: SegmentDigest,
    private readonly options: ScanOptions,
  ) {
    const { range, resumed } = options;
    this.progress = resumed ?? { frontier: range.from, primary: NOTHING, secondary: NOTHING, differing: [] };
    this.#cursor = this.progress.frontier;
    this.#spanWidth = Math.max(Math.ceil((range.to - range.from) / FIRST_SEGMENTS), options.leastSpan);
  }

  /** The first segment goes alone: by its time the others are cut. */
  async run(): Promise<void> {
    if (this.#goesOn()) await this.#step();
    await Promise.all(Array.from({ length: this.options.jobs }, () => this.#work()));
  }

  #goesOn(): boolean {
    const { stop, range } = this.options;
    return !this.#failed && !stop.aborted && this.#cursor < range.to;
  }

  async #work(): Promise<void> {
    try {
      while (this.#goesOn()) await this.#step();
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  async #step(): Promise<void> {
    const from = this.#cursor;
    const to = Math.min(from + this.#span(), this.options.range.to);
    this.#cursor = to;
    const startedAt = performance.now();
    const digested = await this.#digest({ from, to });
    this.#adapt(to - from, digested.ms ?? performance.now() - startedAt, digested);
    this.#ahead.set(from, { to, digested });
    await this.#advance();
  }

  #span(): number {
    const { bucketWidth } = this.options;
    return bucketWidth === null ? this.#spanWidth : Math.min(this.#spanWidth, bucketWidth * BUCKETS_AT_MOST);
  }

  /** Halves what a server could not do in time. */
  async #digest(range: TimeRange): Promise<TimedDigest> {
    try {
      return await this.digest({ ...range, width: this.#widthFor(range) });
    } catch (error) {
      if (!isTooMuch(error) || range.to - range.from < 2 || this.options.stop.aborted) throw error;
      const middle = Math.floor((range.from + range.to) / 2);
      const halves = [
        await this.#digest({ from: range.from, to: middle }),
        await this.#digest({ from: middle, to: range.to }),
      ];
      return { ...halves.reduce(addDigested), ms: halves.reduce((sum, { ms = 0 }) => sum + ms, 0) };
    }
  }

  #widthFor({ from, to }: TimeRange): number {
    const { bucketWidth } = this.options;
    if (bucketWidth !== null) return bucketWidth;
    const span = to - from;
    const buckets = this.#density === 0 ? FIRST_BUCKETS : Math.ceil((span * this.#density) / BUCKET_ROWS);
    return Math.ceil(span / Math.min(Math.max(buckets, 1), BUCKETS_AT_MOST));
  }

  #adapt(span: number, ms: number, { primary, secondary }: Digested<unknown>): void {
    this.#density = Math.max(primary.rows, secondary.rows) / span;
    const factor = Math.min(4, Math.max(0.25, SEGMENT_MS / Math.max(ms, 1)));
    this.#spanWidth = Math.max(1, Math.round(span * factor));
  }

  /** Segments may end out of order; the frontier moves over those that join it. */
  async #advance(): Promise<void> {
    let next = this.#ahead.get(this.progress.frontier);
    while (next !== undefined) {
      this.#ahead.delete(this.progress.frontier);
      this.progress = { frontier: next.to, ...addDigested(this.progress, next.digested) };
      next = this.#ahead.get(this.progress.frontier);
    }
    await this.options.onProgress(this.progress);
  }
}

function addDigested(one: Digested<DifferingRange>, other: Digested<DifferingRange>): Digested<DifferingRange> {
  return {
    primary: addTotals(one.primary, other.primary),
    secondary: addTotals(one.secondary, other.secondary),
    differing: joinNeighbours([...one.differing, ...other.differing]),
  };
}

/** Ranges that touch become one, so that a side that lacks everything is few; none so large that its digest takes long. */
function joinNeighbours(ranges: readonly DifferingRange[]): DifferingRange[] {
  const joined: DifferingRange[] = [];
  for (const range of ranges) {
    const last = joined.at(-1);
    if (last?.to === range.from && last.rows + range.rows <= JOINED_ROWS)
      joined[joined.length - 1] = { from: last.from, to: range.to, rows: last.rows + range.rows };
    else joined.push(range);
  }
  return joined;
}
