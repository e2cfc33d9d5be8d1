import type { Queryable } from '../../db/database.js';
import { optionsSql, readRows, relations, type ObjectRow, type Surroundings } from './catalog-sql.js';

const NO_AGGREGATE = `and not exists (select from timescaledb_information.continuous_aggregates as a
  where a.view_schema = c.nspname and a.view_name = c.relname)`;

const views = (around: Surroundings): string => `
  select case relkind when 'v' then 'view' else 'materialized view' end as kind, 'pg_class:' || c.oid as address, full_name as identity,
    c.nspname as schema, c.relname as name,
    format('create %s %s%s%s as%s%s', case relkind when 'v' then 'view' else 'materialized view' end, full_name,
      (select format(' using %I', amname) from pg_am where pg_am.oid = relam and amname <> 'heap'),
      ' with (' || ${optionsSql('c.reloptions')} || ')',
      E'\\n' || rtrim(pg_get_viewdef(c.oid), ';'), case relkind when 'm' then E'\\nwith no data' end) as statement,
    rtrim(pg_get_viewdef(c.oid), ';') as meaning,
    format('drop %s %s', case relkind when 'v' then 'view' else 'materialized view' end, full_name) as drop
  from ${relations(around)} as c where relkind in ('v', 'm') ${around.timescaleDb === null ? '' : NO_AGGREGATE}`;

/** Views and materialized views; those of TimescaleDB's continuous aggregates are read with them. */
export async function readViews(database: Queryable, around: Surroundings): Promise<ObjectRow[]> {
  return await readRows(database, views(around));
}
