import { UNACCOUNTED_ROWS } from '../compare/comparison-record.js';
import type { Question, Row } from '../../db/ask-together.js';
import { formatInstantText } from '../../domain/time.js';

/** `knownGap` and `unexplained` as of the whole comparison. */
export interface ComparedTable {
  readonly table: string;
  readonly knownGap: number;
  readonly unexplained: number;
}

/** A finished comparison in figures. */
export interface ComparisonFigures {
  readonly verdict: 'identical' | 'different';
  /** What was asked for: all times, a range, or a window that ends with the comparison. */
  readonly kind: 'all' | 'range' | 'window';
  /** UTC text of the server; `from` and `to` are null where nothing with a time was compared. */
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly from: string | null;
  readonly to: string | null;
  /** Those that were compared. */
  readonly tables: readonly ComparedTable[];
  /** Rows that the secondary lacks and the ledger knows of. */
  readonly knownGap: number;
  /** Rows that nothing accounts for: missing on one side, or different. */
  readonly unexplained: number;
}

export const COMPARISON_COLUMNS = `
  verdict, started_at::text as "startedAt", finished_at::text as "finishedAt",
  case when scope ->> 'windowMicros' is not null then 'window'
    when coalesce(scope ->> 'from', scope ->> 'to') is not null then 'range' else 'all' end as kind,
  report -> 'window' ->> 'from' as "from", report -> 'window' ->> 'to' as "to",
  (select coalesce(json_agg(json_build_object('table', entry ->> 'table', 'knownGap', (entry ->> 'knownGap')::bigint,
      'unexplained', (entry ->> 'missingOnEc2')::bigint + (entry ->> 'missingOnLocal')::bigint
        + (entry ->> 'different')::bigint - (entry ->> 'pending')::bigint - (entry ->> 'knownGap')::bigint)), '[]')
    from jsonb_array_elements(report -> 'tables') as entry)::text as tables,
  (select coalesce(sum((entry ->> 'knownGap')::bigint), 0)
    from jsonb_array_elements(report -> 'tables') as entry)::bigint as "knownGap",
  ${UNACCOUNTED_ROWS}::bigint as unexplained`;

/** The newest verdict; null where nothing was ever compared. */
export const LAST_COMPARISON: Question<ComparisonFigures | null> = {
  text: `
    select ${COMPARISON_COLUMNS} from sensorctl.comparison
    where comparison_id = (select max(comparison_id) from sensorctl.comparison where finished_at is not null)`,
  parse: ([row]) => (row === undefined ? null : parseComparison(row)),
};

/** Of a row of `COMPARISON_COLUMNS`. */
export function parseComparison(row: Row): ComparisonFigures {
  const text = (time: unknown): string => formatInstantText(time as string);
  return {
    ...(row as unknown as ComparisonFigures),
    startedAt: text(row.startedAt),
    finishedAt: text(row.finishedAt),
    tables: JSON.parse(row.tables as string) as ComparedTable[],
  };
}
