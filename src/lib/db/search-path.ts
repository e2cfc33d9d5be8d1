import type pg from 'pg';
import {
  parseSession,
  READ_SESSION,
  setSessionSql,
  type SessionState,
  type SessionTimeouts,
} from './session-settings.js';

/**
 * Whoever may create in a schema of the search path can put a function or an operator there that fits a call better than
 * the server's own, and it then runs with the rights of the session. So a session finds functions, operators and types in
 * pg_catalog alone, and each statement names the schema of a table, as `repository/tables` read it from the catalogs. The
 * role's own search path, by which tables without a schema are found, is kept in settings of the session.
 */
const PINNED_PATH = 'pg_catalog, pg_temp';

/** SQL for the schemas in which the role finds its tables, in their order, as name[]. */
export const OWN_SCHEMAS = "current_setting('sensorctl.schemas')::name[]";

/** Each is analysed once the one before it has run: nothing but the first two is looked up in the role's own path. */
const PIN = [
  `select pg_catalog.set_config('sensorctl.own_path', pg_catalog.current_setting('search_path'), false),
    pg_catalog.set_config('sensorctl.schemas', pg_catalog.current_schemas(false)::pg_catalog.text, false)`,
  `set search_path = ${PINNED_PATH}`,
  // "$user" is in the path of nearly every role, and who may create schemas can make one of that name.
  `with own as (
    select nspname, place from unnest(${OWN_SCHEMAS}) with ordinality as found (name, place)
    join pg_namespace on nspname = found.name join pg_roles on pg_roles.oid = nspowner
    where nspname <> 'pg_catalog' and (
      nspname <> current_user or rolname = current_user or rolsuper
      or nspowner = (select datdba from pg_database where datname = current_database())
    )
  )
  select set_config('sensorctl.schemas', coalesce((select array_agg(nspname order by place) from own), '{}')::text, false),
    (select rolname from pg_namespace join pg_roles on pg_roles.oid = nspowner
      where nspname = 'sensorctl' and not rolsuper and rolname <> current_user
        and nspowner <> (select datdba from pg_database where datname = current_database())
        and nspowner <> all (
          select relowner from own join pg_namespace as home using (nspname)
          join pg_class on relnamespace = home.oid and relname = 'sensor_registry' and relkind in ('r', 'p', 'v', 'm', 'f') order by place limit 1
        )) as stranger`,
];

/** The state of a session once it is prepared. */
export interface PreparedSession {
  /**
   * The owner of the schema sensorctl where that is neither a superuser, the database's owner, this role, nor the owner of
   * the tables, whose triggers run here anyway; null where it is.
   */
  readonly stranger: string | null;
  readonly session: SessionState;
}

/** Sets what a session is promised, pins its search path and reads what took; in one round trip, before anything else. */
export async function prepareSession(client: pg.ClientBase, timeouts: SessionTimeouts): Promise<PreparedSession> {
  const statements = [setSessionSql(timeouts), ...PIN, READ_SESSION];
  const results = (await client.query(statements.join(';\n'))) as unknown as pg.QueryResult<Record<string, unknown>>[];
  const [pinned, read] = results.slice(-2);
  return { stranger: (pinned?.rows[0]?.stranger as string | null) ?? null, session: parseSession(read?.rows ?? []) };
}

const takeOwnPath = (isLocal: boolean): string =>
  `set_config('search_path', current_setting('sensorctl.own_path'), ${isLocal})`;
const TAKE_OWN_PATH = takeOwnPath(true);

/** Ends what `underOwnPath` began, in the same transaction: without it the rest would be looked up in the role's own path. */
export const PIN_AGAIN = `set local search_path = ${PINNED_PATH}`;

/** Goes before a COPY into a table, in which nothing is looked up: triggers find what their authors meant. */
export const SET_OWN_PATH = `select ${TAKE_OWN_PATH}`;

/** The same for all that a session does from here on: nothing of sensorctl's own may follow. */
export const KEEP_OWN_PATH = `select ${takeOwnPath(false)}`;

/**
 * The statement (an insert, update or delete without `returning`) is analysed under the pinned path, and its triggers run
 * under the role's own, as those that operators wrote expect: a function without a search path of its own finds
 * `latest_values` there. The path is set before the first trigger fires. Answers a row a row written. `PIN_AGAIN` follows.
 */
export function underOwnPath(statement: string): string {
  return `with written as (${statement} returning 1)
    select from (select ${TAKE_OWN_PATH} as path offset 0) as own
    cross join lateral (select from written where own.path is not null offset 0) as row`;
}

/** Runs such a statement in an open transaction, and pins again; returns the number of rows. */
export async function writeUnderOwnPath(
  client: Pick<pg.Pool, 'query'>,
  text: string,
  values: readonly unknown[] = [],
): Promise<number> {
  if (values.length === 0) {
    const results = (await client.query(`${text}; ${PIN_AGAIN}`)) as unknown as pg.QueryResult[];
    return results[0]?.rowCount ?? 0;
  }
  const { rowCount } = await client.query(text, [...values]);
  await client.query(PIN_AGAIN);
  return rowCount ?? 0;
}

/** The same in a statement whose `with` holds what writes: the condition is looked at before anything of it is read. */
export const OWN_PATH_TAKEN = `(${TAKE_OWN_PATH} is not null)`;
