import { readTimescaleDb } from './catalog.js';
import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';

const READ_STARTS = `
  select ${microsOf('range_start')} as start from timescaledb_information.chunks
  where hypertable_name = $1 and hypertable_schema = any (${OWN_SCHEMAS}) and range_start is not null
  order by range_start`;

/** Where the chunks of a hypertable begin, in µs since 1970, ascending; empty for other tables. */
export async function readChunkStarts(database: Queryable, table: string): Promise<number[]> {
  const { installed } = await readTimescaleDb(database);
  if (installed === null) return [];
  return (await database.query<{ start: number }>(READ_STARTS, [table])).rows.map(({ start }) => start);
}
