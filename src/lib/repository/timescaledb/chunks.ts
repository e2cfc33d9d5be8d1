import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import type { TableName } from '../tables/table.js';

/** A chunk of a hypertable, or of the storage of an aggregate. */
export interface Chunk {
  /** With its schema, quoted. */
  readonly name: string;
  readonly compressed: boolean;
  /** In µs since 1970, or as integers where time is one, the end excluded; null where the chunk has no such end. */
  readonly from: number | null;
  readonly to: number | null;
}

const end = (bound: string): string => `case when isfinite(${bound}) then ${microsOf(bound)} end`;

/** Ranges are timestamptz here for a `timestamp` column too, as UTC. */
const READ_CHUNKS = `
  select format('%I.%I', chunk_schema, chunk_name) as name, is_compressed as compressed,
    coalesce(range_start_integer, ${end('range_start')}) as "from", coalesce(range_end_integer, ${end('range_end')}) as "to"
  from timescaledb_information.chunks
  where hypertable_schema = $1 and hypertable_name = $2 and ($3::timestamptz[] is null or exists (
    select from unnest($3::timestamptz[], $4::timestamptz[]) as wanted (since, until)
    where range_start < until and range_end > since
  ))
  order by range_start, range_start_integer, chunk_name`;

/** The one reader of chunks: those that touch one of the ranges, all where none is given, in the order of time. */
export async function readChunks(
  database: Queryable,
  { schema, name }: TableName,
  ranges?: readonly TimeRange[],
): Promise<readonly Chunk[]> {
  const bounds = [
    ranges?.map(({ from }) => formatInstant(from)) ?? null,
    ranges?.map(({ to }) => formatInstant(to)) ?? null,
  ];
  return (await database.query<Chunk & Record<string, unknown>>(READ_CHUNKS, [schema, name, ...bounds])).rows;
}
