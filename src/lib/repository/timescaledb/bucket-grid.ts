import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import { formatInstant } from '../../domain/time.js';
import { mergeRanges, type TimeRange } from '../../domain/time-range.js';
import type { TimeType } from './aggregate-catalog.js';
import type { BucketCall } from './bucket-call.js';

interface RangeEdges {
  /** The start of the bucket that holds the range's first instant. */
  readonly fromFloor: number;
  /** The first edge of a bucket at or after that instant. */
  readonly fromCeil: number;
  /** The same of the range's end. */
  readonly toFloor: number;
  readonly toCeil: number;
}

/** The edges of a continuous aggregate's buckets, computed by the server with the aggregate's own call; in µs. */
export class BucketGrid {
  constructor(
    private readonly database: Queryable,
    private readonly bucket: BucketCall,
    readonly type: TimeType,
  ) {}

  /** The whole buckets that these ranges touch; neighbours are merged. */
  async widen(ranges: readonly TimeRange[]): Promise<readonly TimeRange[]> {
    return mergeRanges((await this.edgesOf(ranges)).map(({ fromFloor, toCeil }) => ({ from: fromFloor, to: toCeil })));
  }

  /** The whole buckets that lie within these ranges. */
  async inscribe(ranges: readonly TimeRange[]): Promise<readonly TimeRange[]> {
    const edges = await this.edgesOf(mergeRanges(ranges));
    return mergeRanges(edges.map(({ fromCeil, toFloor }) => ({ from: fromCeil, to: toFloor })));
  }

  async floor(instant: number): Promise<number> {
    const [edges] = await this.edgesOf([{ from: instant, to: instant }]);
    return edges?.fromFloor ?? instant;
  }

  /** The edges around both ends of each range, in the order of the ranges. */
  async edgesOf(ranges: readonly TimeRange[]): Promise<readonly RangeEdges[]> {
    const ceil = (low: string, at: string): string =>
      microsOf(`case when ${low} = ${at} then ${low} else ${this.#next(low)} end`);
    const sql = `
      select ${microsOf('from_low')} as "fromFloor", ${ceil('from_low', 'since')} as "fromCeil",
        ${microsOf('to_low')} as "toFloor", ${ceil('to_low', 'until')} as "toCeil"
      from unnest($1::text[], $2::text[]) with ordinality as given (since_text, until_text, place)
      cross join lateral (select since_text::${this.type} as since, until_text::${this.type} as until) as typed
      cross join lateral (
        select ${this.bucket.bucketOf('typed.since')} as from_low, ${this.bucket.bucketOf('typed.until')} as to_low
      ) as bucket
      order by place`;
    const values = [ranges.map(({ from }) => formatInstant(from)), ranges.map(({ to }) => formatInstant(to))];
    return (await this.database.query<RangeEdges & Record<string, unknown>>(sql, values)).rows;
  }

  /** The end of so many buckets from the start of one on, at least of one; about so many where their lengths differ. */
  async endOf(from: number, buckets: number): Promise<number> {
    const sql = `
      select ${microsOf(`greatest(${this.#next('low')}, ${this.bucket.bucketOf(`low + (${this.bucket.width}) * $2::int`)})`)} as end
      from (select $1::text::${this.type} as low) as bucket`;
    const { rows } = await this.database.query<{ end: number }>(sql, [formatInstant(from), buckets]);
    return rows[0]?.end ?? from;
  }

  /** Months and days with a change of clocks differ in length: the next edge is among steps of half a width. */
  #next(low: string): string {
    const step = `${low} + (${this.bucket.width}) * (halves / 2.0)`;
    return `(
      select min(edge) from (select ${this.bucket.bucketOf(step)} as edge from generate_series(2, 5) as halves) as step
      where edge > ${low}
    )`;
  }
}
