import { quoteIdentifier } from '../db/identifiers.js';
import { READING_COLUMNS, type ReadingTable } from '../domain/reading.js';
import { batchColumns, parameterType, unnestColumns } from './batch-sql.js';

/**
 * Claims entries of one table, that of the oldest one, which nobody else repairs. Parameters: how many, the states
 * wanted, entries to leave alone.
 */
export const CLAIM_ENTRIES = `
  with wanted as (
    select entry_id, table_name from sensorctl.ledger_state
    where state = any ($2::text[]) and entry_id <> all ($3::bigint[])
  )
  select entry.entry_id, entry.table_name
  from sensorctl.ledger as entry join wanted using (entry_id)
  where entry.table_name = (select table_name from wanted order by entry_id limit 1)
  order by entry.entry_id limit $1
  for update of entry skip locked`;

/** The unconfirmed entries of a table whose times overlap those of the given ones, these included. */
export const FIND_OVERLAPPING = `
  select entry_id, batch_id, consumer_id from sensorctl.ledger
  where table_name = $2 and state <> 'refused' and times && (
    select range_agg(times) from (
      select unnest(times) as times from sensorctl.ledger where entry_id = any ($1::bigint[]) and table_name = $2
    ) as ranges
  )`;

/** Removes what was repaired, by the ids that were claimed; an entry added to the same range meanwhile stays. */
export const SETTLE_ENTRIES = `
  with repaired as (
    delete from sensorctl.ledger where entry_id = any ($1::bigint[]) returning table_name, times
  )
  insert into sensorctl.unproven (table_name, times)
  select table_name, range_agg(times) from (select table_name, unnest(times) as times from repaired) as ranges
  group by table_name`;

/** Opens a cursor over the primary's rows in the times of the claimed entries, each row once, in time order. */
export function openRowsSql(table: ReadingTable): string {
  const columns = batchColumns(table).map((column) => {
    const value = column === 'time' ? 'stored.time::timestamptz' : `stored.${quoteIdentifier(column)}`;
    return `${value}::text`;
  });
  return `declare rows_to_repair no scroll cursor for
    select ${columns.join(', ')}
    from (
      select unnest(range_agg(times)) as times
      from (
        select unnest(times) as times from sensorctl.ledger where entry_id = any ($1::bigint[]) and table_name = '${table}'
      ) as touched
    ) as merged
    join lateral (
      select * from ${quoteIdentifier(table)} where time >= lower(merged.times) and time < upper(merged.times)
    ) as stored on true`;
}

export const CLOSE_ROWS = 'close rows_to_repair';

/** Takes the next rows from the cursor. */
export function fetchRowsSql(count: number): string {
  return `fetch ${count} from rows_to_repair`;
}

/** Finds the rows that the secondary does not hold exactly as the primary does. Parameters: the table's arrays. Answers their `place`s. */
export function findUnequalSql(table: ReadingTable): string {
  const columns = Object.keys(READING_COLUMNS[table]).map(quoteIdentifier);
  return `select ordinality as place
    from ${unnestColumns(table, 1, 'wanted')}
    where not exists (
      select from ${quoteIdentifier(table)} as stored
      where stored.sensor_id = wanted.sensor_id and stored.time = wanted.time
        and (${columns.map((column) => `stored.${column}`).join(', ')})
          is not distinct from (${columns.map((column) => `wanted.${column}`).join(', ')})
    )`;
}

/**
 * Makes one row of the secondary what the primary holds; what it was goes to the quarantine of the secondary. By its key
 * alone: on a compressed chunk TimescaleDB then decompresses what it must and no more. Parameters: the row's columns,
 * then the side's name.
 */
export function correctRowSql(table: ReadingTable): string {
  const [time, sensorId, ...columns] = batchColumns(table);
  const name = quoteIdentifier(table);
  const place = (column: string): string => `$${[time, sensorId, ...columns].indexOf(column) + 1}`;
  const value = (column: string): string => `${place(column)}::text::${parameterType(table, column)}`;
  return `with
    kept as (
      insert into sensorctl.quarantine (digest, side, reason, table_name, sensor_id, reading_time, body)
      select sha256(convert_to($${columns.length + 3} || '${table}' || to_jsonb(stored)::text, 'UTF8')), $${columns.length + 3},
        'differed from the primary, which replaced it', '${table}', sensor_id, time::text, to_jsonb(stored)::text
      from ${name} as stored where time = $1::timestamptz and sensor_id = $2
      on conflict (digest) do nothing
    )
    update ${name} set ${columns.map((column) => `${quoteIdentifier(column)} = ${value(column)}`).join(', ')}
    where time = $1::timestamptz and sensor_id = $2`;
}
