import { boundsOf } from '../../db/micros.js';
import type { TimeRange } from '../../domain/time-range.js';
import type { Question, Row } from '../../db/ask-together.js';

/** A part of a table that was written, and how far a reader of these has come. */
export interface TouchedRange extends TimeRange {
  readonly table: string;
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
    select table_name, unnest(times) as range, entry_id, 0 as unproven_id from sensorctl.ledger where entry_id > $1
    union all
    select table_name, unnest(times), 0, unproven_id from sensorctl.unproven
    where unproven_id > $2 and settled_at > clock_timestamp() - interval '50 seconds'
  ) as touched
  where lower(range) is not null and upper(range) is not null
  order by entry_id, unproven_id limit 5000`;

const READ_NEWEST = `
  select (select coalesce(max(entry_id), 0) from sensorctl.ledger)::bigint as "entryId",
    (select coalesce(max(unproven_id), 0) from sensorctl.unproven)::bigint as "unprovenId"`;

/** What dual write and repairs have touched since these ids; from null on, only the ids. */
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
      const found = rows as unknown as readonly (TouchedRange & Omit<Touched, 'ranges'>)[];
      return {
        ranges: found,
        entryId: Math.max(since.entryId, ...found.map(({ entryId }) => entryId)),
        unprovenId: Math.max(since.unprovenId, ...found.map(({ unprovenId }) => unprovenId)),
      };
    },
  };
}
