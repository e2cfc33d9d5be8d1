import type { Database, Queryable } from '../../db/database.js';
import { restoringError } from '../../db/session-settings.js';
import type { UnreachableError } from '../../errors.js';

/** The settings of a server, a database or a role that can make a confirmed write worth nothing. */
export interface Durability {
  /** New sessions are in TimescaleDB's restoring mode, or this one is. */
  readonly restoring: boolean;
  /** `origin`, or what this session has in its place. */
  readonly replicationRole: string;
  /** Settings of the server without which a crash of its machine loses or damages what was confirmed: `fsync`, … */
  readonly off: readonly string[];
}

/**
 * Sessions of before have not got what a database or a role was given since: the catalog says what the next one gets. A
 * server that is there for tests says of itself that nobody needs its data (`sensorctl.disposable`).
 */
const READ_DURABILITY = `
  select current_setting('session_replication_role') as "replicationRole",
    coalesce(nullif(current_setting('timescaledb.restoring', true), ''), 'off')::boolean or coalesce((
      select split_part(item, '=', 2)::boolean
      from pg_db_role_setting cross join unnest(setconfig) as item
      where item like 'timescaledb.restoring=%'
        and setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and setrole in (0, (select oid from pg_roles where rolname = session_user))
      order by setrole <> 0 and setdatabase <> 0 desc, setrole <> 0 desc, setdatabase <> 0 desc limit 1
    ), false) as restoring,
    array_to_json(array(
      select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'
        and coalesce(current_setting('sensorctl.disposable', true), '') <> 'on' order by name
    ))::text as off`;

export async function readDurability(database: Queryable): Promise<Durability> {
  const { rows } = await database.query<{ replicationRole: string; restoring: boolean; off: string }>(READ_DURABILITY);
  const [row] = rows;
  if (row === undefined) throw new TypeError('a server answers what its settings are');
  return { ...row, off: JSON.parse(row.off) as string[] };
}

/** Why nothing may be written to a side; null where it may. What `off` holds is the operator's own risk. */
export function findRestoring(database: Database, { restoring }: Durability): UnreachableError | null {
  return restoring ? restoringError(database) : null;
}
