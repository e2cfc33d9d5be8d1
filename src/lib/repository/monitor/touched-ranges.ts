import { boundsOf } from '../../db/micros.js';
import type { TimeRange } from '../../domain/time-range.js';
import type { Question, Row } from '../../db/ask-together.js';

/** A part of a table that was written. */
export interface TouchedRange {
  readonly table: string;
  /** Null: rows that are known by their keys, or any. */
  readonly range: TimeRange | null;
}

export interface Touched {
  readonly ranges: readonly TouchedRange[];
  /** The newest ids that were seen, for the next question. */
  readonly entryId: number;
  readonly unprovenId: number;
}

/** Both by primary key. What a compaction has entered anew is older than a minute, and no news. */
const READ_TOUCHED = `
  select table_name as "table", ${boundsOf('range')}, entry_id as "entryId", unproven_id as "unprovenId"
  from (
    select table_name, range, entry_id, 0 as unproven_id, keys is not null or gone is not null or whole_table as anywhere
    from sensorctl.ledger left join lateral unnest(times) as range on true where entry_id > $1
    union all
    select table_name, range, 0, unproven_id, whole_table
    from sensorctl.unproven left join lateral unnest(times) as range on true
    where unproven_id > $2 and settled_at > clock_timestamp() - interval '50 seconds'
  ) as touched
  where anywhere or (lower(range) is not null and upper(range) is not null)
  order by entry_id, unproven_id limit 5000`;

interface TouchedRow {
  readonly table: string;
  readonly from: number | null;
  readonly to: number | null;
  readonly entryId: number;
  readonly unprovenId: number;
}

const READ_NEWEST = `
  select (select coalesce(max(entry_id), 0) from sensorctl.ledger)::bigint as "entryId",
    (select coalesce(max(unproven_id), 0) from sensorctl.unproven)::bigint as "unprovenId"`;

/** What dual write, other writers and repairs have touched since these ids; from null on, only the ids. */
export function touchedSince(since: Pick<Touched, 'entryId' | 'unprovenId'> | null): Question<Touched> {
  if (since === null) {
    const parse = ([row]: readonly Row[]): Touched => {
      return { ranges: [], entryId: Number(row?.entryId), unprovenId: Number(row?.unprovenId) };
    };
    return { text: READ_NEWEST, parse };
  }
  return {
    text: READ_TOUCHED,
    values: [since.entryId, since.unprovenId],
    parse: (rows) => {
      const found = rows as unknown as readonly TouchedRow[];
      return {
        ranges: found.map(({ table, from, to }) => {
          return { table, range: from === null || to === null ? null : { from, to } };
        }),
        entryId: Math.max(since.entryId, ...found.map(({ entryId }) => entryId)),
        unprovenId: Math.max(since.unprovenId, ...found.map(({ unprovenId }) => unprovenId)),
      };
    },
  };
}
