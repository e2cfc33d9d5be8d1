import pg from 'pg';
import { readServer, type ServerFacts } from './server-facts.js';
import { tlsOptions } from '../../db/connection.js';
import type { Database, Queryable } from '../../db/database.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';

/** The facts about a server, its database and the connected role that matter to a second server beside it. */
export interface ServerCatalog extends ServerFacts {
  readonly versionText: string;
  readonly collation: string;
  readonly standby: boolean;
  readonly database: string;
  readonly role: string;
  readonly superuser: boolean;
  readonly schemas: readonly string[];
  /** Connections that this role may still open here, by the server's, the database's and the role's own limit. */
  readonly freeConnections: number;
}

/** The settings of a session that asks for none. */
export interface SessionDefaults {
  readonly timeZone: string;
  readonly extraFloatDigits: string;
  readonly readOnly: string;
}

/** Leases, deadlines and lag mislead where the clocks of both servers are further apart, in ms. */
export const CLOCK_LIMIT_MS = 1_000;

/** How far a server's clock is ahead of this process's, and how far off that can be; in ms. */
export interface ClockLook {
  readonly aheadMs: number;
  readonly toleranceMs: number;
}

/** A role without rights sees nothing of the sessions of others but whose they are. */
const READ_CATALOG = `
  with session as (
    select datid, usesysid from pg_stat_activity
    where datid is not null and usesysid is not null and coalesce(backend_type, 'client backend') = 'client backend'
      and application_name is distinct from current_setting('application_name')
  )
  select current_setting('server_version') as "versionText", pg_is_in_recovery() as standby, current_database() as database, r.rolname as role,
    r.rolsuper as superuser, d.datcollate || ' / ' || d.datctype as collation,
    array_to_json(${OWN_SCHEMAS})::text as schemas,
    least(
      current_setting('max_connections')::int - (select count(*) from session)
        - case when r.rolsuper then 0 else current_setting('superuser_reserved_connections')::int
          + coalesce(current_setting('reserved_connections', true)::int, 0) end,
      case when d.datconnlimit >= 0 then d.datconnlimit
        - (select count(*) from session where datid = d.oid) end,
      case when r.rolconnlimit >= 0 then r.rolconnlimit
        - (select count(*) from session where usesysid = r.oid) end
    )::int as "freeConnections"
  from pg_roles as r join pg_database as d on d.datname = current_database() where r.rolname = current_user`;

const READ_DEFAULTS = `
  select current_setting('TimeZone') as "timeZone", current_setting('extra_float_digits') as "extraFloatDigits",
    current_setting('default_transaction_read_only') as "readOnly"`;

const READ_CLOCK = 'select (extract(epoch from clock_timestamp()) * 1000)::float8::text as now';
const CLOCK_LOOKS = 5;
const SESSION_TIMEOUT_MS = 10_000;

export async function readServerCatalog(database: Queryable): Promise<ServerCatalog> {
  const [facts, { rows }] = await Promise.all([
    readServer(database),
    database.query<Omit<ServerCatalog, 'schemas'> & { schemas: string }>(READ_CATALOG),
  ]);
  const [row] = rows;
  if (row === undefined) throw new TypeError('a session has a role and a database');
  return { ...facts, ...row, schemas: JSON.parse(row.schemas) as string[] };
}

/** Opens one session that sets nothing, as other programs do, looks, and closes it. */
export async function readSessionDefaults({ connection, pool }: Database): Promise<SessionDefaults> {
  const { host, port, database, user, password } = connection;
  const client = new pg.Client({
    ...{ host, port, database, user, ssl: tlsOptions(connection) },
    ...(password === undefined ? {} : { password }),
    application_name: pool.options.application_name,
    connectionTimeoutMillis: SESSION_TIMEOUT_MS,
    query_timeout: SESSION_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<SessionDefaults & Record<string, unknown>>(READ_DEFAULTS);
    return rows[0] ?? { timeZone: '', extraFloatDigits: '', readOnly: '' };
  } finally {
    await client.end();
  }
}

/**
 * Looks at the clock a few times on one connection, without waiting in between, and keeps the look with the shortest round
 * trip, half of which is its tolerance.
 */
export async function readClock(client: pg.ClientBase): Promise<ClockLook> {
  const looks = await Promise.all(Array.from({ length: CLOCK_LOOKS }, () => lookAtClock(client)));
  return looks.reduce((best, look) => (look.toleranceMs < best.toleranceMs ? look : best));
}

async function lookAtClock(client: pg.ClientBase): Promise<ClockLook> {
  const sentAt = performance.timeOrigin + performance.now();
  const { rows } = await client.query<{ now: string }>(READ_CLOCK);
  const halfTripMs = (performance.timeOrigin + performance.now() - sentAt) / 2;
  return { aheadMs: Number(rows[0]?.now) - sentAt - halfTripMs, toleranceMs: halfTripMs };
}
