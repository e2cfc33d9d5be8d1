import type { Queryable } from '../../db/database.js';
import { queryAll } from '../../db/transaction.js';
import type { TimeRange } from '../../domain/time-range.js';
import { sliceSql, type TableView } from '../compare/slices.js';
import { sideSql } from '../tables/table-pair.js';

/** Rows lie sensor by sensor where they were copied: a bitmap reads each page once, an index scan once a row. */
const BY_PAGES = 'set local enable_indexscan = off';

/** Without the buckets of a comparison, which cost a sixth more. */
function digestSql(view: TableView, range: TimeRange): string {
  const { table, method, role } = view;
  return `select count(*)::text || ' ' || coalesce(sum(${method.rowDigest(table.columns)}), 0)::text as digest
    from ${sideSql(table, role)} where ${sliceSql(view, range)}`;
}

/**
 * Number and content of the rows in a range, as one text that is equal on both sides where they are. Asked in a transaction
 * that does nothing else afterwards.
 */
export async function digestUnit(transaction: Queryable, view: TableView, range: TimeRange): Promise<string> {
  const [, digested] = await queryAll(transaction, [BY_PAGES, digestSql(view, range)]);
  return (digested?.rows[0] as { digest: string } | undefined)?.digest ?? '';
}
