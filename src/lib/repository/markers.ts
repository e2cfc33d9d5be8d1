import type { Database } from '../db/database.js';
import type { Statement } from '../db/transaction.js';
import { withTransaction } from '../db/transaction.js';
import type { ReadingTable } from '../domain/reading.js';

/**
 * Batch markers make writes to a table without a unique key repeatable; the secondary holds them.
 *
 * A consumer holds a shared lock on itself while it writes; whoever records it dead takes the lock alone. So when the
 * record stands, no transaction of that consumer is under way, and each later one sees it: its markers can go.
 */

const LOCK_CONSUMER_SHARED =
  "select pg_advisory_xact_lock_shared(hashtextextended('sensorctl.consumer ' || $1::text, 0))";
const LOCK_CONSUMER = "select pg_advisory_xact_lock(hashtextextended('sensorctl.consumer ' || $1::text, 0))";
const LOCK_TABLE = "select pg_advisory_xact_lock(hashtextextended('sensorctl.repair ' || $1::text, 0))";

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
const RECORD_DEAD = 'insert into sensorctl.dead_consumer (consumer_id) values ($1) on conflict do nothing';
const REMOVE_MARKERS = `
  delete from sensorctl.batch_marker where (batch_id, table_name) in (
    select batch_id, table_name from sensorctl.batch_marker where consumer_id = $1 limit $2
  )`;
const MARKERS_AT_ONCE = 10_000;

/** Goes first in a transaction that writes under the markers of a consumer. */
export function lockConsumer(consumerId: string): Statement {
  return { text: LOCK_CONSUMER_SHARED, values: [consumerId] };
}

/** Goes first in a transaction that repairs a table without a key: one at a time. */
export function lockTable(table: ReadingTable): Statement {
  return { text: LOCK_TABLE, values: [table] };
}

/** Goes last: how many tables of a batch are `written`; the others a repair has taken over. */
export function countWritten(batchId: string): Statement {
  return { text: COUNT_WRITTEN, values: [batchId] };
}

/** Marks batches, so that their consumers do not write them any more; waits for those being written right now. */
export async function markTakenOver(
  { pool }: Database,
  table: ReadingTable,
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
    await withTransaction(secondary.pool, async (client) => {
      await client.query(LOCK_CONSUMER, [consumerId]);
      await client.query(RECORD_DEAD, [consumerId]);
    });
    let removed: number | null;
    do {
      ({ rowCount: removed } = await secondary.pool.query(REMOVE_MARKERS, [consumerId, MARKERS_AT_ONCE]));
    } while (removed === MARKERS_AT_ONCE);
  }
  return ended.length;
}
