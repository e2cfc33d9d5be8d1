import type { Queryable } from '../db/database.js';

/** The ledger in figures, as every reader sees it: what a dead consumer left pending counts as missed. */
export interface LedgerSummary {
  readonly table: string;
  readonly state: 'pending' | 'missed';
  readonly entries: number;
  readonly readings: number;
  /** UTC text of the earliest and the latest reading time touched; the latter is exclusive. */
  readonly from: string;
  readonly to: string;
}

const SETTLE = `
  with settled as (
    delete from sensorctl.ledger where batch_id = any($1::uuid[]) returning table_name, times
  )
  insert into sensorctl.unproven (table_name, times)
  select table_name, range_agg(times) from (select table_name, unnest(times) as times from settled) as ranges
  group by table_name`;

const MARK_MISSED = `
  update sensorctl.ledger as entry set state = 'missed', reason = failure.reason
  from unnest($1::uuid[], $2::text[]) as failure (batch_id, reason)
  where entry.batch_id = failure.batch_id and entry.state = 'pending'`;

/** An entry younger than this may belong to a batch whose commit its consumer has not heard of yet. */
const UNCLAIMED_AGE = "interval '2 seconds'";

const MARK_UNCLAIMED = `
  update sensorctl.ledger set state = 'missed', reason = 'the answer to its commit was lost'
  where consumer_id = $1 and state = 'pending' and batch_id <> all($2::uuid[])
    and committed_at < clock_timestamp() - ${UNCLAIMED_AGE}`;

const SUMMARIZE = `
  select table_name as "table", state, count(*)::int as entries, sum(readings)::int as readings,
    lower(range_merge(range_agg(times)))::text as "from", upper(range_merge(range_agg(times)))::text as "to"
  from (
    select entry_id, table_name, readings, range_merge(times) as times,
      case when state = 'pending' and exists (
        select from sensorctl.consumer
        where consumer.consumer_id = ledger.consumer_id and ended_at is null and lease_until > clock_timestamp()
      ) then 'pending' else 'missed' end as state
    from sensorctl.ledger
  ) as entries
  group by table_name, state order by table_name, state`;

/** Takes batches that the secondary confirmed out of the ledger; what they touched stays on record as unproven. */
export async function settleBatches(primary: Queryable, batchIds: readonly string[]): Promise<void> {
  await primary.query(SETTLE, [batchIds]);
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

export async function summarizeLedger(primary: Queryable): Promise<LedgerSummary[]> {
  return (await primary.query<LedgerSummary & Record<string, unknown>>(SUMMARIZE)).rows;
}
