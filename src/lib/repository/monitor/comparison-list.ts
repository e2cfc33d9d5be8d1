import type { Queryable } from '../../db/database.js';
import { COMPARISON_COLUMNS, type ComparisonFigures, parseComparison } from './last-comparison.js';

const AT_MOST = 1_000;

const READ = `
  select ${COMPARISON_COLUMNS} from sensorctl.comparison
  where finished_at >= $1::timestamptz order by finished_at desc limit ${AT_MOST}`;

/** The verdicts since a time (UTC text), the newest first. */
export async function readComparisons(primary: Queryable, since: string): Promise<ComparisonFigures[]> {
  const { rows } = await primary.query(READ, [since]);
  return rows.map(parseComparison);
}
