import { UsageError } from '../errors.js';
import type { Queryable } from './database.js';

/** Servers differ by when they started: a copy of a server (pg_basebackup) has the same system identifier. */
const READ_INSTANCE = `
  select pg_postmaster_start_time()::text || ' ' || oid::text as name from pg_database where datname = current_database()`;

const READ_IDENTITY = `
  select system_identifier::text || ' ' || oid::text as name
  from pg_database cross join pg_control_system() where datname = current_database()`;

/** Throws a UsageError where both sides are one database: it would always hold what it holds. */
export async function assertDistinct(one: Queryable, other: Queryable): Promise<void> {
  const [name, otherName] = await Promise.all([one, other].map((side) => readName(side, READ_INSTANCE)));
  if (name !== otherName) return;
  throw new UsageError('local and EC2 are one and the same database', {
    code: 'sides-are-one',
  });
}

/** The same where either side may be away: the question is then left open. */
export async function assertDistinctIfKnown(one: Queryable, other: Queryable): Promise<void> {
  await assertDistinct(one, other).catch((error: unknown) => {
    if (error instanceof UsageError) throw error;
  });
}

/** Names a database, whatever host and port lead to it, and however often its server is restarted. */
export async function readIdentity(database: Queryable): Promise<string> {
  return await readName(database, READ_IDENTITY);
}

async function readName(database: Queryable, text: string): Promise<string> {
  return (await database.query<{ name: string }>(text)).rows[0]?.name ?? '';
}
