// Two sides whose schemas are compared in this process, and what is asked of the answer.
import type pg from 'pg';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { Side } from '../../src/lib/domain/side.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import type { Finding } from '../../src/lib/operations/verify-schema/finding.js';
import type { SchemaVerdict } from '../../src/lib/operations/verify-schema/verify-schema.js';
import type { Stage } from './cli.js';

export interface Sides {
  readonly local: Database;
  readonly ec2: Database;
}

const POOL_MAX = 4;

/** Everything that statements could have changed in a catalog. */
const FINGERPRINT = `
  select md5(string_agg(c, '' order by c)) as item from (
    select c::text as c from pg_class as c where relnamespace not in ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    union all select a::text from pg_attribute as a where attrelid >= 16384
    union all select p::text from pg_proc as p where oid >= 16384
    union all select n::text from pg_namespace as n union all select r::text from pg_db_role_setting as r
  ) as c`;

export function openSides({ connections }: Stage, login: { user?: string; password?: string } = {}): Sides {
  const open = (side: Side): Database =>
    openDatabase({
      ...{ side, connection: { ...connections[side], ...login }, poolMax: POOL_MAX, callTimeoutMs: 15_000 },
      catalogsOnly: true,
      applicationName: 'verify-schema test',
    });
  return { local: open('local'), ec2: open('ec2') };
}

export async function closeSides({ local, ec2 }: Sides): Promise<void> {
  await Promise.all([closeDatabase(local), closeDatabase(ec2)]);
}

export async function prepareBoth({ local, ec2 }: Sides): Promise<void> {
  await Promise.all([local, ec2].map((side) => prepareSide(side, { addKeys: false })));
}

/** Makes a side without TimescaleDB what `init` makes of an empty database. */
export async function reset(pool: pg.Pool, database: Database): Promise<void> {
  await pool.query('drop schema if exists sensorctl cascade; drop schema public cascade');
  await pool.query('create schema public; grant usage on schema public to public');
  await prepareSide(database, { addKeys: false });
}

export async function fingerprint(pool: pg.Pool): Promise<string> {
  return (await pool.query<{ item: string }>(FINGERPRINT)).rows[0]!.item;
}

export function isAbout(finding: Finding, table: string | null, subject: string | RegExp): boolean {
  if (finding.table !== table) return false;
  return typeof subject === 'string' ? finding.subject === subject : subject.test(finding.subject);
}

export function blocking({ findings }: SchemaVerdict): Finding[] {
  return findings.filter(({ weight }) => weight === 'blocks');
}
