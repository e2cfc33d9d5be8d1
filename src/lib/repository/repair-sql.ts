import { quoteIdentifier } from '../db/identifiers.js';
import { READING_COLUMNS, type ReadingTable } from '../domain/reading.js';
import { batchColumns, unnestColumns } from './batch-sql.js';

/** Claims entries that nobody else repairs; the oldest come first. Parameters: how many, the states wanted. */
export const CLAIM_ENTRIES = `
  select entry.entry_id, entry.table_name
  from sensorctl.ledger as entry join sensorctl.ledger_state as seen using (entry_id)
  where seen.state = any ($2::text[])
  order by entry.entry_id limit $1
  for update of entry skip locked`;

/** The unconfirmed entries of a table whose times overlap those of the given ones, these included. */
export const FIND_OVERLAPPING = `
  select entry_id, batch_id, consumer_id from sensorctl.ledger
  where table_name = $2 and times && (
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

/**
 * Makes rows that the secondary holds with another content what the primary holds; what they were goes to the
 * quarantine of the secondary. Parameters: the table's arrays, then the side's name. Answers `corrected`.
 */
export function correctRowsSql(table: ReadingTable): string {
  const columns = Object.keys(READING_COLUMNS[table]).map(quoteIdentifier);
  const width = columns.length + 2;
  const assignments = columns.map((column) => `${column} = wanted.${column}`).join(', ');
  const name = quoteIdentifier(table);
  return `with
    differing as (
      select to_jsonb(stored) as was, wanted.*
      from ${unnestColumns(table, 1, 'wanted')} join ${name} as stored using (sensor_id, time)
      where (${columns.map((column) => `stored.${column}`).join(', ')})
        is distinct from (${columns.map((column) => `wanted.${column}`).join(', ')})
    ),
    kept as (
      insert into sensorctl.quarantine (digest, side, reason, table_name, sensor_id, reading_time, body)
      select sha256(convert_to($${width + 1} || '${table}' || was::text, 'UTF8')), $${width + 1},
        'differed from the primary, which replaced it', '${table}', sensor_id, time::text, was::text
      from differing on conflict (digest) do nothing
    ),
    corrected as (
      update ${name} as stored set ${assignments} from differing as wanted
      where stored.sensor_id = wanted.sensor_id and stored.time = wanted.time returning 1
    )
    select count(*) as corrected from corrected`;
}

/** Counts the rows that the secondary holds exactly as the primary does. Parameters: the table's arrays. Answers `equal`. */
export function countEqualSql(table: ReadingTable): string {
  const columns = Object.keys(READING_COLUMNS[table]).map(quoteIdentifier);
  return `select count(*) as equal
    from ${unnestColumns(table, 1, 'wanted')}
    where exists (
      select from ${quoteIdentifier(table)} as stored
      where stored.sensor_id = wanted.sensor_id and stored.time = wanted.time
        and (${columns.map((column) => `stored.${column}`).join(', ')})
          is not distinct from (${columns.map((column) => `wanted.${column}`).join(', ')})
    )`;
}
