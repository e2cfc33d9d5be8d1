import type pg from 'pg';
import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import type { Role } from '../../domain/side.js';
import { columnOf, hasUniqueKey, tableSql } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { bringNewestParts } from '../write/newest-parts.js';
import { namedKeysSql } from './portion.js';

interface GivenKeys {
  readonly table: TablePair;
  /** JSON lists of texts. */
  readonly keys: readonly string[];
}

/**
 * Adds rows that the target lacks, in its open transaction, as the source has them: parents of rows that are brought. No row
 * that is there is touched or locked, so that no live write waits.
 */
export async function insertAbsent(source: Queryable, target: pg.ClientBase, rows: GivenKeys): Promise<void> {
  await writeUnderOwnPath(target, underOwnPath(insertSql(rows.table)), await readColumns(source, rows));
  await bringNewestParts(source, target, { table: rows.table.name, keys: rows.keys, overwrite: false });
}

/** A text array a column. */
async function readColumns(source: Queryable, { table, keys }: GivenKeys): Promise<unknown[]> {
  const arrays = table.columns.map(({ name }) => `array_agg(${quoteIdentifier(name)}::text)::text`);
  const { rows } = await source.query<{ arrays: string }>(`
    select json_build_array(${arrays.join(', ')})::text as arrays
    from ${sideSql(table, 'primary')} where ${isGiven(table, 'primary', keys)}`);
  return JSON.parse(rows[0]?.arrays ?? '[]') as unknown[];
}

/** The condition for the rows of these keys on a side. */
export function isGiven({ uniqueKey: key, sides }: TablePair, role: Role, keys: readonly string[]): string {
  const parts = key.map((_, place) => `named.part_${place}`);
  return `(${key.map(quoteIdentifier).join(', ')}) in (select ${parts.join(', ')} from ${namedKeysSql(sides[role], key, keys)})`;
}

/** The target computes generated columns itself, and takes the source's numbers of identity columns. */
function insertSql(table: TablePair): string {
  const names = writtenColumns(table)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');
  const key = table.uniqueKey.map(quoteIdentifier).join(', ');
  // Another row in the way, by another constraint, is a fault: it goes first, by an entry of its own.
  const arbiter = hasUniqueKey(table.sides.secondary, table.uniqueKey) ? `(${key})` : '';
  return `insert into ${tableSql(table.sides.secondary)} (${names}) overriding system value
    select ${names} from ${givenRows(table)} as given order by ${key} on conflict ${arbiter} do nothing`;
}

/** Those that the target does not compute itself. */
export function writtenColumns({ columns, sides: { secondary } }: TablePair): TablePair['columns'] {
  return columns.filter(({ name }) => columnOf(secondary, name)?.generated == null);
}

/** The parameters, an array text a column, as rows with the source's types. */
export function givenRows({ columns, sides }: TablePair): string {
  const names = columns.map(({ name }) => quoteIdentifier(name));
  const arrays = names.map((_, place) => `$${place + 1}::text[]`);
  const values = columns.map(({ name }) => {
    const column = quoteIdentifier(name);
    return `${column}::${columnOf(sides.primary, name)?.type ?? 'text'} as ${column}`;
  });
  return `(select ${values.join(', ')} from unnest(${arrays.join(', ')}) as texts (${names.join(', ')}))`;
}
