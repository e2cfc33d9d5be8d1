import pg from 'pg';

/** Quotes a name of the catalog for use in SQL; the only way a name gets into a statement. */
export function quoteIdentifier(name: string): string {
  return pg.escapeIdentifier(name);
}
