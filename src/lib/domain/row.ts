/** A JSON value, as a decoder gives it for a column of JSON. */
export type JsonValue =
  string | number | boolean | null | readonly JsonValue[] | { readonly [name: string]: JsonValue | undefined };

/**
 * A value of a column: null for none. Times are UTC text (`2025-07-01T01:00:03.021Z`); a text for a JSON column is JSON;
 * a list is JSON where the column is, else an array; bytes are for `bytea`; whatever else the server can read is a text.
 */
export type Value = JsonValue | bigint | Uint8Array | readonly Value[];

/** Of rows under one key, the one that is the newest by a column wins; of those as new as it, the greater one. */
export interface NewestBy {
  readonly newestBy: string;
  /**
   * Lists of columns that a row may leave out (or have as null) together, such as a place. Each list is that of the newest
   * row that had it.
   */
  readonly parts?: readonly (readonly string[])[];
}

/** What becomes of a row whose key is there already: `first` leaves what stands there. */
export type WriteRule = 'first' | NewestBy;

/** One row to be stored. */
export interface Row {
  /** `schema.table`, or without schema as the search path of the databases' roles finds it. */
  readonly table: string;
  readonly values: Readonly<Record<string, Value>>;
  /** `first` where it is left out. */
  readonly write?: WriteRule;
  /**
   * Rows of a message with the same unit stand or fall together: what a database refuses takes its unit along. In a unit
   * that holds rows of the rule `first`, the others count only where at least one of these was new.
   */
  readonly unit?: string | number;
}

/** A table that a decoder writes, as it says before any message comes. */
export interface DeclaredTable {
  /** Each column that it writes, with the SQL type that its values are meant for; `not null` may follow. */
  readonly columns: Readonly<Record<string, string>>;
  /** What tells rows apart; where it is left out, the shortest unique key of these columns. */
  readonly key?: readonly string[];
  /** `first` where it is left out. */
  readonly write?: WriteRule;
  /** How `init` makes one of the guide's tables where it is absent; `init` makes no others. */
  readonly create?: NewTable;
}

/** A table as it is made. */
export interface NewTable {
  /** Each column with its type and constraints. */
  readonly columns: Readonly<Record<string, string>>;
  /** A unique key beside a primary key that `columns` may name. */
  readonly uniqueKey?: readonly string[];
  /** The time of a hypertable, where TimescaleDB is in use. */
  readonly axis?: string;
}

export type DeclaredTables = Readonly<Record<string, DeclaredTable>>;

/** The message a row came in. */
export interface MessageSource {
  readonly messageId: string | null;
  readonly body: string;
}

/** Rows that stand or fall together, and the message that they came in, for the quarantine. */
export interface Unit {
  readonly rows: readonly Row[];
  readonly source?: MessageSource;
}

/** The rows of a unit that count as readings: those that are kept first, or all where none is. */
export function readingsOf({ rows }: Pick<Unit, 'rows'>): readonly Row[] {
  const first = rows.filter(({ write = 'first' }) => write === 'first');
  return first.length > 0 ? first : rows;
}

export function countReadings(unit: Pick<Unit, 'rows'>): number {
  return readingsOf(unit).length;
}
