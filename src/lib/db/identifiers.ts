import pg from 'pg';

/** Quotes a name of the catalog for use in SQL; the only way a name gets into a statement. */
export function quoteIdentifier(name: string): string {
  return pg.escapeIdentifier(name);
}

/** Quotes a value for a script that a person runs; statements that sensorctl runs take values as parameters. */
export function quoteLiteral(value: string): string {
  // A character at a time, which of a list of thousands of keys takes long.
  return /['\\]/.test(value) ? pg.escapeLiteral(value) : `'${value}'`;
}
