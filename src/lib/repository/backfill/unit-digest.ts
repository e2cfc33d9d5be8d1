import { quoteIdentifier } from '../../db/identifiers.js';
import type { Queryable } from '../../db/database.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import { TIME_COLUMN } from '../comparison/compared-table.js';
import { timeType, type TableView } from '../comparison/slices.js';

/** Without the buckets of a comparison, which cost a sixth more. Parameters: from, to. */
function digestSql(view: TableView): string {
  const { table, method } = view;
  const [time, type] = [quoteIdentifier(TIME_COLUMN), timeType(view)];
  return `select count(*)::text || ' ' || coalesce(sum(${method.rowDigest(table.columns)}), 0)::text as digest
    from ${quoteIdentifier(table.name)} where ${time} >= $1::${type} and ${time} < $2::${type}`;
}

/** Number and content of the rows in a range, as one text that is equal on both sides where they are. */
export async function digestUnit(client: Queryable, view: TableView, { from, to }: TimeRange): Promise<string> {
  const bounds = [formatInstant(from), formatInstant(to)];
  const { rows } = await client.query<{ digest: string }>(digestSql(view), bounds);
  return rows[0]?.digest ?? '';
}
