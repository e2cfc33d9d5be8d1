import type { Database, Queryable } from '../../db/database.js';
import { repeatCollisions } from '../../db/transaction.js';
import { markTakenOver } from '../ledger/markers.js';

/**
 * Batches that have not settled and hold rows that the claimed entries name, as far as the times of both and the keys of
 * both tell; `missed` does not mean that a batch's send is dead.
 */
const FIND_UNSETTLED = `
  with claimed as (
    select times, coalesce(keys, '[]') || coalesce(gone, '[]') as keys from sensorctl.ledger where entry_id = any ($2::bigint[])
  )
  select distinct batch_id, consumer_id from sensorctl.ledger as entry
  where table_name = $1 and batch_id is not null and state <> 'refused' and (
    $3 or not isempty(times) and exists (select from claimed where keys <> '[]')
    or times && (select range_agg(range) from claimed cross join lateral unnest(times) as range)
    or exists (
      select from jsonb_array_elements(entry.keys) as own (key) join (
        select jsonb_array_elements(claimed.keys) as key from claimed
      ) as named using (key)
    )
  )
  order by batch_id`;

interface Marked {
  readonly table: string;
  readonly ids: readonly number[];
  /** Any row of the table may be written. */
  readonly whole: boolean;
}

/**
 * Goes before a repair of a tracked table looks: of the batches that have not settled none is written to the secondary after
 * this, unless it is there already. So no late send brings back what the repair deletes. Waits for those under way.
 */
export async function markUnsettled(
  source: Queryable,
  secondary: Database,
  { table, ids, whole }: Marked,
): Promise<void> {
  const { rows } = await source.query<{ batch_id: string; consumer_id: string }>(FIND_UNSETTLED, [table, ids, whole]);
  if (rows.length > 0) await repeatCollisions(() => markTakenOver(secondary, table, rows));
}
