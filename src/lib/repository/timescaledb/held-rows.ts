import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import { formatInstant } from '../../domain/time.js';
import { mergeRanges, type TimeRange } from '../../domain/time-range.js';
import type { Timed } from './aggregate-catalog.js';
import type { BucketGrid } from './bucket-grid.js';
import { readChunks } from './chunks.js';

/** From the oldest to the newest row, both included, in µs. */
export interface Extent {
  readonly oldest: number;
  readonly newest: number;
}

/** The source of a continuous aggregate: a hypertable, or the storage of another aggregate. */
export interface Relation extends Timed {
  /** The names by which its policies go. */
  readonly names: readonly (readonly [schema: string, name: string])[];
  readonly extent: Extent;
  /** The oldest row before rows were copied back that may have been dropped once. */
  readonly oldestBefore?: number | null;
}

/** No reading is older: 1685, from which on a number holds whole microseconds. */
const BEGINNING = -8_990_000_000_000_000;

/** A paused policy counts too: what it dropped before it was paused is gone. */
const READ_CUTOFF = `
  select max(${microsOf("now() - (config ->> 'drop_after')::interval")}) as cutoff
  from timescaledb_information.jobs
  join unnest($1::text[], $2::text[]) as source (schema, name)
    on source.schema = hypertable_schema and source.name = hypertable_name
  where proc_name = 'policy_retention' and jsonb_typeof(config -> 'drop_after') = 'string'`;

export async function readExtent(database: Queryable, relation: Timed): Promise<Extent | null> {
  const [column, from] = [quoteIdentifier(relation.column), relationSql(relation)];
  const { rows } = await database.query<{ oldest: number | null; newest: number | null }>(
    `select ${microsOf(`min(${column})`)} as oldest, ${microsOf(`max(${column})`)} as newest from ${from}`,
  );
  const { oldest = null, newest = null } = rows[0] ?? {};
  return oldest === null || newest === null ? null : { oldest, newest };
}

/** Whether an aggregate's storage has rows in a range. */
export async function holdsRows(database: Queryable, storage: Timed, { from, to }: TimeRange): Promise<boolean> {
  const column = quoteIdentifier(storage.column);
  const { rows } = await database.query<{ exists: boolean }>(
    `select exists (
      select from ${relationSql(storage)} where ${column} >= $1::text::${storage.type} and ${column} < $2::text::${storage.type}
    ) as exists`,
    [formatInstant(from), formatInstant(to)],
  );
  return rows[0]?.exists === true;
}

/** An aggregate, whose buckets show what rows there were once. */
export interface Witness {
  readonly storage: Timed;
  readonly grid: BucketGrid;
}

/**
 * The time (µs) before which rows may have been dropped, as far as that can be known: the cutoff of the retention policy,
 * and the end of the last stretch without rows in which one of the aggregates has a whole bucket. The beginning of time
 * where nothing shows that rows were ever dropped: a first bucket is then whole, however late in it the first row is.
 */
export async function readDroppedBefore(
  database: Queryable,
  relation: Relation,
  witnesses: readonly Witness[],
): Promise<number> {
  const { rows } = await database.query<{ cutoff: number | null }>(READ_CUTOFF, [
    relation.names.map(([schema]) => schema),
    relation.names.map(([, name]) => name),
  ]);
  const bare = await readBareStretches(database, relation);
  let latest = rows[0]?.cutoff ?? BEGINNING;
  for (const witness of witnesses) latest = Math.max(latest, await findDropped(database, witness, bare));
  return latest;
}

/** Chunks are dropped whole: where there is none, and before the oldest row, there may have been rows once. */
async function readBareStretches(
  database: Queryable,
  { schema, name, extent, oldestBefore }: Relation,
): Promise<readonly TimeRange[]> {
  const finite = (await readChunks(database, { schema, name })).flatMap(({ from, to }) =>
    from === null || to === null ? [] : [{ from, to }],
  );
  const chunks = mergeRanges(finite).filter(({ to }) => to > extent.oldest);
  const ends = chunks.map(({ to }) => to);
  const between = chunks.slice(1).map(({ from }, place) => ({ from: ends[place] ?? from, to: from }));
  const before = Math.max(extent.oldest, oldestBefore ?? extent.oldest);
  return [{ from: BEGINNING, to: before }, { from: BEGINNING, to: extent.oldest }, ...between];
}

/** The end of the last bare stretch in which the aggregate has whole buckets. */
async function findDropped(
  database: Queryable,
  { grid, storage }: Witness,
  bare: readonly TimeRange[],
): Promise<number> {
  const edges = await grid.edgesOf(bare);
  const column = quoteIdentifier(storage.column);
  const { rows } = await database.query<{ latest: number | null }>(
    `select max(stretch_end) as latest from unnest($1::text[], $2::text[], $3::bigint[]) as stretch (since, until, stretch_end)
     where exists (
       select from ${relationSql(storage)}
       where ${column} >= stretch.since::${storage.type} and ${column} < stretch.until::${storage.type}
     )`,
    [
      edges.map(({ fromCeil }) => formatInstant(fromCeil)),
      edges.map(({ toFloor }) => formatInstant(toFloor)),
      bare.map(({ to }) => to),
    ],
  );
  return rows[0]?.latest ?? BEGINNING;
}

function relationSql({ schema, name }: Timed): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}
