import { quoteIdentifier } from '../../db/identifiers.js';

/** Names a table whatever the search path. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

export interface Column {
  readonly name: string;
  /** As `format_type` prints it, such as `numeric(5,2)`. */
  readonly type: string;
  /** The same without length and precision. */
  readonly baseType: string;
  readonly notNull: boolean;
  /** Computed by the server, and written by nobody. */
  readonly generated?: 'stored' | 'virtual' | null;
  /** Its collation, quoted, where texts of different bytes may be equal under it. */
  readonly looseCollation?: string | null;
}

/** A unique index that covers the whole table: no partial one, none on an expression, none that is checked late. */
export interface UniqueKey {
  /** In the order of the index. */
  readonly columns: readonly string[];
  readonly primary: boolean;
}

/** The column along which ranges of a table are cut. */
export interface Axis {
  readonly column: string;
  readonly type: AxisType;
}

export const AXIS_TYPES = ['timestamp with time zone', 'timestamp without time zone'] as const;
export type AxisType = (typeof AXIS_TYPES)[number];

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

/** What the catalogs of one side say of a table; the one value by which every engine knows it. */
export interface Table {
  readonly name: TableName;
  /** How output and the ledger name it: without schema where the role's search path finds it, else with it. */
  readonly label: string;
  /** Differs between the sides. */
  readonly oid: number;
  readonly kind: 'plain' | 'partitioned' | 'hypertable' | 'view' | 'materialized view' | 'foreign table';
  readonly columns: readonly Column[];
  readonly uniqueKeys: readonly UniqueKey[];
  /** What tells its rows apart: the primary key, else a unique key whose columns are not null; null where there is none. */
  readonly key: readonly string[] | null;
  readonly axis: Axis | null;
  readonly parents: readonly Parent[];
  readonly hypertable: Hypertable | null;
}

/** The table in a statement, whatever the search path. */
export function tableSql({ name: { schema, name } }: Pick<Table, 'name'>): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

export function columnOf(table: Pick<Table, 'columns'>, name: string): Column | undefined {
  return table.columns.find((column) => column.name === name);
}

/**
 * SQL for a text as the column compares it: two texts of different bytes may be one key (citext, a collation that is not
 * deterministic).
 */
export function asKeySql(column: Column | undefined, text: string): string {
  if (column?.looseCollation != null) return `${text} collate ${column.looseCollation}`;
  return /(?:^|\.)citext$/.test(column?.baseType ?? '') ? `${text}::${column?.baseType ?? ''}` : text;
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

/** The guide's, for tables of which nothing else says along which column they are cut. */
const USUAL_AXIS = 'time';

/** The hypertable's time, else the column that is asked for, else the first column of the key that can be one. */
export function axisOf(
  { columns, key, hypertable }: Pick<Table, 'columns' | 'key' | 'hypertable'>,
  wanted = USUAL_AXIS,
): Axis | null {
  const names = [hypertable?.column ?? wanted, wanted, ...(key ?? [])];
  for (const column of names) {
    const type = axisType({ columns }, column);
    if (type !== null) return { column, type };
  }
  return null;
}

/** The type of a column along which a table can be cut; null of any other. */
export function axisType(table: Pick<Table, 'columns'>, name: string): AxisType | null {
  return AXIS_TYPES.find((type) => type === columnOf(table, name)?.baseType) ?? null;
}
