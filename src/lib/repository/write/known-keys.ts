import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { readTable } from '../tables/read-tables.js';
import { tableSql } from '../tables/table.js';

/** What a table knows of some keys. */
export interface KnownKeys {
  readonly known: number;
  /** A key of the table, of the row that is the newest; null where it is empty. */
  readonly example: string | null;
}

/** Counts which of the values of a key column a table of a side holds; null where there is no such table or column. */
export async function readKnownKeys(
  side: Queryable,
  { table: name, newestBy }: { readonly table: string; readonly newestBy: string },
  values: (column: string) => readonly string[],
): Promise<KnownKeys | null> {
  const table = await readTable(side, name);
  const [column] = table?.key ?? [];
  if (table === undefined || column === undefined || table.key?.length !== 1) return null;
  const [key, sql] = [quoteIdentifier(column), tableSql(table)];
  const { rows } = await side.query<{ known: string; example: string | null }>(
    `select (select count(*)::text from ${sql} as stored where stored.${key}::text = any ($1)) as known,
      (select stored.${key}::text from ${sql} as stored order by stored.${quoteIdentifier(newestBy)} desc nulls last, stored.${key} limit 1) as example`,
    [values(column)],
  );
  const [row] = rows;
  return { known: Number(row?.known ?? 0), example: row?.example ?? null };
}
