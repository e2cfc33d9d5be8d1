import type pg from 'pg';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { onOneConnection, withTransaction } from '../../db/transaction.js';
import { backoff, withRetries } from '../../domain/retry.js';
import type { Role, Side } from '../../domain/side.js';
import { readTimescaleDb } from '../tables/server-facts.js';
import { tableSql, type Table, type TableName } from '../tables/table.js';
import { readTracked } from '../tables/written-tables.js';
import { readTrackedRelations } from './tracked-relations.js';
import { planTriggers, type PlannedTrigger } from './trigger-plan.js';

/** How far a table of one side is tracked. */
export interface Tracking {
  readonly table: Table;
  readonly planned: readonly PlannedTrigger[];
  /** Since when, by that side's clock; null where it was never tracked. */
  readonly trackedAt: string | null;
  /** The same as a duration until now, in s. */
  readonly trackedSeconds: number | null;
  /** Why a writer may pass unseen, or what was proven does not count any more; none where all triggers are whole. */
  readonly problems: readonly string[];
  /** The triggers of partitions that were made or attached since; empty where anything else is wrong. */
  readonly ofNewPartitions: readonly PlannedTrigger[];
}

export function isTracked({ trackedAt, problems }: Tracking): boolean {
  return trackedAt !== null && problems.length === 0;
}

interface FoundTrigger extends Record<string, unknown> {
  readonly table: number;
  readonly schema: string;
  readonly relation: string;
  readonly name: string;
  readonly function: string;
  /** The arguments, each ended by a zero byte. */
  readonly arguments: string;
  readonly enabled: boolean;
  /** Chunks whose rows it does not see. */
  readonly blindChunks: number;
}

/** Triggers of chunks are copies that TimescaleDB makes of row triggers. $1, $2: relations and the tables that they belong to. */
const FIND_TRIGGERS = `
  select given."table"::int8 as "table", s.nspname as schema, c.relname as relation, t.tgname as name, f.proname as function,
    encode(t.tgargs, 'hex') as arguments, t.tgenabled in ('O', 'A') as enabled,
    case when t.tgtype & 1 = 1 then (
      select count(*) from pg_inherits as i join pg_class as chunk on chunk.oid = i.inhrelid
      where i.inhparent = t.tgrelid and chunk.relkind = 'r' and not exists (
        select from pg_trigger as copy where copy.tgrelid = chunk.oid and copy.tgname = t.tgname and copy.tgenabled in ('O', 'A')
      ) and exists (select from pg_namespace as home where home.oid = chunk.relnamespace and home.nspname like '\\_timescaledb%')
    ) else 0 end as "blindChunks"
  from unnest($1::oid[], $2::oid[]) as given (oid, "table")
  join pg_trigger as t on t.tgrelid = given.oid join pg_class as c on c.oid = t.tgrelid
  join pg_namespace as s on s.oid = c.relnamespace join pg_proc as f on f.oid = t.tgfoid
  join pg_namespace as fs on fs.oid = f.pronamespace
  where fs.nspname = 'sensorctl' and not t.tgisinternal
  order by 1, 2, 3, 4`;

const VERSIONS = `
  select given."table"::int8 as "table", md5(string_agg(t.oid || ':' || t.xmin, ',' order by t.oid)) as versions
  from unnest($1::oid[], $2::oid[]) as given (oid, "table")
  join pg_trigger as t on t.tgrelid = given.oid join pg_proc as f on f.oid = t.tgfoid
  join pg_namespace as fs on fs.oid = f.pronamespace
  where fs.nspname = 'sensorctl' and not t.tgisinternal group by 1`;

const READ_RECORDED = `
  select table_name as "table", tracked_at::text as "trackedAt", versions,
    extract(epoch from clock_timestamp() - tracked_at)::float8 as "trackedSeconds" from sensorctl.tracked_table`;

interface Recorded extends Record<string, unknown> {
  readonly table: string;
  readonly trackedAt: string;
  readonly trackedSeconds: number;
  readonly versions: string;
}

/** Reads from the catalogs of a prepared side how these tables are tracked. */
export async function readTracking(
  { side, pool }: Pick<Database, 'side' | 'pool'>,
  tables: readonly Table[],
): Promise<Tracking[]> {
  return await onOneConnection(pool, async (client) => await readTrackingThrough(client, side, tables));
}

