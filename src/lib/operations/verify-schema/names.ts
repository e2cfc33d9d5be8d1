import { quoteIdentifier } from '../../db/identifiers.js';

/** Stand for schemas until it is known for which side a statement is: that of a table, that of new tables, TimescaleDB's. */
const OF_TABLE = '"@table"';
/** Where new tables go. */
export const OWN_SCHEMA = '"@own"';
const OF_TIMESCALEDB = '"@timescaledb"';
const PLACED = /"@table"\.("(?:[^"]|"")+")|"@own"|"@timescaledb"/g;

/** The schemas of one side, by which its statements name things. */
export interface Places {
  /** That of new tables. */
  readonly schema: string;
  /** Table → schema, of those that exist. */
  readonly tables: ReadonlyMap<string, string>;
  readonly timescaledb: string | null;
}

/** Names a table, or what lies beside it such as an index, in a statement for either side. */
export function tableSql(name: string): string {
  return `${OF_TABLE}.${quoteIdentifier(name)}`;
}

/** Names a function of TimescaleDB, which may be installed in any schema. */
export function timescaleSql(name: string): string {
  return `${OF_TIMESCALEDB}.${name}`;
}

/** Puts the schemas of a side into a statement that `tableSql` and its like have made. */
export function placeNames(text: string, { schema, tables, timescaledb }: Places): string {
  return text.replaceAll(PLACED, (placed: string, quoted?: string) => {
    if (placed === OF_TIMESCALEDB) return quoteIdentifier(timescaledb ?? schema);
    if (quoted === undefined) return quoteIdentifier(schema);
    return `${quoteIdentifier(tables.get(quoted.slice(1, -1).replaceAll('""', '"')) ?? schema)}.${quoted}`;
  });
}
