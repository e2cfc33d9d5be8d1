import type { Queryable } from '../../db/database.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';

/** The facts about a server that decide whether sensorctl can work on it. */
export interface ServerFacts {
  /** Such as 150020. */
  readonly version: number;
  readonly encoding: string;
}

export interface TimescaleDbState {
  /** Version in use in this database; null where the extension is not created. */
  readonly installed: string | null;
  /** Where its functions are; null where it is not created. */
  readonly schema: string | null;
  /** The server has the extension and has loaded it, so that it can be created here. */
  readonly creatable: boolean;
}

const READ_TIMESCALEDB = `
  select (select extversion from pg_extension where extname = 'timescaledb') as installed,
    (select nspname from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
      where extname = 'timescaledb') as schema,
    exists (select from pg_available_extensions where name = 'timescaledb')
      and exists (select from pg_settings where name = 'shared_preload_libraries' and setting ~ 'timescaledb') as creatable`;

const READ_SERVER = `
  select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding`;

export async function readServer(database: Queryable): Promise<ServerFacts> {
  const { rows } = await database.query<{ version: number; encoding: string }>(READ_SERVER);
  return rows[0] ?? { version: 0, encoding: '' };
}

/** The schema in which the role's new tables go: the first of its search path. */
export async function readOwnSchema(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ schema: string | null }>(`select (${OWN_SCHEMAS})[1]::text as schema`);
  return rows[0]?.schema ?? 'public';
}

const EXTENSION_HOLDS_MS = 5_000;
/** Where the extension was found, by connection or pool: each reader of catalogs begins with it, and nobody drops it in between. */
const extensions = new WeakMap<Queryable, { readonly state: TimescaleDbState; readonly at: number }>();

export async function readTimescaleDb(database: Queryable): Promise<TimescaleDbState> {
  const known = extensions.get(database);
  if (known !== undefined && performance.now() - known.at < EXTENSION_HOLDS_MS) return known.state;
  const { rows } = await database.query<TimescaleDbState & Record<string, unknown>>(READ_TIMESCALEDB);
  const state = rows[0] ?? { installed: null, schema: null, creatable: false };
  if (state.installed !== null) extensions.set(database, { state, at: performance.now() });
  return state;
}

/** Only from PostgreSQL 15 on can others than superusers have the right. */
const MAY_REPLICATE = `
  select rolsuper or has_parameter_privilege(current_user, 'session_replication_role', 'set') as possible
  from pg_roles where rolname = current_user`;
const MAY_REPLICATE_14 = 'select rolsuper as possible from pg_roles where rolname = current_user';

/** Whether the role may write in replica role: neither foreign keys nor the operator's triggers act then. */
export async function readMayReplicate(database: Queryable): Promise<boolean> {
  const { version } = await readServer(database);
  const text = version >= 150_000 ? MAY_REPLICATE : MAY_REPLICATE_14;
  return (await database.query<{ possible: boolean }>(text)).rows[0]?.possible === true;
}

/**
 * Before TimescaleDB 2.18.1 `insert … on conflict do nothing` into a compressed chunk drops every row after the first
 * conflict (its changelog).
 */
export function losesRowsOnConflict(version: string): boolean {
  return isBefore(version, 2, 18, 1);
}

/** Whether a version such as `2.18.0-dev` comes before another one; a pre-release counts as its release. */
export function isBefore(version: string, major: number, minor: number, patch = 0): boolean {
  const [ofMajor = 0, ofMinor = 0, ofPatch = 0] = version.split(/[.-]/).map(Number);
  const difference = ofMajor - major || ofMinor - minor || ofPatch - patch;
  return difference < 0;
}