async function readTrackingThrough(client: Queryable, side: Side, tables: readonly Table[]): Promise<Tracking[]> {
  const [{ installed }, relations] = await Promise.all([readTimescaleDb(client), readTrackedRelations(client, tables)]);
  const places = [relations.map(({ oid }) => oid), relations.map(({ table }) => table)];
  const [{ rows: found }, { rows: versions }, { rows: recorded }] = await Promise.all([
    client.query<FoundTrigger>(FIND_TRIGGERS, places),
    client.query<{ table: number; versions: string }>(VERSIONS, places),
    client.query<Recorded>(READ_RECORDED),
  ]);
  return tables.map((table) => {
    const planned = relations
      .filter((relation) => relation.table === table.oid)
      .flatMap((relation) => planTriggers(table, relation, { side, timescaleDb: installed }));
    const record = recorded.find((each) => each.table === table.label);
    const present = found.filter((trigger) => trigger.table === table.oid);
    const problems = compareTriggers(planned, present);
    const version = versions.find((each) => each.table === table.oid)?.versions;
    const altered = record !== undefined && problems.length === 0 && version !== record.versions;
    const bare = planned.filter(
      ({ relation }) => !present.some((each) => each.schema === relation.schema && each.relation === relation.name),
    );
    const isRestWhole = version === record?.versions && bare.length === problems.length;
    return {
      table,
      planned,
      trackedAt: record?.trackedAt ?? null,
      trackedSeconds: record?.trackedSeconds ?? null,
      problems: altered ? ['its triggers were altered since they were made'] : problems,
      ofNewPartitions: record !== undefined && isRestWhole ? bare : [],
    };
  });
}

function compareTriggers(planned: readonly PlannedTrigger[], found: readonly FoundTrigger[]): string[] {
  const isAt = ({ relation, name }: PlannedTrigger, trigger: FoundTrigger): boolean =>
    relation.schema === trigger.schema && relation.name === trigger.relation && name === trigger.name;
  const lacking = planned.flatMap((each) => {
    const trigger = found.find((other) => isAt(each, other));
    const named = `trigger ${each.name} on ${each.relation.name}`;
    if (trigger === undefined) return [`${named} does not exist`];
    if (trigger.function !== each.function || argumentsText(each) !== trigger.arguments)
      return [`${named} is for another table or key`];
    if (!trigger.enabled) return [`${named} is disabled`];
    return trigger.blindChunks > 0 ? [`${named} is missing on ${trigger.blindChunks} of its chunks`] : [];
  });
  const surplus = found.filter((trigger) => !planned.some((each) => isAt(each, trigger)));
  return [
    ...lacking,
    ...surplus.map(({ name, relation }) => `trigger ${name} on ${relation} does not fit the table any more`),
  ];
}

function argumentsText({ arguments: given }: PlannedTrigger): string {
  return Buffer.from(given.map((each) => `${each}\0`).join('')).toString('hex');
}

/** Whether a table was ever tracked on this side, whole or not: what follows of that is to be done. */
export async function isRecordedAsTracked(database: Queryable, label: string): Promise<boolean> {
  return (await readTracked(database)).has(label);
}

/** Others wait behind us for the table: so one try is short, and there are many. */
const LOCK_TIMEOUT = "set local lock_timeout = '2s'";
const TRIES = 15;
const LOCK_POLICY = { attempts: TRIES, pauseMs: backoff(500, 4_000), retryIf: isLockTimeout };

const RECORD_TRACKED = `
  insert into sensorctl.tracked_table (table_name, versions) values ($1, $2)
  on conflict (table_name) do update set tracked_at = excluded.tracked_at, versions = excluded.versions`;

/** Entries by a key that the table no longer has cannot be found by it: they enter the whole table instead. */
const REPLACE_KEYED = `
  with named as (
    delete from sensorctl.ledger
    where table_name = $1 and state <> 'refused' and batch_id is null and (keys is not null or gone is not null) returning 1
  )
  insert into sensorctl.ledger (table_name, state, reason, times, readings, whole_table)
  select $1, 'missed', 'its key changed', '{}', count(*), true from named having count(*) > 0`;

