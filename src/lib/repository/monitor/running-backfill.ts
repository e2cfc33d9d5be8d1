import type { Question, Row } from '../../db/ask-together.js';
import { formatInstantText } from '../../domain/time.js';

/** How far the newest backfill that is not finished has come, on the side that it writes. */
export interface BackfillFigures {
  /** Whether a process works on it; else it was interrupted, and the same command goes on from there. */
  readonly running: boolean;
  /** UTC text. */
  readonly startedAt: string;
  readonly units: number;
  readonly unitsDone: number;
  /** As the catalogs estimated them when the run was planned. */
  readonly rows: number;
  readonly rowsDone: number;
}

/** What was left alone for a day is no news. */
export const RUNNING_BACKFILL: Question<BackfillFigures | null> = {
  text: `
    select run.started_at::text as "startedAt", units.*, exists (
      select from pg_stat_activity
      where datname = current_database() and split_part(application_name, ' ', 1) = 'sensorctl'
        and split_part(application_name, ' ', 2) in ('backfill', 'compare')
    ) as running
    from sensorctl.backfill as run, lateral (
      select count(*) as units, count(done_at) as "unitsDone", coalesce(sum(estimated_rows), 0)::bigint as rows,
        coalesce(sum(estimated_rows) filter (where done_at is not null), 0)::bigint as "rowsDone", max(done_at) as newest
      from sensorctl.backfill_unit where backfill_id = run.backfill_id
    ) as units
    where run.finished_at is null and coalesce(units.newest, run.started_at) > clock_timestamp() - interval '1 day'
    order by run.backfill_id desc limit 1`,
  parse: ([row]) => (row === undefined ? null : parse(row)),
};

function parse(row: Row): BackfillFigures {
  return {
    running: row.running === true,
    startedAt: formatInstantText(row.startedAt as string),
    units: Number(row.units),
    unitsDone: Number(row.unitsDone),
    rows: Number(row.rows),
    rowsDone: Number(row.rowsDone),
  };
}
