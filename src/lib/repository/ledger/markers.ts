import type { Database } from '../../db/database.js';
import type { Statement } from '../../db/transaction.js';

/**
 * Batch markers make writes to a table without a unique key repeatable; the secondary holds them.
 *
 * A consumer holds the markers while it writes; whoever records one dead takes them alone. So when the record stands, no
 * transaction of that consumer is under way, and each later one sees it: its markers can go.
 */

const HOLD_MARKERS = 'lock table sensorctl.batch_marker in row exclusive mode';
const LOCK_TABLE = `
  insert into sensorctl.repair_turn (table_name) values ($1)
  on conflict (table_name) do update set table_name = excluded.table_name`;

const COUNT_WRITTEN = 'select count(*) as written from sensorctl.batch_marker where batch_id = $1 and not by_repair';

const TAKE_OVER = `
  insert into sensorctl.batch_marker (batch_id, table_name, consumer_id, by_repair)
  select batch_id, $1, consumer_id, true from unnest($2::uuid[], $3::uuid[]) as entry (batch_id, consumer_id)
  order by batch_id
  on conflict do nothing`;

const FIND_ENDED = `
  update sensorctl.consumer set ended_at = coalesce(ended_at, clock_timestamp())
  where consumer_id = any ($1::uuid[]) and (ended_at is not null or lease_until < clock_timestamp())
  returning consumer_id`;

const FIND_MARKED = 'select distinct consumer_id from sensorctl.batch_marker';
const RECORD_DEAD = 'select sensorctl.bury_consumer($1)';
const REMOVE_MARKERS = `
  delete from sensorctl.batch_marker where (batch_id, table_name) in (
    select batch_id, table_name from sensorctl.batch_marker where consumer_id = $1 limit $2
  )`;
const MARKERS_AT_ONCE = 10_000;

/** Goes first in a transaction that writes under the markers of a consumer. */
export function holdMarkers(): Statement {
  return { text: HOLD_MARKERS };
}

/** Goes first in a transaction that repairs a table without a key: one at a time. */
export function lockTable(table: string): Statement {
  return { text: LOCK_TABLE, values: [table] };
}

/** Goes last: how many tables of a batch are `written`; the others a repair has taken over. */
export function countWritten(batchId: string): Statement {
  return { text: COUNT_WRITTEN, values: [batchId] };
}

/** Marks batches, so that their consumers do not write them any more; waits for those being written right now. */
export async function markTakenOver(
  { pool }: Database,
  table: string,
  entries: readonly { batch_id: string; consumer_id: string }[],
): Promise<void> {
  const column = (name: 'batch_id' | 'consumer_id'): string[] => entries.map((entry) => entry[name]);
  await pool.query(TAKE_OVER, [table, column('batch_id'), column('consumer_id')]);
}

/** Records on the secondary the consumers that the primary knows as ended, and removes their markers; returns how many. */
export async function buryConsumers(primary: Database, secondary: Database): Promise<number> {
  const { rows: marked } = await secondary.pool.query<{ consumer_id: string }>(FIND_MARKED);
  if (marked.length === 0) return 0;
  const ids = marked.map((row) => row.consumer_id);
  const { rows: ended } = await primary.pool.query<{ consumer_id: string }>(FIND_ENDED, [ids]);
  for (const { consumer_id: consumerId } of ended) {
    await secondary.pool.query(RECORD_DEAD, [consumerId]);
    let removed: number | null;
    do {
      ({ rowCount: removed } = await secondary.pool.query(REMOVE_MARKERS, [consumerId, MARKERS_AT_ONCE]));
    } while (removed === MARKERS_AT_ONCE);
  }
  return ended.length;
}