/** Makes the triggers of a table anew, all in one transaction; throws where the table was locked at every try. */
export async function trackTable({ pool }: Pick<Database, 'pool'>, { table, planned }: Tracking): Promise<void> {
  const track = async (client: pg.PoolClient): Promise<void> => {
    await client.query(LOCK_TIMEOUT);
    const relations = await readTrackedRelations(client, [table]);
    const places = [relations.map(({ oid }) => oid), relations.map(({ table: root }) => root)];
    const { rows: before } = await client.query<FoundTrigger>(FIND_TRIGGERS, places);
    await dropTriggers(client, before);
    for (const { statement } of planned) await client.query(statement);
    if (table.hypertable === null) await enableAlways(client, planned);
    const { rows } = await client.query<{ versions: string }>(VERSIONS, places);
    await client.query(RECORD_TRACKED, [table.label, rows[0]?.versions ?? '']);
    if (hasOtherKey(before, planned)) await client.query(REPLACE_KEYED, [table.label]);
  };
  await withRetries(() => withTransaction(pool, track), LOCK_POLICY);
}

const RECORD_VERSIONS = `update sensorctl.tracked_table set versions = $2 where table_name = $1`;

/** What was written to the partition before its triggers stands in no entry. */
const ENTER_WHOLE = `
  insert into sensorctl.ledger (table_name, state, reason, times, readings, whole_table)
  values ($1, 'missed', 'it has a new partition', '{}', 0, true)`;

/**
 * Gives the partitions that a tracked table got since their triggers, and enters the table whole where this side is the
 * primary. What is proven of it counts as before: the entry says what is not.
 */
export async function trackNewPartitions(
  { pool }: Pick<Database, 'pool'>,
  { table, ofNewPartitions }: Tracking,
  role: Role,
): Promise<void> {
  await withTransaction(pool, async (client) => {
    await client.query(LOCK_TIMEOUT);
    for (const { statement } of ofNewPartitions) await client.query(statement);
    await enableAlways(client, ofNewPartitions);
    const relations = await readTrackedRelations(client, [table]);
    const places = [relations.map(({ oid }) => oid), relations.map(({ table: root }) => root)];
    const { rows } = await client.query<{ versions: string }>(VERSIONS, places);
    await client.query(RECORD_VERSIONS, [table.label, rows[0]?.versions ?? '']);
    if (role === 'primary') await client.query(ENTER_WHOLE, [table.label]);
  });
}

/** So they fire for what a subscription or a session in replica role writes, too; TimescaleDB refuses that. */
async function enableAlways(client: Queryable, planned: readonly PlannedTrigger[]): Promise<void> {
  for (const { relation, name } of planned) {
    await client.query(
      `alter table only ${tableSql({ name: relation })} enable always trigger ${quoteIdentifier(name)}`,
    );
  }
}

function hasOtherKey(before: readonly FoundTrigger[], planned: readonly PlannedTrigger[]): boolean {
  return planned.some((each) => {
    const was = before.find(
      ({ schema, relation, name }) =>
        schema === each.relation.schema && relation === each.relation.name && name === each.name,
    );
    return was !== undefined && each.function.startsWith('enter_') && was.arguments !== argumentsText(each);
  });
}

async function dropTriggers(client: Queryable, triggers: readonly FoundTrigger[]): Promise<void> {
  for (const { schema, relation, name } of triggers) {
    await client.query(`drop trigger ${quoteIdentifier(name)} on ${tableSql({ name: { schema, name: relation } })}`);
  }
}

/** Every relation that has triggers of ours, whatever became of its table. Copies in chunks go with those of the hypertable. */
const FIND_TRIGGERED = `
  select distinct c.oid::int8 as oid, s.nspname as schema, c.relname as name
  from pg_trigger as t join pg_class as c on c.oid = t.tgrelid join pg_namespace as s on s.oid = c.relnamespace
  join pg_proc as f on f.oid = t.tgfoid join pg_namespace as fs on fs.oid = f.pronamespace
  where fs.nspname = 'sensorctl' and not t.tgisinternal and s.nspname <> 'sensorctl' and s.nspname not like '\\_timescaledb%'
  order by 1`;

/** Takes all triggers of ours off a side, one relation after the other; answers the relations. */
export async function untrackAll({ pool }: Pick<Database, 'pool'>): Promise<TableName[]> {
  const { rows: relations } = await pool.query<TableName & { oid: number }>(FIND_TRIGGERED);
  for (const { oid } of relations) {
    const untrack = async (client: pg.PoolClient): Promise<void> => {
      await client.query(LOCK_TIMEOUT);
      const { rows } = await client.query<FoundTrigger>(FIND_TRIGGERS, [[oid], [oid]]);
      await dropTriggers(client, rows);
    };
    await withRetries(() => withTransaction(pool, untrack), LOCK_POLICY);
  }
  return relations.map(({ schema, name }) => ({ schema, name }));
}
