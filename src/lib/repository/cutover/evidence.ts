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
  /** When the newest identical one of every table and all times began (UTC text); null for none ever. */
  readonly everythingProven: string | null;
}

const READ_CONSUMERS = `
  select host, pid, write_mode as "writeMode", extract(epoch from clock_timestamp() - lease_until)::float8::text as silent
  from sensorctl.consumer where ended_at is null order by started_at`;

/**
 * Of the comparisons of these two databases. Everything is proven by one that began once every batch entered the ledger:
 * what was written before stands in none. One with another database has taken off the record what it proved of that one.
 * In either order, and both of them: the copy of a server's files bears the same name as that one.
 */
const READ_VERDICTS = `
  with finished as (
    select comparison_id, started_at, finished_at, scope, ${UNACCOUNTED_ROWS} > 0 as different,
      verdict = 'identical' as identical, scope->'between' @> $3::jsonb and scope->'between' <@ $3::jsonb as ours
    from sensorctl.comparison where finished_at is not null
  ), trusted as (
    select greatest(
      least((select min(changed_at) from sensorctl.state_history), (select min(began_at) from sensorctl.migration)),
      (select max(finished_at) from finished where ours is not true)
    ) as since
  )
  select (select count(*) from finished where ours and identical and finished_at >= $1)::int as identical,
    (select max(finished_at) from finished where ours and different and finished_at >= $1)::text as different,
    (select max(started_at) from finished where ours and identical and started_at >= (select since from trusted)
      and scope->>'from' is null and scope->>'to' is null and scope->>'windowMicros' is null
      and scope->'tables' @> $2::jsonb)::text as "everythingProven"`;

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

/** `tables` are those that a comparison of everything names, `between` the identities of the databases compared. */
export async function readVerdicts(
  primary: Queryable,
  { since, tables, between }: { since: string; tables: readonly string[]; between: readonly string[] },
): Promise<Verdicts> {
  const values = [since, JSON.stringify(tables), JSON.stringify(between)];
  const { rows } = await primary.query<Verdicts & Record<string, unknown>>(READ_VERDICTS, values);
  const { identical = 0, different = null, everythingProven = null } = rows[0] ?? {};
  const readable = (time: string | null): string | null => (time === null ? null : formatInstantText(time));
  return { identical, different: readable(different), everythingProven: readable(everythingProven) };
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
