import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import { placesOf } from '../tables/axis.js';
import type { Table } from '../tables/table.js';

/**
 * Times without zone are dropped by the wall clock of the server's own time zone, which the sessions here do not know: it
 * may be up to 14 hours ahead of UTC. `drop_created_before` drops a chunk that was created so long ago, whatever the times
 * in it: as it is made for its first row at the earliest, its rows reach beyond that by no more than its own length, but
 * for rows dated ahead, of which the chunks that are due and not yet dropped tell. Where the axis is an integer that says
 * nothing of times: what is older than every chunk that is there may have been dropped.
 */
const READ_POLICY = `
  select case when column_type in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) then
      greatest(
        ${microsOf(`now() - coalesce(config ->> 'drop_after', config ->> 'drop_created_before')::interval
          + case when created then time_interval else '0' end
          + case when column_type = 'timestamp'::regtype then interval '14 hours' else '0' end`)},
        case when created then ${microsOf('due.time')} end
      )
    when created then greatest(due.integer, held.integer) end as micros,
    config ->> 'drop_after' as after, integer_now_func as "nowFunction", column_type::text as type,
    column_type in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) as "isTime",
    held.integer as oldest
  from timescaledb_information.jobs join timescaledb_information.dimensions using (hypertable_schema, hypertable_name)
  cross join lateral (select config ? 'drop_created_before' as created) as form
  cross join lateral (
    select max(range_end) as time, max(range_end_integer) as integer
    from timescaledb_information.chunks as chunk
    where created and chunk.hypertable_schema = jobs.hypertable_schema and chunk.hypertable_name = jobs.hypertable_name
      and (to_jsonb(chunk) ->> 'chunk_creation_time')::timestamptz < now() - (config ->> 'drop_created_before')::interval
  ) as due
  cross join lateral (
    select min(range_start_integer) as integer from timescaledb_information.chunks as chunk
    where chunk.hypertable_schema = jobs.hypertable_schema and chunk.hypertable_name = jobs.hypertable_name
  ) as held
  where dimension_number = 1 and proc_name = 'policy_retention' and hypertable_schema = $1 and hypertable_name = $2`;

/** Functions that are called have to be those of a superuser or of this role: any other would act with its rights. */
const FIND_NOW_FUNCTION = `
  select nspname as schema from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
  join pg_roles as owner on owner.oid = proowner
  where proname = $1 and pronargs = 0 and prorettype = $2::regtype and (owner.rolsuper or owner.rolname = current_user)`;

interface Policy {
  /** What follows from the catalogs alone, in µs since 1970 or as an integer. */
  readonly micros: number | null;
  readonly after: string | null;
  readonly nowFunction: string | null;
  readonly type: string;
  readonly isTime: boolean;
  readonly oldest: number | null;
}

/**
 * Reads, of a hypertable with a retention policy, the place on its axis before which its chunks may be dropped by now;
 * null for any other table. A paused policy counts too: what it dropped before it was paused is gone.
 */
export async function readRetentionCutoff(
  database: Queryable,
  { name, hypertable, axis }: Pick<Table, 'name' | 'hypertable' | 'axis'>,
): Promise<number | null> {
  if (hypertable === null || axis?.column !== hypertable.column) return null;
  const { rows } = await database.query<Policy & Record<string, unknown>>(READ_POLICY, [name.schema, name.name]);
  const [policy] = rows;
  if (policy === undefined) return null;
  if (policy.isTime) return placesOf(axis.type, { from: policy.micros, to: null }).from;
  return policy.micros ?? (await readIntegerCutoff(database, policy));
}

/** By the table's own clock; where that may not be called, what is older than every chunk that is there. */
async function readIntegerCutoff(database: Queryable, policy: Policy): Promise<number | null> {
  const { after, nowFunction, type, oldest } = policy;
  if (nowFunction === null || after === null) return oldest;
  const { rows } = await database.query<{ schema: string }>(FIND_NOW_FUNCTION, [nowFunction, type]);
  const [home, other] = rows;
  // Two of that name in two schemas: the catalogs' views do not say which.
  if (other !== undefined || home === undefined) return oldest;
  const call = `${quoteIdentifier(home.schema)}.${quoteIdentifier(nowFunction)}()`;
  const found = await database.query<{ cutoff: number }>(`select (${call} - $1::bigint)::bigint as cutoff`, [after]);
  return found.rows[0]?.cutoff ?? oldest;
}
