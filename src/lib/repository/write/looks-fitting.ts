import type { Row, Unit, Value } from '../../domain/row.js';
import { columnOf, type Column, type Table } from '../tables/table.js';

const NUMERIC = /^numeric\((\d+),(\d+)\)$/;
const LENGTH = /^character(?: varying)?\((\d+)\)$/;
const INTEGER_LIMIT = 2 ** 31;

/**
 * Whether the rows of a unit look as if they fit their columns. Only a guess at what a database will refuse, so that the
 * others need not be halved for it: the database decides.
 */
export function looksFitting({ rows }: Unit, tables: ReadonlyMap<string, Table>): boolean {
  return rows.every((row) => rowLooksFitting(row, tables.get(row.table)));
}

function rowLooksFitting({ values }: Row, table: Table | undefined): boolean {
  if (table === undefined) return true;
  return Object.entries(values).every(([name, value]) => {
    const column = columnOf(table, name);
    return column === undefined || valueLooksFitting(value, column);
  });
}

function valueLooksFitting(value: Value, { type, notNull }: Column): boolean {
  if (value === null) return !notNull;
  if (type === 'integer') return Math.abs(Number(value)) < INTEGER_LIMIT;
  const [, length] = LENGTH.exec(type) ?? [];
  if (length !== undefined) return typeof value !== 'string' || value.length <= Number(length);
  const [, precision, scale] = NUMERIC.exec(type) ?? [];
  return precision === undefined || Math.abs(Number(value)) < numericLimit(Number(precision), Number(scale));
}

/** PostgreSQL rounds to the scale first: from here on a number has a digit too many. */
function numericLimit(precision: number, scale: number): number {
  return 10 ** (precision - scale) - 0.5 * 10 ** -scale;
}
