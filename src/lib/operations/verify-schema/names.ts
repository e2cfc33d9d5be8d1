import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import type { TableName } from '../../repository/tables/table.js';

/** Stand for schemas until it is known for which side a statement is: that of a table, that of new tables, TimescaleDB's. */
const OF_TABLE = '"@table"';
/** Where new tables go. */
export const OWN_SCHEMA = '"@own"';
const OF_TIMESCALEDB = '"@timescaledb"';
const REGCLASS = '"@regclass"';
const BESIDE = '"@beside"';
const NAME = '\\.("(?:[^"]|"")+")';
const PLACED = new RegExp(
  `${OF_TABLE}${NAME}|${BESIDE}${NAME}${NAME}|${REGCLASS}${NAME}|${OWN_SCHEMA}|${OF_TIMESCALEDB}`,
  'g',
);

/** The schemas of one side, by which its statements name things. */
export interface Places {
  /** That of new tables. */
  readonly schema: string;
  /** How findings name a table → where it is, of those that exist. */
  readonly tables: ReadonlyMap<string, TableName>;
  readonly timescaledb: string | null;
}

/** Names a table in a statement for either side. */
export function tableSql(name: string): string {
  return `${OF_TABLE}.${quoteIdentifier(name)}`;
}

/** Names what lies in the schema of a table, such as an index of it. */
export function besideSql(table: string, name: string): string {
  return `${BESIDE}.${quoteIdentifier(table)}.${quoteIdentifier(name)}`;
}

/** A table as a value that TimescaleDB's functions take. */
export function regclassSql(name: string): string {
  return `${REGCLASS}.${quoteIdentifier(name)}`;
}

/** Names a function of TimescaleDB, which may be installed in any schema. */
export function timescaleSql(name: string): string {
  return `${OF_TIMESCALEDB}.${name}`;
}

/** Puts the schemas of a side into a statement that `tableSql` and its like have made. */
export function placeNames(text: string, places: Places): string {
  const find = (quoted: string): TableName => {
    const name = quoted.slice(1, -1).replaceAll('""', '"');
    return places.tables.get(name) ?? { schema: places.schema, name };
  };
  const full = (quoted: string): string => {
    const { schema, name } = find(quoted);
    return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
  };
  const replace = (placed: string, table?: string, of?: string, beside?: string, value?: string): string => {
    if (table !== undefined) return full(table);
    if (of !== undefined) return `${quoteIdentifier(find(of).schema)}.${beside ?? ''}`;
    if (value !== undefined) return `${quoteLiteral(full(value))}::regclass`;
    return quoteIdentifier(placed === OF_TIMESCALEDB ? (places.timescaledb ?? places.schema) : places.schema);
  };
  return text.replaceAll(PLACED, replace);
}
