import { randomUUID } from 'node:crypto';
import type { Queryable } from '../../db/database.js';
import { formatInstantText, formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';

export type LedgerState = 'pending' | 'missed' | 'refused';

/** The ledger in figures, as every reader sees it: what a dead consumer left pending counts as missed. */
interface LedgerSummary {
  readonly table: string;
  readonly state: LedgerState;
  readonly entries: number;
  readonly readings: number;
}

/** A time range of a table in which the secondary may lack readings: ledger entries next to each other, seen as one. */
export interface Gap {
  readonly table: string;
  /** UTC text; `to` is exclusive. Null for rows that the ledger knows by their keys, wherever they lie. */
  readonly from: string | null;
  readonly to: string | null;
  readonly entries: number;
  /** Why, as one of its entries says. */
  readonly reason: string | null;
}

/** A reading that the secondary refused for good; the primary holds it. */
export interface RefusedReading {
  /** Names the entry, so that entering it twice changes nothing. */
  readonly entryId: string;
  readonly consumerId: string;
  readonly table: string;
  readonly sensorId: string;
  readonly time: string;
  readonly reason: string;
}

/** A refused reading before it is known whose batch it was in. */
export type Refusal = Omit<RefusedReading, 'consumerId'>;

/** A row that the secondary refused, and that the ledger knows by its key: the entry of its batch stays, as missed. */
export interface RefusedKey {
  readonly table: string;
  readonly key: readonly string[];
  readonly reason: string;
}

/** Enters settled entries as unproven, so that a comparison proves them: consumers touch most rows of a table that they update. */
export const enterUnprovenSql = (settled: string): string => `
  insert into sensorctl.unproven (table_name, times, whole_table)
  select table_name, coalesce(range_agg(range), '{}'), bool_or(keys is not null or gone is not null or whole_table)
  from ${settled} left join lateral unnest(times) as range on true
  group by table_name`;

const SETTLE = `
  with settled as (
    delete from sensorctl.ledger where entry_id in (
      -- What a repair holds it settles itself.
      select entry_id from sensorctl.ledger
      where batch_id = any($1::uuid[]) and not (keys is not null and batch_id = any($8::uuid[]))
      for update skip locked
    ) returning table_name, times, keys, gone, whole_table
  ), behind as (
    update sensorctl.ledger set state = 'missed', reason = 'a row of its batch was refused'
    where keys is not null and batch_id = any($8::uuid[]) and state = 'pending'
  ), refused as (
    insert into sensorctl.ledger (batch_id, consumer_id, table_name, sensor_id, times, reason, state, readings)
    select batch_id, consumer_id, table_name, sensor_id,
      tstzmultirange(tstzrange(time, time + interval '1 microsecond')), reason, 'refused', 1
    from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
      as refusal (batch_id, consumer_id, table_name, sensor_id, time, reason)
    where not exists (
      select from sensorctl.ledger as known
      where known.state = 'refused' and known.table_name = refusal.table_name and known.sensor_id = refusal.sensor_id
        and known.times @> refusal.time
    )
    on conflict do nothing
  )
  ${enterUnprovenSql('settled')}`;

const MARK_MISSED = `
  update sensorctl.ledger as entry set state = 'missed', reason = failure.reason
  from (
    select entry_id, failure.reason
    from sensorctl.ledger join unnest($1::uuid[], $2::text[]) as failure (batch_id, reason) using (batch_id)
    where state = 'pending' for update of ledger skip locked
  ) as failure
  where entry.entry_id = failure.entry_id`;

/** An entry younger than two seconds may belong to a batch whose commit its consumer has not heard of yet. */
const MARK_UNCLAIMED = `
  update sensorctl.ledger set state = 'missed', reason = 'the answer to its commit was lost'
  where entry_id in (
    select entry_id from sensorctl.ledger
    where consumer_id = $1 and state = 'pending' and batch_id <> all($2::uuid[])
      and committed_at < clock_timestamp() - interval '2 seconds'
    for update skip locked
  )`;

const SUMMARIZE = `
  select table_name as "table", state, count(*) as entries, sum(readings) as readings
  from sensorctl.ledger_state group by table_name, state order by table_name, state`;

/** Entries closer than a minute are shown as one gap. */
const READ_GAPS = `
  with missed as (
    select * from sensorctl.ledger_state where state <> 'pending'
      and not ($1::bigint is not null and entry_id > $1 and batch_id is null and state = 'missed')
  )
  select table_name as "table", min(start)::text as "from", max(stop)::text as "to", count(distinct entry_id) as entries,
    min(reason) as reason
  from (
    select *, count(*) filter (where start > reached + interval '1 minute') over (partition by table_name order by start) as gap
    from (
      select table_name, entry_id, reason, lower(times) as start, upper(times) as stop,
        max(upper(times)) over (
          partition by table_name order by lower(times) rows between unbounded preceding and 1 preceding
        ) as reached
      from (
        select table_name, entry_id, reason, unnest(times) as times from missed
      ) as ranges
    ) as neighbours
  ) as gaps
  group by table_name, gap
  union all
  select table_name, null, null, count(*), min(reason) from missed where isempty(times) group by table_name
  order by "table", "from"`;

/** An entry that has not settled, or a part of one: what it says of which rows. */
interface Unsettled {
  readonly state: LedgerState;
  /** The number of the transaction that entered it. */
  readonly enteredBy: number;
  /** Of another program, not of a consumer's batch: what it names is repaired whatever became of it since. */
  readonly ofWriter: boolean;
}

/** Rows that were added within a time. */
export interface UnsettledRange extends Unsettled, TimeRange {
  /** Set where the secondary refused this sensor's reading. */
  readonly sensorId: string | null;
}

/** One of the rows that were asked for, by its place among them. */
export interface UnsettledKey extends Unsettled {
  readonly place: number;
  /** It may be no more. */
  readonly gone: boolean;
}

/** What of the ledger could be seen at a time. */
export class LedgerView {
  readonly #from: number;
  readonly #to: number;
  readonly #open: ReadonlySet<number>;

  /** By the text of a pg_snapshot. */
  constructor(snapshot: string) {
    const [from, to, open] = snapshot.split(':');
    [this.#from, this.#to] = [Number(from), Number(to)];
    this.#open = new Set((open ?? '').split(',').map(Number));
  }

  shows({ enteredBy }: Pick<Unsettled, 'enteredBy'>): boolean {
    return enteredBy < this.#from || (enteredBy < this.#to && !this.#open.has(enteredBy));
  }
}

const FIND_LEDGER = `
  select exists (
    select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = 'sensorctl' and relname = 'ledger_state'
  ) as exists`;

const READ_UNSETTLED = `
  select state, entered_by::text::bigint as "enteredBy", batch_id is null as "ofWriter", sensor_id as "sensorId",
    (extract(epoch from lower(range)) * 1000000)::bigint as "from",
    (extract(epoch from upper(range)) * 1000000)::bigint as "to"
  from (
    select state, entered_by, batch_id, sensor_id, unnest(times) as range from sensorctl.ledger_state
    where table_name = $1 and times && $2::tstzmultirange
  ) as entries
  where range && $2::tstzmultirange`;

/** Texts of the given types as their columns print them, so that a key is found however it is written. */
const readUnsettledKeysSql = (types: readonly string[]): string => `
  with wanted as (
    select place::int - 1 as place,
      jsonb_build_array(${types.map((type, index) => `(given.key::json ->> ${index})::${type}::text`).join(', ')}) as key
    from unnest($2::text[]) with ordinality as given (key, place)
  )
  select state, entered_by::text::bigint as "enteredBy", batch_id is null as "ofWriter", place, is_gone as gone
  from (
    select state, entered_by, batch_id, place, true as is_gone from sensorctl.ledger_state cross join wanted
    where table_name = $1 and whole_table
    union all
    select state, entered_by, batch_id, place, is_gone from sensorctl.ledger_state
    cross join lateral (
      select jsonb_array_elements(keys) as key, false as is_gone union all select jsonb_array_elements(gone), true
    ) as named
    join wanted on wanted.key = named.key
    where table_name = $1 and (keys is not null or gone is not null)
  ) as entries`;

/** As of one statement, which comes after what the caller has read. */
const READ_VIEW = 'select pg_current_snapshot()::text as snapshot';

const NEWEST_ENTRY = 'select coalesce(max(entry_id), 0)::bigint as newest from sensorctl.ledger_state';

/** Whether sensorctl keeps a ledger in this database. */
export async function hasLedger(primary: Queryable): Promise<boolean> {
  const { rows } = await primary.query<{ exists: boolean }>(FIND_LEDGER);
  return rows[0]?.exists === true;
}

/** Reads the unsettled entries for these ranges of a table, as the reader's snapshot sees them. */
export async function readUnsettled(
  primary: Queryable,
  table: string,
  ranges: readonly TimeRange[],
): Promise<UnsettledRange[]> {
  const texts = ranges.map(({ from, to }) => `[${formatInstant(from)},${formatInstant(to)})`);
  const { rows } = await primary.query<UnsettledRange & Record<string, unknown>>(READ_UNSETTLED, [
    table,
    `{${texts.join(',')}}`,
  ]);
  return rows;
}

/** Reads the unsettled entries for rows of a table by their keys, given as texts with their types, in the reader's snapshot. */
export async function readUnsettledKeys(
  primary: Queryable,
  table: string,
  { types, keys }: { readonly types: readonly string[]; readonly keys: readonly (readonly (string | null)[])[] },
): Promise<UnsettledKey[]> {
  if (keys.length === 0) return [];
  const texts = keys.map((key) => JSON.stringify(key));
  const { rows } = await primary.query<UnsettledKey & Record<string, unknown>>(readUnsettledKeysSql(types), [
    table,
    texts,
  ]);
  return rows;
}

/** What of the ledger can be seen now. */
export async function readLedgerView(primary: Queryable): Promise<LedgerView> {
  const { rows } = await primary.query<{ snapshot: string }>(READ_VIEW);
  return new LedgerView(rows[0]?.snapshot ?? '0:0:');
}

/** The newest entry that the reader's snapshot sees; 0 where there is none. */
export async function readNewestEntry(primary: Queryable): Promise<number> {
  const { rows } = await primary.query<{ newest: number }>(NEWEST_ENTRY);
  return rows[0]?.newest ?? 0;
}

/** The part of some batches that the secondary refused. */
export interface BatchRefusals {
  readonly readings: readonly RefusedReading[];
  /** Batches of which rows were refused that the ledger knows by their keys: these entries stay, as missed. */
  readonly batchIds: readonly string[];
}

/**
 * Takes batches that the secondary confirmed out of the ledger, all but the readings that it refused; what they touched
 * stays on record as unproven.
 */
export async function settleBatches(
  primary: Queryable,
  batchIds: readonly string[],
  { readings: refusals, batchIds: refusedIn }: BatchRefusals = { readings: [], batchIds: [] },
): Promise<void> {
  const column = (value: (refusal: RefusedReading) => string): string[] => refusals.map(value);
  await primary.query(SETTLE, [
    batchIds,
    column((refusal) => refusal.entryId),
    column((refusal) => refusal.consumerId),
    column((refusal) => refusal.table),
    column((refusal) => refusal.sensorId),
    column((refusal) => refusal.time),
    column((refusal) => refusal.reason),
    refusedIn,
  ]);
}

/** Enters readings that the secondary refused for good, found by a repair: under which consumer does not matter any more. */
export async function enterRefused(primary: Queryable, refusals: readonly Refusal[]): Promise<void> {
  if (refusals.length === 0) return;
  const consumerId = randomUUID();
  const readings = refusals.map((refusal) => ({ ...refusal, consumerId }));
  await settleBatches(primary, [], { readings, batchIds: [] });
}

/** Enters that the secondary lacks these batches, with the reason for each. */
export async function markMissed(primary: Queryable, failures: ReadonlyMap<string, string>): Promise<void> {
  await primary.query(MARK_MISSED, [[...failures.keys()], [...failures.values()]]);
}

/**
 * Marks as missed what this consumer has pending but does not hold: a commit whose answer was lost.
 * `held` are the batches it is writing or sending. Returns how many entries were found.
 */
export async function markUnclaimed(primary: Queryable, consumerId: string, held: readonly string[]): Promise<number> {
  const { rowCount } = await primary.query(MARK_UNCLAIMED, [consumerId, held]);
  return rowCount ?? 0;
}

/** Keeps the ledger, and the record of what has to be proved, small, however long dual write runs or the secondary is away. */
export async function compactLedger(primary: Queryable): Promise<void> {
  await primary.query('select sensorctl.compact_unproven()');
  await primary.query('select sensorctl.compact_keys()');
}

export async function summarizeLedger(primary: Queryable): Promise<LedgerSummary[]> {
  const { rows } = await primary.query<Record<keyof LedgerSummary, unknown>>(SUMMARIZE);
  return rows.map((row) => ({ ...row, readings: Number(row.readings) })) as LedgerSummary[];
}

/**
 * What the secondary may lack, as merged ranges in time order; empty when it lacks nothing. Without what other programs
 * have entered after `upTo`, where that is given.
 */
export async function readGaps(primary: Queryable, upTo: number | null = null): Promise<Gap[]> {
  const { rows } = await primary.query<Gap & Record<string, unknown>>(READ_GAPS, [upTo]);
  const readable = (time: string | null): string | null => (time === null ? null : formatInstantText(time));
  return rows.map((gap) => ({ ...gap, from: readable(gap.from), to: readable(gap.to) }));
}
