import type { Queryable } from '../../db/database.js';

/**
 * Every reader answers rows of this shape. Names and definitions are printed under a search path of pg_catalog alone, so
 * that each names its schema.
 */
export interface ObjectRow extends Record<string, unknown> {
  readonly kind: string;
  /** `pg_class:16384`, as pg_depend knows it, or a made-up one for what has no catalog of its own. */
  readonly address: string;
  readonly identity: string;
  readonly schema: string | null;
  readonly name: string | null;
  readonly statement: string;
  readonly alike?: string | null;
  readonly meaning?: string | null;
  readonly drop?: string | null;
  /** Addresses of what has to be there before, as JSON, beside what pg_depend says. */
  readonly needs?: string | null;
  /** As JSON. */
  readonly roles?: string | null;
  readonly parent?: string | null;
}

/** What the readers must know of the database before they ask. */
export interface Surroundings {
  /** The schema of TimescaleDB's functions, quoted; null where it is not in use. */
  readonly timescaleDb: string | null;
}

export async function readRows(database: Queryable, sql: string): Promise<ObjectRow[]> {
  return (await database.query<ObjectRow>(sql)).rows;
}

export function isOfNoExtension(catalog: string, oid: string): string {
  return `not exists (
    select from pg_depend as owned
    where owned.classid = '${catalog}'::regclass and owned.objid = ${oid} and owned.deptype = 'e')`;
}

/** The schemas that are neither the server's, nor an extension's, nor sensorctl's. */
export const HOMES = `(
  select oid, nspname from pg_namespace as home
  where nspname not like 'pg\\_%' and nspname not in ('information_schema', 'sensorctl')
    and ${isOfNoExtension('pg_namespace', 'home.oid')}
)`;

/** Relations of the operator's: `c` of `s`, without temporary ones, chunks, and what an extension owns. */
export function relations({ timescaleDb }: Surroundings): string {
  const chunks =
    timescaleDb === null
      ? ''
      : `and not exists (
      select from timescaledb_information.chunks where chunk_schema = home.nspname and chunk_name = found.relname)`;
  return `(
    select found.*, home.nspname, format('%I.%I', home.nspname, found.relname) as full_name
    from pg_class as found join ${HOMES} as home on home.oid = found.relnamespace
    where found.relpersistence <> 't' and ${isOfNoExtension('pg_class', 'found.oid')} ${chunks}
  )`;
}

/** Storage options as `with (…)` takes them; `pg_attver` is the server's own stamp. */
export function optionsSql(options: string): string {
  return `(select string_agg(format('%s=%L', split_part(item, '=', 1), substr(item, strpos(item, '=') + 1)), ', ')
    from unnest(${options}) as item where item not like 'pg\\_attver=%')`;
}
