import type { Queryable } from '../../db/database.js';
import { readRows, relations, type ObjectRow, type Surroundings } from './catalog-sql.js';

/** `@` stands for the schema of TimescaleDB's functions. */
const OF_TABLE = (around: Surroundings): string => `
  from ${relations(around)} as c
  join timescaledb_information.dimensions as d on d.hypertable_schema = nspname and d.hypertable_name = relname`;

const INTERVAL = `coalesce('interval ' || quote_literal(time_interval), integer_interval::text)`;

const hypertables = (around: Surroundings): string => `
  select 'hypertable' as kind, 'hypertable:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format('select @.create_hypertable(%L::regclass, %L%s, create_default_indexes => false, migrate_data => true, if_not_exists => true)',
      full_name, column_name, ', chunk_time_interval => ' || ${INTERVAL}) as statement,
    json_build_array('pg_class:' || c.oid)::text as needs
  ${OF_TABLE(around)} where dimension_number = 1`;

const dimensions = (around: Surroundings): string => `
  select 'dimension' as kind, format('dimension:%s:%s', c.oid, dimension_number) as address, format('%I of %s', column_name, full_name) as identity,
    c.nspname as schema, c.relname as name,
    format('select @.add_dimension(%L::regclass, %L, %s, if_not_exists => true)', full_name, column_name,
      case when num_partitions is null then 'chunk_time_interval => ' || ${INTERVAL} else 'number_partitions => ' || num_partitions end) as statement,
    json_build_array('hypertable:' || c.oid)::text as needs
  ${OF_TABLE(around)} where dimension_number > 1`;

/** TimescaleDB's views do not show the schema of the function. */
const integerNow = (around: Surroundings): string => `
  select 'integer now' as kind, 'integer now:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format('select @.set_integer_now_func(%L::regclass, %L::regproc, replace_if_exists => true)', full_name, called) as statement,
    called as meaning, json_build_array('hypertable:' || c.oid)::text as needs
  from ${relations(around)} as c
  join _timescaledb_catalog.hypertable as h on h.schema_name = c.nspname and h.table_name = c.relname
  join _timescaledb_catalog.dimension as d on d.hypertable_id = h.id
  cross join lateral (select format('%I.%I', integer_now_func_schema, integer_now_func) as called where integer_now_func is not null) as named`;

/** The table or the aggregate that an aggregate reads. */
const SOURCE = `(
  select coalesce(min(below.view_schema), a.hypertable_schema) as schema, coalesce(min(below.view_name), a.hypertable_name) as name
  from timescaledb_information.continuous_aggregates as below
  where below.materialization_hypertable_schema = a.hypertable_schema and below.materialization_hypertable_name = a.hypertable_name)`;

const aggregates = (around: Surroundings): string => `
  select 'continuous aggregate' as kind, 'pg_class:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format(E'create materialized view %s with (timescaledb.continuous, timescaledb.materialized_only = %s) as\\n%s\\nwith no data',
      full_name, materialized_only, rtrim(trim(view_definition), ';')) as statement,
    rtrim(trim(view_definition), ';') as meaning, format('drop materialized view %s', full_name) as drop,
    json_build_array('pg_class:' || format('%I.%I', source.schema, source.name)::regclass::oid)::text as needs,
    json_build_object('schema', source.schema, 'name', source.name)::text as parent
  from ${relations(around)} as c join timescaledb_information.continuous_aggregates as a on a.view_schema = nspname and a.view_name = relname
  cross join lateral ${SOURCE} as source`;

/** Those that somebody made; TimescaleDB makes its own by itself. */
const aggregateIndexes = (around: Surroundings): string => `
  select 'index' as kind, 'pg_class:' || i.indexrelid as address, format('%s of %s', n.relname, full_name) as identity, c.nspname as schema, c.relname as name,
    format('create %sindex %I on %s%s', case when indisunique then 'unique ' end, n.relname, full_name, substring(pg_get_indexdef(i.indexrelid) from ' USING .*')) as statement,
    format('%s%s', full_name, substring(pg_get_indexdef(i.indexrelid) from ' USING .*')) as alike, json_build_array('pg_class:' || c.oid)::text as needs
  from ${relations(around)} as c join timescaledb_information.continuous_aggregates as a on a.view_schema = nspname and a.view_name = relname
  join pg_index as i on i.indrelid = format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
  join pg_class as n on n.oid = i.indexrelid where n.relname not like '\\_materialized\\_hypertable\\_%'`;

