import type { TimeRange } from '../../domain/time-range.js';
import type { Question } from '../../db/ask-together.js';
import { boundSql, boundText, microsOfPlace, onAxisSql, placeSql, placesOf, type Axis } from '../tables/axis.js';
import { rowsSql, type Table } from '../tables/table.js';
import { quoteIdentifier } from '../../db/identifiers.js';

/** A table with an axis of time. */
export interface CountedTable extends Pick<Table, 'name' | 'hasHeirs'> {
  readonly axis: Axis;
}

/** Rows of a moving window, and the newest time among them in µs since 1970. */
export interface WindowFigures {
  readonly rows: number;
  readonly newest: number | null;
  /** Null while some are to be counted again. */
  readonly settled: SettledRows | null;
}

/** The rows that nothing has touched for a while, without those at the ends of the window. */
export interface SettledRows {
  readonly rows: number;
  /** The buckets that they are of: of other ones the counts of two sides say nothing of each other. */
  readonly from: number;
  readonly to: number;
}

interface Bucket {
  readonly bucket: number;
  readonly rows: number;
  readonly newest: number;
}

/** The rows of so many buckets, from these on; `to` is null where everything newer was counted with them. */
export interface BucketCounts {
  readonly ranges: readonly BucketRange[];
  readonly buckets: readonly Bucket[];
  /** What lies before this bucket was full when it was counted; null where nothing newer was counted. */
  readonly live: number | null;
}

interface BucketRange {
  readonly from: number;
  readonly to: number | null;
}

const FINEST_MICROS = 10_000_000;
const BUCKETS_AT_MOST = 1_440;
/** Readings arrive up to so many buckets late as a rule; what is later is told by what dual write has touched. */
const LIVE_BUCKETS = 2;
const RANGES_AT_MOST = 16;
/** Of the older buckets so many are counted with one question. */
const SLICE_BUCKETS = 360;

/**
 * Counts the rows of a moving window bucket by bucket, so that only the newest buckets, and those that were touched, are
 * counted again. `newest` and `rows` are of [now - window, ∞), as in `where time > now() - interval '1 hour'`, to the bucket.
 */
export class WindowCounts {
  readonly #width: number;
  readonly #buckets = new Map<number, Bucket>();
  readonly #touched = new Set<number>();
  /** Rows were touched nobody knows where, and no round of the older buckets that began after that is through. */
  #stale = false;
  /** The first bucket that was not full when the newest were counted last. */
  #live: number | null = null;
  /** The older buckets are counted from the newest on down, again and again; this far the round has come. */
  #countedFrom: number | null = null;
  #counted = false;

  constructor(private readonly windowMicros: number) {
    this.#width = Math.ceil(windowMicros / BUCKETS_AT_MOST / FINEST_MICROS) * FINEST_MICROS;
  }

  /** Whether the whole window was counted once. */
  get isCounted(): boolean {
    return this.#counted;
  }

  /** Whether the older buckets are to be counted before anything can be said of them. */
  get needsOlder(): boolean {
    return !this.#counted || this.#stale;
  }

  /** Rows were written, nobody knows where: everything is counted again. */
  touchAll(): void {
    this.#stale = true;
    this.#countedFrom = null;
  }

