import { readTimescaleDb } from './catalog.js';
import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';

/**
 * Times without zone are dropped by the wall clock of the server's own time zone, which the sessions here do not know: it
 * may be up to 14 hours ahead of UTC.
 */
const READ_CUTOFFS = `
  select hypertable_name as "table",
    ${microsOf(`now() - (config ->> 'drop_after')::interval
      + case when column_type = 'timestamp'::regtype then interval '14 hours' else '0' end`)} as cutoff
  from timescaledb_information.jobs join timescaledb_information.dimensions using (hypertable_schema, hypertable_name)
  where dimension_number = 1 and proc_name = 'policy_retention' and hypertable_schema = any (${OWN_SCHEMAS})
    and config ->> 'drop_after' !~ '^[0-9]+$'`;

/**
 * Reads, for each hypertable with a retention policy, the time (µs since 1970) before which its chunks may be dropped by
 * now. A paused policy counts too: what it dropped before it was paused is gone.
 */
export async function readRetentionCutoffs(database: Queryable): Promise<ReadonlyMap<string, number>> {
  const { installed } = await readTimescaleDb(database);
  if (installed === null) return new Map();
  const { rows } = await database.query<{ table: string; cutoff: number }>(READ_CUTOFFS);
  return new Map(rows.map(({ table, cutoff }) => [table, cutoff]));
}
