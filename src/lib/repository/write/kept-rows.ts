import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import type { Row, Value } from '../../domain/row.js';
import { writableColumns } from '../tables/column-values.js';
import { readTable } from '../tables/read-tables.js';
import { tableSql } from '../tables/table.js';

/**
 * Reads a row that the quarantine keeps as JSON, as the row of a table: of a column that the JSON does not name nothing is
 * said. A text says why it cannot be one.
 */
export async function readKeptRow(side: Queryable, name: string, body: string): Promise<Row | string> {
  const table = await readTable(side, name);
  if (table === undefined) return `there is no table ${name}`;
  const columns = writableColumns(table);
  // Texts of the server: a number of JSON is read by no double.
  const values = columns.map((column) => `(stored).${quoteIdentifier(column)}::text`);
  const { rows } = await side.query<{ texts: string; named: string }>(
    `select json_build_array(${values.join(', ')})::text as texts,
      (select json_agg(name) from jsonb_object_keys($1::jsonb) as name)::text as named
    from (select jsonb_populate_record(null::${tableSql(table)}, $1::jsonb) as stored offset 0) as kept`,
    [body],
  );
  const [row] = rows;
  const texts = JSON.parse(row?.texts ?? '[]') as Value[];
  const named = new Set(JSON.parse(row?.named ?? '[]') as string[]);
  const entries = columns.map((column, place) => [column, texts[place] ?? null] as const);
  return { table: table.label, values: Object.fromEntries(entries.filter(([column]) => named.has(column))) };
}
