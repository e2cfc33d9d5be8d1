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

/** The tables that a decoder writes: each column with the SQL type that its values are meant for. */
export type DeclaredTables = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The message a row came in. */
export interface MessageSource {
  readonly messageId: string | null;
  readonly body: string;
}
