import { readdirSync, readFileSync } from 'node:fs';
import { PREPARE_ALONE } from '../../db/locks.js';
import { withTransaction } from '../../db/transaction.js';
import { withRetries } from '../../domain/retry.js';
import { sideTitle } from '../../domain/side.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { ConflictError, UnreachableError, type Problem } from '../../errors.js';
import type { Database, Queryable } from '../../db/database.js';

const FIND_VERSIONS = "select to_regclass('sensorctl.schema_version') is not null as exists";
const READ_VERSION = 'select coalesce(max(version), 0)::int as version from sensorctl.schema_version';
const RECORD_VERSION = 'insert into sensorctl.schema_version (version) values ($1)';

const CREATE_SCHEMA = `
  create schema if not exists sensorctl;
  create table if not exists sensorctl.schema_version (
    version integer primary key,
    applied_at timestamptz not null default clock_timestamp()
  )`;

/** One file a migration, named by the version that it makes; each is text for psql. A file that was released never changes. */
const SQL_FOLDER = new URL('./sql/', import.meta.url);
const MIGRATIONS: readonly string[] = readdirSync(SQL_FOLDER)
  .filter((name) => name.endsWith('.sql'))
  .sort()
  .map((name) => readFileSync(new URL(name, SQL_FOLDER), 'utf8'));

export const BOOKKEEPING_VERSION = MIGRATIONS.length;

/** Creates or upgrades sensorctl's own schema; returns the version before and after. Safe to run from many processes. */
export async function migrateBookkeeping(database: Database): Promise<{ from: number; to: number }> {
  const { pool } = database;
  await assertOwnSchema(database);
  await createSchema(pool);
  return await withTransaction(pool, async (client) => {
    await client.query(PREPARE_ALONE);
    const { rows } = await client.query<{ version: number }>(READ_VERSION);
    const from = rows[0]?.version ?? 0;
    for (const [index, statements] of MIGRATIONS.entries()) {
      if (index < from) continue;
      await client.query(statements);
      await client.query(RECORD_VERSION, [index + 1]);
    }
    return { from, to: Math.max(from, BOOKKEEPING_VERSION) };
  });
}

/** Returns `migrateBookkeeping` as a script that a person can run any number of times; up to a version. */
export function bookkeepingScript(upTo = BOOKKEEPING_VERSION): string {
  const steps = MIGRATIONS.slice(0, upTo).map((statements, index) => {
    const version = index + 1;
    return `  if (${READ_VERSION}) < ${version} then
${statements}
    insert into sensorctl.schema_version (version) values (${version});
  end if;`;
  });
  return `${CREATE_SCHEMA};\n${PREPARE_ALONE};\ndo $sensorctl$ begin\n${steps.join('\n')}\nend $sensorctl$;`;
}

const CREATED_MEANWHILE = new Set(['23505', '42P06', '42P07']);

/** Two processes at once collide in the catalog; one of them has created it. */
async function createSchema(pool: Database['pool']): Promise<void> {
  await withRetries(() => pool.query(CREATE_SCHEMA), {
    attempts: 20,
    pauseMs: 0,
    retryIf: (error) => CREATED_MEANWHILE.has(sqlstateOf(error) ?? ''),
  });
}

/** Finds objects in the schema that are not its owner's, or run what is not: triggers, functions, and who may add more. */
const FIND_STRANGE = `
  with own as (select oid, nspowner, nspacl from pg_namespace where nspname = 'sensorctl')
  select 'relation ' || relname || ' of ' || pg_get_userbyid(relowner) as what
  from pg_class join own on own.oid = relnamespace where relowner <> nspowner
  union all
  select 'function ' || proname || ' of ' || pg_get_userbyid(proowner)
  from pg_proc join own on own.oid = pronamespace where proowner <> nspowner
  union all
  select 'trigger ' || tgname || ' on ' || relname from pg_trigger join pg_class on pg_class.oid = tgrelid
  join own on own.oid = relnamespace join pg_proc on pg_proc.oid = tgfoid
  where not tgisinternal and (pronamespace <> own.oid or proowner <> nspowner)
  union all
  select 'the right of ' || case grantee when 0 then 'everyone' else pg_get_userbyid(grantee) end || ' to create in it'
  from own cross join lateral aclexplode(nspacl) where privilege_type = 'CREATE' and grantee <> nspowner
  order by 1 limit 5`;

/** `init` makes no schema its own that somebody else has prepared. Who owns it every connection asks. */
async function assertOwnSchema({ pool, side }: Database): Promise<void> {
  const { rows } = await pool.query<{ what: string }>(FIND_STRANGE);
  if (rows.length === 0) return;
  const found = rows.map(({ what }) => what).join(', ');
  throw new ConflictError(`the schema sensorctl on ${sideTitle(side)} holds what is not sensorctl's: ${found}`, {
    code: 'schema-holds-foreign',
  });
}

/** Throws where `init` has not prepared a side for this version of sensorctl. */
export async function assertBookkeeping({ pool, side }: Database): Promise<void> {
  const version = await readBookkeepingVersion({ pool });
  const problem: Problem = { code: 'not-prepared', facts: { side } };
  if (version === 0) throw new UnreachableError(`the ${sideTitle(side)} database was never prepared`, problem);
  if (version < BOOKKEEPING_VERSION) {
    throw new UnreachableError(`sensorctl's schema on ${sideTitle(side)} is older than this version needs`, problem);
  }
}

/** The version that a database holds; 0 where sensorctl was never there. */
export async function readBookkeepingVersion({ pool }: { readonly pool: Queryable }): Promise<number> {
  const { rows } = await pool.query<{ exists: boolean }>(FIND_VERSIONS);
  if (rows[0]?.exists !== true) return 0;
  const versions = await pool.query<{ version: number }>(READ_VERSION);
  return versions.rows[0]?.version ?? 0;
}