const compression = (around: Surroundings): string => `
  select 'compression' as kind, 'compression:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format('alter %s %s set (timescaledb.compress%s%s)', case relkind when 'v' then 'materialized view' else 'table' end, full_name,
      ', timescaledb.compress_segmentby = ' || quote_literal(nullif("segmentBy", '')), ', timescaledb.compress_orderby = ' || quote_literal(nullif("orderBy", ''))) as statement,
    json_build_array(case relkind when 'v' then 'pg_class:' else 'hypertable:' end || c.oid)::text as needs
  from ${relations(around)} as c
  left join timescaledb_information.continuous_aggregates as a on a.view_schema = nspname and a.view_name = relname
  join timescaledb_information.hypertables as h on h.compression_enabled
    and h.hypertable_schema = coalesce(materialization_hypertable_schema, nspname) and h.hypertable_name = coalesce(materialization_hypertable_name, relname)
  cross join lateral (
    select coalesce(string_agg(quote_ident(attname), ', ' order by segmentby_column_index) filter (where segmentby_column_index is not null), '') as "segmentBy",
      coalesce(string_agg(quote_ident(attname) || case when orderby_asc then '' else ' desc' end
          || case when orderby_nullsfirst = orderby_asc then case when orderby_nullsfirst then ' nulls first' else ' nulls last' end else '' end,
        ', ' order by orderby_column_index) filter (where orderby_column_index is not null), '') as "orderBy"
    from timescaledb_information.compression_settings as s
    where s.hypertable_schema = h.hypertable_schema and s.hypertable_name = h.hypertable_name
  ) as settings`;

const AGE = (word: string): string =>
  `case jsonb_typeof(config -> '${word}') when 'number' then config ->> '${word}' else format('interval %L', config ->> '${word}') end`;
const OFFSET = (word: string): string => `case when config ->> '${word}' is null then 'null' else ${AGE(word)} end`;
const EVERY = `format('schedule_interval => interval %L', schedule_interval)`;

/** Each kind of policy has a function of its own; anything else is a job that somebody made. */
const jobs = (around: Surroundings): string => `
  select 'job' as kind, 'job:' || job_id as address,
    case when call is null then format('%I.%I %s', proc_schema, proc_name, config) else format('%s of %s', replace(proc_name, 'policy_', ''), full_name) end as identity,
    case when call is null then null else nspname end as schema, case when call is null then null else relname end as name,
    case when scheduled then 'select ' || made else format('select @.alter_job(%s, scheduled => false)', made) end as statement,
    concat_ws(' ', coalesce(call, config::text), schedule_interval) as meaning,
    case when call is null then null else json_build_array('pg_class:' || c.oid, 'compression:' || c.oid, 'integer now:' || c.oid)::text end as needs
  from (
    select j.*, coalesce(a.view_schema, j.hypertable_schema) as of_schema, coalesce(a.view_name, j.hypertable_name) as of_name
    from timescaledb_information.jobs as j left join timescaledb_information.continuous_aggregates as a
      on a.materialization_hypertable_schema = j.hypertable_schema and a.materialization_hypertable_name = j.hypertable_name
    where job_id >= 1000
  ) as j
  left join ${relations(around)} as c on nspname = of_schema and relname = of_name
  cross join lateral (select case proc_name
    when 'policy_retention' then case when config ? 'drop_created_before'
      then format('add_retention_policy(%L::regclass, drop_created_before => %s', full_name, ${AGE('drop_created_before')})
      else format('add_retention_policy(%L::regclass, %s', full_name, ${AGE('drop_after')}) end
    when 'policy_compression' then case when config ? 'compress_created_before'
      then format('add_compression_policy(%L::regclass, compress_created_before => %s', full_name, ${AGE('compress_created_before')})
      else format('add_compression_policy(%L::regclass, %s', full_name, ${AGE('compress_after')}) end
    when 'policy_refresh_continuous_aggregate' then format('add_continuous_aggregate_policy(%L::regclass, start_offset => %s, end_offset => %s',
      full_name, ${OFFSET('start_offset')}, ${OFFSET('end_offset')})
    when 'policy_reorder' then format('add_reorder_policy(%L::regclass, %L', full_name, config ->> 'index_name') end as call) as policy
  cross join lateral (select case when call is null
    then format('@.add_job(%L::regproc, interval %L%s)', format('%I.%I', proc_schema, proc_name), schedule_interval, format(', config => %L::jsonb', config))
    when proc_name = 'policy_reorder' then format('@.%s, if_not_exists => true)', call)
    else format('@.%s, %s, if_not_exists => true)', call, ${EVERY}) end as made) as statement
  where call is null or c.oid is not null`;

/** Hypertables, continuous aggregates, compression and jobs; nothing where TimescaleDB is not in use. */
export async function readHypertables(database: Queryable, around: Surroundings): Promise<ObjectRow[]> {
  const { timescaleDb } = around;
  if (timescaleDb === null) return [];
  const all = [hypertables, dimensions, integerNow, aggregates, aggregateIndexes, compression, jobs];
  const rows = (await Promise.all(all.map((sql) => readRows(database, sql(around))))).flat();
  return rows.map((row) => ({ ...row, statement: row.statement.replaceAll('@.', `${timescaleDb}.`) }));
}
