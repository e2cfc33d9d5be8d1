import { microsOf } from '../../db/micros.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import type { Question } from '../../db/ask-together.js';
import { tableSql, type Table } from '../tables/table.js';
import { quoteIdentifier } from '../../db/identifiers.js';

export type CountedTable = Pick<Table, 'name' | 'axis'>;

/** Rows of a moving window, and the newest time among them in µs since 1970. */
export interface WindowFigures {
  readonly rows: number;
  readonly newest: number | null;
  /** The rows that nothing has touched for a while, without those at the ends of the window; null while some are to be counted again. */
  readonly settled: number | null;
}

interface Bucket {
  readonly bucket: number;
  readonly rows: number;
  readonly newest: number;
}

/** The rows of so many buckets, from these on; `to` is null where everything newer was counted with them. */
export interface BucketCounts {
  readonly ranges: readonly { readonly from: number; readonly to: number | null }[];
  readonly buckets: readonly Bucket[];
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

  /** These times were written: their buckets are counted again with the next `recent`. */
  touch({ from, to }: TimeRange): void {
    const [first, last] = [Math.floor(from / this.#width), Math.floor((to - 1) / this.#width)];
    for (let bucket = first; bucket <= last && this.#touched.size < BUCKETS_AT_MOST; bucket += 1) {
      if (this.#buckets.has(bucket) || last - first < BUCKETS_AT_MOST) this.#touched.add(bucket);
    }
  }

  /** Counts the next slice of the older buckets; `takeOlder` what it brings. */
  older(table: CountedTable, now: number): Question<BucketCounts> {
    const to = this.#countedFrom ?? this.#liveBucket(now);
    return this.#count(table, [{ from: Math.max(to - SLICE_BUCKETS, this.#firstBucket(now)), to }]);
  }

  /** Counts the newest buckets and those that were touched, some at a time. */
  recent(table: CountedTable, now: number): Question<BucketCounts> {
    const live = this.#liveBucket(now);
    const oldest = this.#firstBucket(now);
    const late = [...this.#touched].filter((bucket) => bucket >= oldest && bucket < live).toSorted((a, b) => a - b);
    this.#touched.clear();
    const runs = runsOf(late);
    for (const { from, to } of runs.slice(RANGES_AT_MOST)) {
      for (let bucket = from; bucket < to; bucket += 1) this.#touched.add(bucket);
    }
    return this.#count(table, [...runs.slice(0, RANGES_AT_MOST), { from: live, to: null }]);
  }

  /** Takes what `older` has brought; after the last slice the next round begins. */
  takeOlder(counts: BucketCounts, now: number): void {
    this.take(counts);
    const from = counts.ranges[0]?.from ?? 0;
    const isLast = from <= this.#firstBucket(now);
    this.#countedFrom = isLast ? null : from;
    this.#counted ||= isLast;
  }

  /** Takes what `recent` has brought. */
  take({ ranges, buckets }: BucketCounts): void {
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
    // The clocks of two sides are not quite the same.
    const [first, last] = [oldest + 1, this.#liveBucket(now) - 1];
    let [rows, settled, newest]: [number, number, number | null] = [0, 0, null];
    for (const bucket of this.#buckets.values()) {
      rows += bucket.rows;
      if (bucket.bucket > first && bucket.bucket < last) settled += bucket.rows;
      newest = Math.max(newest ?? bucket.newest, bucket.newest);
    }
    return { rows, newest, settled: this.#touched.size === 0 ? settled : null };
  }

  #firstBucket(now: number): number {
    return Math.floor((now - this.windowMicros) / this.#width);
  }

  #liveBucket(now: number): number {
    return Math.max(Math.floor(now / this.#width) - LIVE_BUCKETS, this.#firstBucket(now));
  }

  #count(table: CountedTable, ranges: BucketCounts['ranges']): Question<BucketCounts> {
    const axis = quoteIdentifier(table.axis?.column ?? '');
    const bounds = ranges.map(({ from, to }) => [from, ...(to === null ? [] : [to])].map((each) => this.#start(each)));
    let place = 0;
    const selects = bounds.map((bound) => {
      const conditions = bound.map((_, index) => `${axis} ${index === 0 ? '>=' : '<'} ${parameter((place += 1))}`);
      return `select floor(extract(epoch from ${axis}) * 1000000 / ${this.#width})::bigint as bucket, count(*) as rows,
        ${microsOf(`max(${axis})`)} as newest
        from ${tableSql(table)} where ${conditions.join(' and ')} group by 1`;
    });
    return {
      text: selects.join(' union all '),
      values: bounds.flat(),
      parse: (rows) => ({ ranges, buckets: rows as unknown as Bucket[] }),
    };
  }

  #start(bucket: number): string {
    return formatInstant(bucket * this.#width);
  }
}

/** Untyped: it takes the type of the time column, with zone or without, and so finds its index and its chunks. */
function parameter(place: number): string {
  return `$${place}`;
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
