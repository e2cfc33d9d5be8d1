import { quoteIdentifier } from '../../db/identifiers.js';
import { isAxisType, type Axis, type AxisType } from './axis.js';

/** Names a table whatever the search path. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

export interface Column {
  readonly name: string;
  /** As `format_type` prints it, such as `numeric(5,2)`. */
  readonly type: string;
  /** The same without length and precision; of a domain that of its values. */
  readonly baseType: string;
  readonly notNull: boolean;
  /** Computed by the server, and written by nobody. */
  readonly generated?: 'stored' | 'virtual' | null;
  /** Numbered by the server, unless a statement says otherwise. */
  readonly identity?: 'always' | 'by default' | null;
  /** What a row holds in it that no value was given for: the same each time, or another one. */
  readonly fill?: 'constant' | 'varying' | null;
  /** Its binary form means the same on every server: it holds no oid of a type that somebody made. */
  readonly portable?: boolean;
  /** Its type is a domain: the server checks its values. */
  readonly isDomain?: boolean;
  /** Its collation, quoted, where texts of different bytes may be equal under it. */
  readonly looseCollation?: string | null;
}

/** A unique index that covers the whole table: no partial one, none on an expression, none that is checked late. */
export interface UniqueKey {
  /** In the order of the index. */
  readonly columns: readonly string[];
  readonly primary: boolean;
}

/** A foreign key of a table. */
export interface Parent {
  readonly constraint: string;
  readonly columns: readonly string[];
  readonly table: TableName;
  readonly parentColumns: readonly string[];
}

export interface Hypertable {
  /** The column of its first dimension. */
  readonly column: string;
  readonly compressed: boolean;
  /** This version of TimescaleDB loses rows that are written into it: see `losesRowsOnConflict`. */
  readonly losesRows: boolean;
}

/** A table, as the catalogs of one side describe it; the one value by which every engine knows it. */
export interface Table {
  readonly name: TableName;
  /** How output and the ledger name it: without schema where the role's search path finds it, else with it. */
  readonly label: string;
  /** A name without schema finds it. */
  readonly isOnPath: boolean;
  /** Differs between the sides. */
  readonly oid: number;
  readonly kind: 'plain' | 'partitioned' | 'hypertable' | 'view' | 'materialized view' | 'foreign table';
  readonly columns: readonly Column[];
  readonly uniqueKeys: readonly UniqueKey[];
  /** The columns that tell its rows apart: the primary key, else a unique key whose columns are not null; null for none. */
  readonly key: readonly string[] | null;
  readonly axis: Axis | null;
  readonly parents: readonly Parent[];
  readonly hypertable: Hypertable | null;
  /** Other tables inherit from it: their rows are theirs. */
  readonly hasHeirs: boolean;
  /** Columns that each side keeps for itself, as TABLES says; absent where nobody asked. */
  readonly excepted?: readonly string[];
  /**
   * Triggers of the operator's fire for what is written to it, unless the session is in replica role. Not said where those
   * of TimescaleDB would be silent then, too.
   */
  readonly hasTriggers: boolean;
  /** Row security hides rows from the role that is connected, or may. */
  readonly hidesRows: boolean;
}

/** The table in a statement, whatever the search path. */
export function tableSql({ name: { schema, name } }: Pick<Table, 'name'>): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/** The same where rows are read, updated or deleted: its own alone. */
export function rowsSql(table: Pick<Table, 'name' | 'hasHeirs'>): string {
  return table.hasHeirs ? `only ${tableSql(table)}` : tableSql(table);
}

export function columnOf(table: Pick<Table, 'columns'>, name: string): Column | undefined {
  return table.columns.find((column) => column.name === name);
}

/** Whether two texts of different bytes may be equal in the column: citext, a collation that is not deterministic. */
export function isLooselyEqual(column: Column | undefined): boolean {
  return column?.looseCollation != null || isCitext(column);
}

/** SQL for a text as the column compares it. */
export function asKeySql(column: Column | undefined, text: string): string {
  if (column?.looseCollation != null) return `${text} collate ${column.looseCollation}`;
  return isCitext(column) ? `${text}::${column?.baseType ?? ''}` : text;
}

/** By which operator values of the column are equal: that of citext stands in its schema, on no session's path. */
export function equalitySql(column: Column | undefined): string {
  const [, schema] = isCitext(column) ? (/^(.+)\.citext$/.exec(column?.baseType ?? '') ?? []) : [];
  return schema === undefined ? '=' : `operator(${schema}.=)`;
}

function isCitext(column: Column | undefined): boolean {
  return /(?:^|\.)citext$/.test(column?.baseType ?? '');
}

/** Whether a unique key on exactly these columns exists, in whatever order. */
export function hasUniqueKey({ uniqueKeys }: Pick<Table, 'uniqueKeys'>, columns: readonly string[]): boolean {
  const wanted = [...columns].sort().join();
  return uniqueKeys.some((key) => [...key.columns].sort().join() === wanted);
}

/** The primary key, else the shortest unique key whose columns are not null. */
export function keyOf({ columns, uniqueKeys }: Pick<Table, 'columns' | 'uniqueKeys'>): readonly string[] | null {
  const isComplete = (key: UniqueKey): boolean =>
    key.columns.every((name) => columnOf({ columns }, name)?.notNull === true);
  const complete = uniqueKeys.filter((key) => key.primary || isComplete(key));
  const rank = (key: UniqueKey): number => (key.primary ? 0 : key.columns.length);
  return complete.toSorted((one, other) => rank(one) - rank(other))[0]?.columns ?? null;
}

/** The hypertable's, else the column that is asked for, else the first of the key; null where that is no time and no integer. */
export function axisOf(
  { columns, key, hypertable }: Pick<Table, 'columns' | 'key' | 'hypertable'>,
  wanted: string | null = null,
): Axis | null {
  const column = hypertable?.column ?? wanted ?? key?.[0];
  const type = column === undefined ? null : axisType({ columns }, column);
  return column === undefined || type === null ? null : { column, type };
}

/** The type of a column along which a table can be cut; null of any other. */
export function axisType(table: Pick<Table, 'columns'>, name: string): AxisType | null {
  const type = columnOf(table, name)?.baseType;
  return isAxisType(type) ? type : null;
}
