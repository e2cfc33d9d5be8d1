import { readTimescaleDb, type TimescaleDbState } from '../tables/catalog.js';
import type { Queryable } from '../../db/database.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';

export interface DimensionFacts {
  readonly column: string;
  readonly type: string;
  /** Of a time dimension: the length of its chunks. */
  readonly interval: string | null;
  /** Of a space dimension: the number of its partitions. */
  readonly partitions: number | null;
}

export interface PolicyFacts {
  readonly kind: 'retention' | 'compression' | 'refresh' | 'reorder';
  /** The age from which it drops or compresses, as its configuration says it. */
  readonly after: string | null;
  /** The same in seconds; null where it is not an interval. */
  readonly afterSeconds: number | null;
  readonly startOffset: string | null;
  readonly endOffset: string | null;
  readonly every: string;
  readonly scheduled: boolean;
}

export interface HypertableFacts {
  readonly dimensions: readonly DimensionFacts[];
  readonly compressed: boolean;
  readonly segmentBy: string;
  readonly orderBy: string;
  readonly policies: readonly PolicyFacts[];
}

/** A continuous aggregate over a hypertable, or over another one. */
export interface AggregateFacts {
  readonly name: string;
  readonly over: string;
  readonly definition: string;
  readonly materializedOnly: boolean;
  readonly policies: readonly PolicyFacts[];
}

export interface TimescaleDbCatalog extends TimescaleDbState {
  readonly hypertables: ReadonlyMap<string, HypertableFacts>;
  /** Those over an aggregate come after it. */
  readonly aggregates: readonly AggregateFacts[];
}

const HERE = `hypertable_schema = any (${OWN_SCHEMAS})`;

const READ_HYPERTABLES = `
  select hypertable_name as name, compression_enabled as compressed
  from timescaledb_information.hypertables as h where ${HERE}`;

const READ_DIMENSIONS = `
  select hypertable_name as hypertable, column_name as column, column_type::text as type, num_partitions as partitions,
    coalesce(time_interval::text, integer_interval::text) as interval
  from timescaledb_information.dimensions where ${HERE} order by hypertable_name, dimension_number`;

const READ_COMPRESSION = `
  select hypertable_name as hypertable,
    coalesce(string_agg(quote_ident(attname), ', ' order by segmentby_column_index)
      filter (where segmentby_column_index is not null), '') as "segmentBy",
    coalesce(string_agg(
      quote_ident(attname) || case when orderby_asc then '' else ' desc' end
        || case when orderby_nullsfirst = orderby_asc then case when orderby_nullsfirst then ' nulls first' else ' nulls last' end
          else '' end, ', ' order by orderby_column_index
    ) filter (where orderby_column_index is not null), '') as "orderBy"
  from timescaledb_information.compression_settings where ${HERE} group by hypertable_name`;

const READ_POLICIES = `
  select hypertable_name as hypertable, "after", scheduled, schedule_interval::text as every,
    config ->> 'start_offset' as "startOffset", config ->> 'end_offset' as "endOffset",
    case proc_name when 'policy_retention' then 'retention' when 'policy_compression' then 'compression'
      when 'policy_reorder' then 'reorder' else 'refresh' end as kind,
    case when is_interval then extract(epoch from "after"::interval)::float8::text end as "afterSeconds"
  from (
    select *, coalesce(config ->> 'drop_after', config ->> 'compress_after') as "after",
      jsonb_typeof(coalesce(config -> 'drop_after', config -> 'compress_after')) = 'string' as is_interval
    from timescaledb_information.jobs
  ) as jobs
  where proc_name in ('policy_retention', 'policy_compression', 'policy_refresh_continuous_aggregate', 'policy_reorder')
  order by hypertable_name, proc_name, job_id`;

const READ_AGGREGATES = `
  select view_name as name, hypertable_name as source, view_definition as definition,
    materialized_only as "materializedOnly", materialization_hypertable_name as storage
  from timescaledb_information.continuous_aggregates order by materialization_hypertable_name, view_name`;

type OfHypertable<Facts> = Facts & { readonly hypertable: string };
type Policies = readonly OfHypertable<PolicyFacts>[];
interface Compression {
  readonly hypertable: string;
  readonly segmentBy: string;
  readonly orderBy: string;
}
type Aggregate = Omit<AggregateFacts, 'over' | 'policies'> & { readonly source: string; readonly storage: string };

/** Reads what TimescaleDB does with the tables of the search path, by its information views alone. */
export async function readTimescaleDbCatalog(database: Queryable): Promise<TimescaleDbCatalog> {
  const state = await readTimescaleDb(database);
  if (state.installed === null) return { ...state, hypertables: new Map(), aggregates: [] };
  const read = async <Row>(sql: string): Promise<Row[]> =>
    (await database.query<Row & Record<string, unknown>>(sql)).rows;
  const [hypertables, dimensions, compression, jobs, aggregates] = await Promise.all([
    read<{ name: string; compressed: boolean }>(READ_HYPERTABLES),
    read<OfHypertable<DimensionFacts>>(READ_DIMENSIONS),
    read<Compression>(READ_COMPRESSION),
    read<OfHypertable<Omit<PolicyFacts, 'afterSeconds'>> & { afterSeconds: string | null }>(READ_POLICIES),
    read<Aggregate>(READ_AGGREGATES),
  ]);
  const policies = jobs.map((job) => ({
    ...job,
    afterSeconds: job.afterSeconds === null ? null : Number(job.afterSeconds),
  }));
  const factsOf = ({ name, compressed }: (typeof hypertables)[number]): HypertableFacts => {
    const { segmentBy = '', orderBy = '' } = compression.find(({ hypertable }) => hypertable === name) ?? {};
    return {
      compressed,
      segmentBy,
      orderBy,
      dimensions: of(name, dimensions),
      policies: of(name, policies),
    };
  };
  return {
    ...state,
    hypertables: new Map(hypertables.map((hypertable) => [hypertable.name, factsOf(hypertable)])),
    aggregates: aggregates.map((aggregate) => aggregateOf(aggregate, aggregates, policies)),
  };
}

/** An aggregate over another one names that one's storage as its hypertable. Policies go by either name. */
function aggregateOf(aggregate: Aggregate, all: readonly Aggregate[], policies: Policies): AggregateFacts {
  const { source, storage, ...facts } = aggregate;
  return {
    ...facts,
    definition: facts.definition.trim().replace(/;$/, ''),
    over: all.find((each) => each.storage === source)?.name ?? source,
    policies: [...of(facts.name, policies), ...of(storage, policies)],
  };
}

function of<Facts>(hypertable: string, rows: readonly OfHypertable<Facts>[]): OfHypertable<Facts>[] {
  return rows.filter((row) => row.hypertable === hypertable);
}
