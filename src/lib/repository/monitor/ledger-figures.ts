import type { LedgerState } from '../ledger/ledger.js';
import type { Question, Row } from '../../db/ask-together.js';

/** The ledger in a few figures. */
export interface LedgerFigures {
  readonly entries: Readonly<Record<LedgerState, number>>;
  readonly readings: Readonly<Record<LedgerState, number>>;
  readonly gaps: GapFigures;
  /** What other programs entered, by table, the most first. */
  readonly writers: readonly WriterFigures[];
}

/** Entries of other writers for a table. */
export interface WriterFigures {
  readonly table: string;
  readonly pending: number;
  readonly missed: number;
  /** Since the oldest of them. */
  readonly oldestSeconds: number;
}

/** What the secondary lacks for certain or for good: everything that is not merely on its way. */
export interface GapFigures {
  /** Time ranges, with neighbours within a minute as one, and tables of which rows are known by their keys. */
  readonly ranges: number;
  readonly readings: number;
  /** Where the oldest begins, UTC text of the server; null without gaps. */
  readonly oldest: string | null;
  /** Where they are, the table with the most of them first. */
  readonly tables: readonly TableRows[];
}

/** So many rows of a table. */
export interface TableRows {
  readonly table: string;
  readonly rows: number;
}

const READ_FIGURES = `
  with entry as materialized (
    select table_name, times, readings, state, batch_id is null as of_writer, committed_at from sensorctl.ledger_state
  )
  select
    (select json_object_agg(state, entries) from (select state, count(*) as entries from entry group by state) as e)::text
      as entries,
    (select json_object_agg(state, readings) from (select state, sum(readings) as readings from entry group by state) as r)::text
      as readings,
    (select coalesce(json_agg(json_build_object('table', table_name, 'rows', readings)), '[]') from (
      select table_name, sum(readings) as readings from entry where state <> 'pending' group by table_name order by 2 desc, 1
    ) as t)::text as tables,
    (select coalesce(json_agg(json_build_object('table', table_name, 'pending', pending, 'missed', missed,
        'oldestSeconds', round(extract(epoch from clock_timestamp() - oldest)::numeric, 1))
        order by pending + missed desc, table_name), '[]')
      from (
        select table_name, count(*) filter (where state = 'pending') as pending,
          count(*) filter (where state = 'missed') as missed, min(committed_at) as oldest
        from entry where of_writer group by table_name
      ) as w)::text as writers,
    gaps.ranges + (select count(distinct table_name) from entry where state <> 'pending' and isempty(times)) as ranges, gaps.oldest
  from (
    select count(*) filter (where reached is null or start > reached + interval '1 minute') as ranges,
      min(start)::text as oldest
    from (
      select start, max(stop) over (
        partition by table_name order by start rows between unbounded preceding and 1 preceding
      ) as reached
      from (
        select table_name, lower(range) as start, upper(range) as stop
        from (select table_name, unnest(times) as range from entry where state <> 'pending') as ranges
      ) as bounds
    ) as neighbours
  ) as gaps`;

export const LEDGER_FIGURES: Question<LedgerFigures> = { text: READ_FIGURES, parse: (rows) => parse(rows[0] ?? {}) };

/** By the primary key: entries are numbered in the order of their commits, and there may be millions. */
const READ_OLDEST = `
  select extract(epoch from clock_timestamp() - committed_at)::float8 as seconds
  from sensorctl.ledger where state <> 'refused' order by entry_id limit 1`;

/** Seconds since the local commit of the oldest batch that the secondary has not confirmed; 0 where it holds them all. */
export const LAG_SECONDS: Question<number> = {
  text: READ_OLDEST,
  parse: (rows) => Math.max(0, Number(rows[0]?.seconds ?? 0)),
};

function parse(row: Row): LedgerFigures {
  const none = { pending: 0, missed: 0, refused: 0 };
  const read = (text: unknown): Record<LedgerState, number> => ({
    ...none,
    ...(text === null ? {} : (JSON.parse(text as string) as object)),
  });
  const readings = read(row.readings);
  return {
    entries: read(row.entries),
    readings,
    gaps: {
      ranges: Number(row.ranges),
      readings: readings.missed + readings.refused,
      oldest: row.oldest as string | null,
      tables: JSON.parse(row.tables as string) as TableRows[],
    },
    writers: JSON.parse(row.writers as string) as WriterFigures[],
  };
}
