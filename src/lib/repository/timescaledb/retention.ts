import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import type { Table } from '../tables/table.js';

/**
 * Times without zone are dropped by the wall clock of the server's own time zone, which the sessions here do not know: it
 * may be up to 14 hours ahead of UTC.
 */
const READ_CUTOFF = `
  select ${microsOf(`now() - (config ->> 'drop_after')::interval
      + case when column_type = 'timestamp'::regtype then interval '14 hours' else '0' end`)} as cutoff
  from timescaledb_information.jobs join timescaledb_information.dimensions using (hypertable_schema, hypertable_name)
  where dimension_number = 1 and proc_name = 'policy_retention' and hypertable_schema = $1 and hypertable_name = $2
    and config ->> 'drop_after' !~ '^[0-9]+$'`;

/**
 * Reads, of a hypertable with a retention policy, the time (µs since 1970) before which its chunks may be dropped by now;
 * null for any other table. A paused policy counts too: what it dropped before it was paused is gone.
 */
export async function readRetentionCutoff(
  database: Queryable,
  { name, hypertable }: Pick<Table, 'name' | 'hypertable'>,
): Promise<number | null> {
  if (hypertable === null) return null;
  const { rows } = await database.query<{ cutoff: number }>(READ_CUTOFF, [name.schema, name.name]);
  return rows[0]?.cutoff ?? null;
}
