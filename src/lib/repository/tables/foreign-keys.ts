import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { tableSql, type Table } from './table.js';

/** A reading table is read whole: minutes where it is large. */
const SERVER_TIMEOUT = "set local statement_timeout = '10min'";
const PATIENT = { query_timeout: 11 * 60_000 };

/** The different values of these columns, each as JSON text of a list; without those that hold a null. */
export async function readDistinctKeys(
  client: Queryable,
  table: Table,
  columns: readonly string[],
): Promise<ReadonlySet<string>> {
  await client.query(SERVER_TIMEOUT);
  const names = columns.map(quoteIdentifier);
  const text = `
    select json_build_array(${names.map((name) => `${name}::text`).join(', ')})::text as key
    from (select distinct ${names.join(', ')} from ${tableSql(table)}) as held
    where ${names.map((name) => `${name} is not null`).join(' and ')}`;
  const { rows } = await client.query<{ key: string }>({ text, ...PATIENT });
  return new Set(rows.map(({ key }) => key));
}

/** The rows of these keys (as `readDistinctKeys` gives them), each value as text, in the order of `columns`. */
export async function readRowsByKey(
  client: Queryable,
  table: Table,
  { key, keys, columns }: { key: readonly string[]; keys: readonly string[]; columns: readonly string[] },
): Promise<(string | null)[][]> {
  const found = key.map((name) => `${quoteIdentifier(name)}::text`).join(', ');
  const text = `
    select array_to_json(array[${columns.map((name) => `${quoteIdentifier(name)}::text`).join(', ')}]::text[])::text as content
    from ${tableSql(table)} where json_build_array(${found})::text = any ($1::text[])`;
  const { rows } = await client.query<{ content: string }>({ text, values: [keys], ...PATIENT });
  return rows.map(({ content }) => JSON.parse(content) as (string | null)[]);
}
