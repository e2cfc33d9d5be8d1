import pg from 'pg';
import { OWN_SCHEMAS } from './search-path.js';

/** A session whose lock others wait for. */
export interface Holder {
  readonly pid: number;
  readonly role: string;
  readonly application: string;
  /** Such as `idle in transaction`; null where the role may not see it. */
  readonly state: string | null;
  /** The first words of what it does, or did last; null where the role may not see it. */
  readonly query: string | null;
  readonly lock: string;
  readonly table: string;
}

/**
 * On the tables of sensorctl and of the database: what keeps others from writing there; and what keeps a switch waiting. Any
 * role sees pid and role of a session, and what it does where it is the same role or may read all statistics.
 */
const READ_HOLDERS = `
  select pid, usename::text as role, application_name as application, state,
    case when query <> '<insufficient privilege>' then left(query, 60) end as query, mode as lock, relname::text as table
  from pg_locks join pg_stat_activity using (pid) join pg_class on pg_class.oid = relation
  join pg_namespace on pg_namespace.oid = relnamespace
  where locktype = 'relation' and granted and pid <> pg_backend_pid() and backend_type = 'client backend'
    and database = (select oid from pg_database where datname = current_database())
    and (nspname = 'sensorctl' or nspname = any (${OWN_SCHEMAS}))
    and (mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      or relation = to_regclass('sensorctl.fence') and mode = 'RowExclusiveLock')
  order by xact_start, pid, relname limit 3`;

/** Who holds locks now that others wait for; the longest transaction first. */
export async function readHolders(pool: Pick<pg.Pool, 'query'>): Promise<Holder[]> {
  return (await pool.query<Holder & Record<string, unknown>>(READ_HOLDERS)).rows;
}

/** For one line of a log or an error. */
export function describeHolders(holders: readonly Holder[]): string {
  return holders
    .map(({ pid, role, application, state, query, lock, table }) => {
      const doing = [state, query?.replaceAll(/\s+/g, ' ').trim() ?? null]
        .filter((word) => word !== null && word !== '')
        .join(': ');
      return `process ${pid} of role ${role}${application === '' ? '' : ` (${application})`} holds ${lock} on ${table}${doing === '' ? '' : `, ${doing}`}`;
    })
    .join('; ');
}

/** The statement by which a superuser may end them. */
export function endHoldersSql(holders: readonly Holder[]): string {
  return [...new Set(holders.map(({ pid }) => pid))].map((pid) => `select pg_terminate_backend(${pid});`).join(' ');
}

const LOCK_NOT_AVAILABLE = '55P03';

/** Adds to the error of a wait for a lock who held it. The server does not say, and by now it may be gone. */
export async function nameHolders(pool: pg.Pool, error: unknown): Promise<void> {
  if (!(error instanceof pg.DatabaseError) || error.code !== LOCK_NOT_AVAILABLE) return;
  const holders = await readHolders(pool).catch(() => []);
  if (holders.length > 0) error.message += `: ${describeHolders(holders)}`;
}