  /** These times were written: their buckets are counted again with the next `recent`. */
  touch({ from, to }: TimeRange): void {
    const [first, last] = [Math.floor(from / this.#width), Math.floor((to - 1) / this.#width)];
    if (last - first >= BUCKETS_AT_MOST) {
      for (const bucket of this.#buckets.keys()) if (bucket >= first && bucket <= last) this.#touched.add(bucket);
      return;
    }
    for (let bucket = first; bucket <= last && this.#touched.size < BUCKETS_AT_MOST; bucket += 1) {
      this.#touched.add(bucket);
    }
  }

  /** Counts the next slice of the older buckets; `takeOlder` what it brings. */
  older(table: CountedTable, now: number): Question<BucketCounts> {
    const to = this.#countedFrom ?? this.#liveBucket(now);
    return this.#count(table, [{ from: Math.max(to - SLICE_BUCKETS, this.#firstBucket(now)), to }], null);
  }

  /** Counts the buckets that were not full when they were counted last, and those that were touched, some at a time. */
  recent(table: CountedTable, now: number): Question<BucketCounts> {
    const live = this.#liveBucket(now);
    const oldest = this.#firstBucket(now);
    const from = Math.max(Math.min(live, this.#live ?? live), oldest);
    const late = [...this.#touched].filter((bucket) => bucket >= oldest && bucket < from).toSorted((a, b) => a - b);
    this.#touched.clear();
    const runs = runsOf(late);
    for (const run of runs.slice(RANGES_AT_MOST)) {
      for (let bucket = run.from; bucket < run.to; bucket += 1) this.#touched.add(bucket);
    }
    return this.#count(table, [...runs.slice(0, RANGES_AT_MOST), { from, to: null }], live);
  }

  /** Takes what `older` has brought; after the last slice the next round begins. */
  takeOlder(counts: BucketCounts, now: number): void {
    this.take(counts);
    const from = counts.ranges[0]?.from ?? 0;
    const isLast = from <= this.#firstBucket(now);
    this.#countedFrom = isLast ? null : from;
    this.#counted ||= isLast;
    if (isLast) this.#stale = false;
  }

  /** Takes what `recent` has brought. */
  take({ ranges, buckets, live }: BucketCounts): void {
    if (live !== null) this.#live = live;
    for (const { from, to } of ranges) {
      for (const bucket of this.#buckets.keys()) {
        if (bucket >= from && (to === null || bucket < to)) this.#buckets.delete(bucket);
      }
    }
    for (const bucket of buckets) this.#buckets.set(bucket.bucket, bucket);
  }

  figures(now: number): WindowFigures {
    const oldest = this.#firstBucket(now);
    for (const bucket of this.#buckets.keys()) if (bucket < oldest) this.#buckets.delete(bucket);
    let [rows, newest]: [number, number | null] = [0, null];
    for (const bucket of this.#buckets.values()) {
      rows += bucket.rows;
      newest = Math.max(newest ?? bucket.newest, bucket.newest);
    }
    return { rows, newest, settled: this.#settled(now) };
  }

  #settled(now: number): SettledRows | null {
    if (this.#live === null || this.#touched.size > 0 || this.needsOlder) return null;
    // The clocks of two sides are not quite the same.
    const [from, to] = [this.#firstBucket(now) + 2, Math.min(this.#liveBucket(now), this.#live) - 1];
    const settled = [...this.#buckets.values()].filter(({ bucket }) => bucket >= from && bucket < to);
    return { rows: settled.reduce((sum, { rows }) => sum + rows, 0), from, to };
  }

  #firstBucket(now: number): number {
    return Math.floor((now - this.windowMicros) / this.#width);
  }

  #liveBucket(now: number): number {
    return Math.max(Math.floor(now / this.#width) - LIVE_BUCKETS, this.#firstBucket(now));
  }

  /** What is off the axis lies in no window: `infinity`, and years that a number does not hold. */
  #count(table: CountedTable, ranges: readonly BucketRange[], live: number | null): Question<BucketCounts> {
    const { type } = table.axis;
    const axis = quoteIdentifier(table.axis.column);
    const micros = `${placeSql(type, axis)} * ${microsOfPlace(type, 1) ?? 1}`;
    const values: string[] = [];
    // Of the type of the axis, with zone or without: so it finds its index and its chunks.
    const startOf = (bucket: number): string => {
      const place = placesOf(type, { from: bucket * this.#width, to: null }).from ?? 0;
      values.push(boundText(type, place));
      return boundSql(type, place, `$${values.length}`);
    };
    const selects = ranges.map(({ from, to }) => {
      const conditions = [`${axis} >= ${startOf(from)}`, ...(to === null ? [] : [`${axis} < ${startOf(to)}`])];
      return `select floor((${micros})::numeric / ${this.#width})::bigint as bucket, count(*) as rows,
        max(${micros}) as newest
        from ${rowsSql(table)} where ${onAxisSql(type, axis) ?? 'true'} and ${conditions.join(' and ')} group by 1`;
    });
    return {
      text: selects.join(' union all '),
      values,
      parse: (rows) => ({ ranges, buckets: rows as unknown as Bucket[], live }),
    };
  }
}

/** Sorted buckets as half-open runs of neighbours. */
function runsOf(buckets: readonly number[]): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (const bucket of buckets) {
    const last = runs.at(-1);
    if (last?.to === bucket) last.to = bucket + 1;
    else runs.push({ from: bucket, to: bucket + 1 });
  }
  return runs;
}
