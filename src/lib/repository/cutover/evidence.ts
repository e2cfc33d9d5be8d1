import type { Queryable } from '../../db/database.js';
import { formatInstantText } from '../../domain/time.js';
import { UNACCOUNTED_ROWS } from '../compare/comparison-record.js';

/** A consumer that did not record its end. */
export interface UnendedConsumer {
  readonly host: string;
  readonly pid: number;
  readonly writeMode: string;
  /** Time since its lease ran out, in s; negative while it holds. */
  readonly silentSeconds: number;
}

/** The verdicts of the comparisons that finished since a time. */
export interface Verdicts {
  readonly identical: number;
  /** When the newest one that found something unexplained, extra or different finished (UTC text); null for none. */
  readonly different: string | null;
}

/** What comparisons have found in one table since the migration began. */
export interface TableProof {
  readonly table: string;
  /** When the newest comparison of all of it that found nothing began (UTC text), and how long ago it ended, in s. */
  readonly proven: string;
  readonly ageSeconds: number;
  /** How long ago it began, in s. */
  readonly begunSeconds: number;
  /** When a later one that found something ended, of whatever part of it (UTC text). */
  readonly different: string | null;
}

const READ_CONSUMERS = `
  select host, pid, write_mode as "writeMode", extract(epoch from clock_timestamp() - lease_until)::float8::text as silent
  from sensorctl.consumer where ended_at is null order by started_at`;

/**
 * Comparisons of these two databases, in either order, and both of them: the copy of a server's files bears the same name
 * as that one.
 */
const FINISHED = `
  select comparison_id, started_at, finished_at, scope, report, ${UNACCOUNTED_ROWS} > 0 as different,
    verdict = 'identical' as identical, scope->'between' @> $1::jsonb and scope->'between' <@ $1::jsonb as ours
  from sensorctl.comparison where finished_at is not null`;

const READ_VERDICTS = `
  with finished as (${FINISHED})
  select (select count(*) from finished where ours and identical and finished_at >= $2)::int as identical,
    (select max(finished_at) from finished where ours and different and finished_at >= $2)::text as different`;

/**
 * A table is proven by a comparison that began once every batch entered the ledger: what was written before stands in
 * none. One with another database has taken off the record what it proved of that one. A comparison proves what it
 * compared whole, whatever it found in other tables. Of a tracked table one counts that began after its triggers were made:
 * what was written before stands in no entry.
 */
const READ_PROOFS = `
  with finished as (${FINISHED}), trusted as (
    select greatest(
      least((select min(changed_at) from sensorctl.state_history), (select min(began_at) from sensorctl.migration)),
      (select max(finished_at) from finished where ours is not true)
    ) as since
  ), found as (
    select entry->>'table' as name, started_at, finished_at,
      coalesce((entry->>'whole')::boolean, scope->>'from' is null and scope->>'to' is null and scope->>'windowMicros' is null) as whole,
      (entry->>'missingOnEc2')::bigint + (entry->>'missingOnLocal')::bigint + (entry->>'different')::bigint
        > (entry->>'pending')::bigint + (entry->>'knownGap')::bigint as different,
      (entry->>'knownGap')::bigint as gaps
    from finished cross join lateral jsonb_array_elements(report->'tables') as entry where ours
  ), proof as (
    select distinct on (name) name, started_at, finished_at from trusted, found
    left join sensorctl.tracked_table as tracked on tracked.table_name = found.name
    where whole and not different and gaps = 0 and started_at >= trusted.since
      and (tracked.tracked_at is null or started_at >= tracked.tracked_at)
    order by name, started_at desc
  )
  select name as table, started_at::text as proven,
    extract(epoch from clock_timestamp() - finished_at)::float8::text as age,
    extract(epoch from clock_timestamp() - started_at)::float8::text as begun,
    (select max(found.finished_at) from found
      where found.name = proof.name and found.different and found.finished_at >= proof.started_at)::text as different
  from proof`;

const COUNT_CONSUMERS_SINCE = `
  select count(*)::int as consumers from sensorctl.consumer
  where coalesce(ended_at, lease_until) >= $1 and write_mode = 'dual-write'`;

const READ_AGE = `select extract(epoch from clock_timestamp() - $1::timestamptz)::float8::text as seconds`;

const READ_TIME_BEFORE = 'select (clock_timestamp() - make_interval(secs => $1::float8 / 1000))::text as time';

/** The time so many ms ago by the clock of the database, as UTC text. */
export async function readTimeBefore(database: Queryable, ms: number): Promise<string> {
  const { rows } = await database.query<{ time: string }>(READ_TIME_BEFORE, [ms]);
  return rows[0]?.time ?? '';
}

export async function readConsumers(primary: Queryable): Promise<UnendedConsumer[]> {
  const { rows } = await primary.query<Omit<UnendedConsumer, 'silentSeconds'> & { silent: string }>(READ_CONSUMERS);
  return rows.map(({ silent, ...consumer }) => ({ ...consumer, silentSeconds: Number(silent) }));
}

/** `between` are the identities of the databases compared. */
export async function readVerdicts(
  primary: Queryable,
  { since, between }: { since: string; between: readonly string[] },
): Promise<Verdicts> {
  const values = [JSON.stringify(between), since];
  const { rows } = await primary.query<Verdicts & Record<string, unknown>>(READ_VERDICTS, values);
  const { identical = 0, different = null } = rows[0] ?? {};
  return { identical, different: readable(different) };
}

/** The newest proof of each table that has one; `between` are the identities of the databases compared. */
export async function readProofs(
  primary: Queryable,
  between: readonly string[],
): Promise<ReadonlyMap<string, TableProof>> {
  const { rows } = await primary.query<{
    table: string;
    proven: string;
    age: string;
    begun: string;
    different: string | null;
  }>(READ_PROOFS, [JSON.stringify(between)]);
  const proofs = rows.map(({ table, proven, age, begun, different }): TableProof => {
    const seconds = { ageSeconds: Number(age), begunSeconds: Number(begun) };
    return { table, proven: formatInstantText(proven), ...seconds, different: readable(different) };
  });
  return new Map(proofs.map((proof) => [proof.table, proof]));
}

function readable(time: string | null): string | null {
  return time === null ? null : formatInstantText(time);
}

/** Consumers in dual write that were alive since a time. */
export async function countConsumersSince(primary: Queryable, since: string): Promise<number> {
  const { rows } = await primary.query<{ consumers: number }>(COUNT_CONSUMERS_SINCE, [since]);
  return rows[0]?.consumers ?? 0;
}

/** How long ago a time was by the clock of the database, in s. */
export async function readAgeSeconds(database: Queryable, time: string): Promise<number> {
  const { rows } = await database.query<{ seconds: string }>(READ_AGE, [time]);
  return Number(rows[0]?.seconds);
}
