import { UNACCOUNTED_ROWS } from '../compare/comparison-record.js';
import type { Question, Row } from '../../db/ask-together.js';

/** A finished comparison in figures. */
export interface ComparisonFigures {
  readonly verdict: 'identical' | 'different';
  /** UTC text of the server. */
  readonly finishedAt: string;
  /** Rows that the secondary lacks and the ledger knows of. */
  readonly knownGap: number;
  /** Rows that nothing accounts for: missing on one side, or different. */
  readonly unexplained: number;
}

export const COMPARISON_COLUMNS = `
  verdict, finished_at::text as "finishedAt",
  (select coalesce(sum((entry ->> 'knownGap')::bigint), 0)
    from jsonb_array_elements(report -> 'tables') as entry)::bigint as "knownGap",
  ${UNACCOUNTED_ROWS}::bigint as unexplained`;

/** The newest verdict; null where nothing was ever compared. */
export const LAST_COMPARISON: Question<ComparisonFigures | null> = {
  text: `
    select ${COMPARISON_COLUMNS} from sensorctl.comparison
    where comparison_id = (select max(comparison_id) from sensorctl.comparison where finished_at is not null)`,
  parse: (rows: readonly Row[]) => (rows[0] as ComparisonFigures | undefined) ?? null,
};
