import { readTimescaleDb, type TimescaleDbState } from '../tables/server-facts.js';
import type { Queryable } from '../../db/database.js';
import { tableSql, type Table } from '../tables/table.js';

export interface DimensionFacts {
  readonly column: string;
  readonly type: string;
  /** The length of the chunks of a time dimension. */
  readonly interval: string | null;
  /** The number of partitions of a space dimension. */
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
  /** Rows lie in its root, outside of all chunks; no query finds them. */
  readonly rootRows: boolean;
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

/** The hypertables that are asked for, by their places in the list. */
const WANTED = `
  unnest($1::text[], $2::text[]) with ordinality as wanted (hypertable_schema, hypertable_name, place)`;

const READ_DIMENSIONS = `
  select place::int - 1 as place, column_name as column, column_type::text as type, num_partitions as partitions,
    coalesce(time_interval::text, integer_interval::text) as interval
  from timescaledb_information.dimensions join ${WANTED} using (hypertable_schema, hypertable_name)
  order by place, dimension_number`;

const READ_COMPRESSION = `
  select place::int - 1 as place,
    coalesce(string_agg(quote_ident(attname), ', ' order by segmentby_column_index)
      filter (where segmentby_column_index is not null), '') as "segmentBy",
    coalesce(string_agg(
      quote_ident(attname) || case when orderby_asc then '' else ' desc' end
        || case when orderby_nullsfirst = orderby_asc then case when orderby_nullsfirst then ' nulls first' else ' nulls last' end
          else '' end, ', ' order by orderby_column_index
    ) filter (where orderby_column_index is not null), '') as "orderBy"
  from timescaledb_information.compression_settings join ${WANTED} using (hypertable_schema, hypertable_name)
  group by place`;

const READ_POLICIES = `
  select hypertable_schema as schema, hypertable_name as hypertable, "after", scheduled, schedule_interval::text as every,
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
  select view_schema as "viewSchema", view_name as name, hypertable_schema as "sourceSchema", hypertable_name as source,
    view_definition as definition, materialized_only as "materializedOnly",
    materialization_hypertable_schema as "storageSchema", materialization_hypertable_name as storage
  from timescaledb_information.continuous_aggregates order by materialization_hypertable_name, view_name`;

const READ_READABLE = `
  select oid::int8 as oid from unnest($1::oid[]) as wanted (oid) where has_table_privilege(oid, 'select')`;

type Placed<Facts> = Facts & { readonly place: number };
type Job = PolicyFacts & { readonly schema: string; readonly hypertable: string };
interface Compression {
  readonly segmentBy: string;
  readonly orderBy: string;
}
type Aggregate = Omit<AggregateFacts, 'over' | 'policies'> &
  Readonly<Record<'viewSchema' | 'sourceSchema' | 'source' | 'storageSchema' | 'storage', string>>;

/** Reads what TimescaleDB does with these tables, and every aggregate, by its information views alone. */
export async function readTimescaleDbCatalog(
  database: Queryable,
  tables: ReadonlyMap<string, Table>,
): Promise<TimescaleDbCatalog> {
  const state = await readTimescaleDb(database);
  if (state.installed === null) return { ...state, hypertables: new Map(), aggregates: [] };
  const known = [...tables].flatMap(([label, { name, hypertable }]) =>
    hypertable === null ? [] : [{ label, name, compressed: hypertable.compressed }],
  );
  const names = [known.map(({ name }) => name.schema), known.map(({ name }) => name.name)];
  const read = async <Row>(sql: string, values: unknown[] = []): Promise<Row[]> =>
    (await database.query<Row & Record<string, unknown>>(sql, values)).rows;
  const [withRootRows, dimensions, compression, jobs, aggregates] = await Promise.all([
    findRootRows(database, [...tables.values()]),
    read<Placed<DimensionFacts>>(READ_DIMENSIONS, names),
    read<Placed<Compression>>(READ_COMPRESSION, names),
    read<Omit<Job, 'afterSeconds'> & { afterSeconds: string | null }>(READ_POLICIES),
    read<Aggregate>(READ_AGGREGATES),
  ]);
  const policies = jobs.map((job) => ({
    ...job,
    afterSeconds: job.afterSeconds === null ? null : Number(job.afterSeconds),
  }));
  const hypertables = known.map(({ label, name, compressed }, place): [string, HypertableFacts] => {
    const { segmentBy = '', orderBy = '' } = compression.find((each) => each.place === place) ?? {};
    const own = { dimensions: dimensions.filter((each) => each.place === place), policies: policiesOf(name, policies) };
    return [label, { compressed, segmentBy, orderBy, rootRows: withRootRows.has(label), ...own }];
  });
  return {
    ...state,
    hypertables: new Map(hypertables),
    aggregates: aggregates.map((aggregate) => aggregateOf(aggregate, { aggregates, policies, tables })),
  };
}

/** The names of the hypertables whose root holds rows, of those that the role may read. */
async function findRootRows(database: Queryable, tables: readonly Table[]): Promise<ReadonlySet<string>> {
  const hypertables = tables.filter(({ hypertable }) => hypertable !== null);
  const { rows: readable } = await database.query<{ oid: number }>(READ_READABLE, [hypertables.map(({ oid }) => oid)]);
  const asked = hypertables.filter(({ oid }) => readable.some((each) => each.oid === oid));
  if (asked.length === 0) return new Set();
  const selects = asked.map(
    (table, place) => `select ${place} as place where exists (select from only ${tableSql(table)})`,
  );
  const { rows } = await database.query<{ place: number }>(selects.join(' union all '));
  return new Set(rows.map(({ place }) => asked[place]?.label ?? ''));
}

interface Around {
  readonly aggregates: readonly Aggregate[];
  readonly policies: readonly Job[];
  readonly tables: ReadonlyMap<string, Table>;
}

/** An aggregate over another one names that one's storage as its hypertable. Policies go by either name. */
function aggregateOf(aggregate: Aggregate, { aggregates, policies, tables }: Around): AggregateFacts {
  const { source, sourceSchema, storage, storageSchema, viewSchema, ...facts } = aggregate;
  const below = aggregates.find((each) => each.storage === source && each.storageSchema === sourceSchema);
  const table = [...tables].find(([, { name }]) => name.schema === sourceSchema && name.name === source);
  return {
    ...facts,
    definition: facts.definition.trim().replace(/;$/, ''),
    over: below?.name ?? table?.[0] ?? `${sourceSchema}.${source}`,
    policies: [
      ...policiesOf({ schema: viewSchema, name: facts.name }, policies),
      ...policiesOf({ schema: storageSchema, name: storage }, policies),
    ],
  };
}

function policiesOf({ schema, name }: Table['name'], policies: readonly Job[]): Job[] {
  return policies.filter((each) => each.schema === schema && each.hypertable === name);
}
