import pg from 'pg';
import { quoteIdentifier } from './identifiers.js';

/**
 * Whoever may create in a schema of the search path can put a function or an operator there that fits a call better than
 * the server's own, and it then runs with the rights of the session. So a session finds functions, operators and types in
 * pg_catalog alone, and each statement names the schema of a table. Which schema that is, is looked up once a connection,
 * as the role's own search path finds it.
 */
const PINNED_PATH = 'pg_catalog, pg_temp';

/** Stand for schemas until a connection has found them: that of a table, that of new tables, that of TimescaleDB. */
const OF_TABLE = '"@table"';
/** Where new tables go. */
export const OWN_SCHEMA = '"@own"';
const OF_TIMESCALEDB = '"@timescaledb"';
const PLACED = /"@table"\.("(?:[^"]|"")+")|"@own"|"@timescaledb"/g;

/** Names a table of the database in a statement; the only way. Each connection puts in the schema that it found. */
export function tableSql(name: string): string {
  return `${OF_TABLE}.${quoteIdentifier(name)}`;
}

/** Names a function of TimescaleDB, which may be installed in any schema. */
export function timescaleSql(name: string): string {
  return `${OF_TIMESCALEDB}.${name}`;
}

/** SQL for the schemas in which the role finds its tables, in their order, as name[]. */
export const OWN_SCHEMAS = "current_setting('sensorctl.schemas')::name[]";

/** SQL for the oid of the table whose name `expression` gives; null where there is none. Sequences and indexes are no tables. */
export function tableOidSql(expression: string): string {
  return `(select found.oid from unnest(${OWN_SCHEMAS}) with ordinality as own (schema, place)
    join pg_namespace as space on space.nspname = own.schema join pg_class as found on found.relnamespace = space.oid
    where found.relname = ${expression} and found.relkind in ('r', 'p', 'v', 'm', 'f') order by own.place limit 1)`;
}

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
  ), first as (
    select distinct on (relname) relname, nspname, place
    from own join pg_namespace using (nspname) join pg_class on relnamespace = pg_namespace.oid
    where (select count(*) from own) > 1 and relkind in ('r', 'p', 'v', 'm', 'f') order by relname, place
  )
  select set_config('sensorctl.schemas', coalesce((select array_agg(nspname order by place) from own), '{}')::text, false),
    (select nspname from own order by place limit 1) as schema,
    (select json_object_agg(relname, nspname) from first where place > (select min(place) from own))::text as elsewhere,
    (select nspname from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
      where extname = 'timescaledb') as timescaledb,
    (select rolname from pg_namespace join pg_roles on pg_roles.oid = nspowner
      where nspname = 'sensorctl' and not rolsuper and rolname <> current_user
        and nspowner <> (select datdba from pg_database where datname = current_database())
        and nspowner <> all (select relowner from pg_class where oid = ${tableOidSql("'sensor_registry'")})) as stranger`,
].join(';\n');

/** What a connection found of the role's own search path. */
export interface Places {
  readonly schema: string;
  /** Table → schema, of those that another schema holds. */
  readonly elsewhere: Readonly<Record<string, string>>;
  /** Where `init` has created it since the connection was made: in the schema of new tables. */
  readonly timescaledb: string | null;
  /**
   * The owner of the schema sensorctl, where that is neither a superuser, the database's owner, this role, nor the owner of
   * the tables, whose triggers run here anyway.
   */
  readonly stranger: string | null;
}

/** A connection whose search path is pinned, once `pin` has returned. */
export class PinnedClient extends pg.Client {
  #places: Places = { schema: 'public', elsewhere: {}, timescaledb: null, stranger: null };

  constructor(config?: string | pg.ClientConfig) {
    super(config);
    const query = this.query.bind(this) as (...call: unknown[]) => unknown;
    this.query = ((first: unknown, ...rest: unknown[]) => query(this.#place(first), ...rest)) as typeof this.query;
  }

  /** Goes before anything else on the connection. */
  async pin(): Promise<Places> {
    const results = (await this.query(PIN)) as unknown as pg.QueryResult<Record<keyof Places, string | null>>[];
    const found = results[2]?.rows[0];
    this.#places = {
      schema: found?.schema ?? 'public',
      elsewhere: JSON.parse(found?.elsewhere ?? '{}') as Record<string, string>,
      timescaledb: found?.timescaledb ?? null,
      stranger: found?.stranger ?? null,
    };
    return this.#places;
  }

  #place(query: unknown): unknown {
    if (typeof query === 'string') return placeNames(query, this.#places);
    const { text, submit } = query as { text: string; submit?: unknown };
    if (submit === undefined) return { ...(query as object), text: placeNames(text, this.#places) };
    // A COPY, made for this call alone.
    (query as { text: string }).text = placeNames(text, this.#places);
    return query;
  }

  get places(): Places {
    return this.#places;
  }
}

type Pinned = Pick<PinnedClient, 'pin' | 'places'>;

/** A connection of a pool or session that `openDatabase` made. */
export function pinned(client: pg.ClientBase): Pinned {
  if (isPinned(client)) return client;
  throw new TypeError('a connection was made without openDatabase');
}

function isPinned(client: object): client is Pinned {
  return 'pin' in client && 'places' in client;
}

/** Puts the schemas into a statement that `tableSql` and its like have made. */
export function placeNames(text: string, { schema, elsewhere, timescaledb }: Places): string {
  return text.replaceAll(PLACED, (placed: string, quoted?: string) => {
    if (placed === OF_TIMESCALEDB) return quoteIdentifier(timescaledb ?? schema);
    if (quoted === undefined) return quoteIdentifier(schema);
    return `${quoteIdentifier(elsewhere[quoted.slice(1, -1).replaceAll('""', '"')] ?? schema)}.${quoted}`;
  });
}

const TAKE_OWN_PATH = "set_config('search_path', current_setting('sensorctl.own_path'), true)";

/** Ends what `underOwnPath` began, in the same transaction: without it the rest would be looked up in the role's own path. */
export const PIN_AGAIN = `set local search_path = ${PINNED_PATH}`;

/** Goes before a COPY into a table, in which nothing is looked up: triggers find what their authors meant. */
export const SET_OWN_PATH = `select ${TAKE_OWN_PATH}`;

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
