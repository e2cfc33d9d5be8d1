import type pg from 'pg';
import type { Database } from './database.js';
import { withTransaction } from './transaction.js';

/**
 * Calls `work` with an open transaction that sees one state of the database and in which the server refuses every change.
 * What `work` asks without waiting travels together.
 */
export async function readOnly<Result>(
  { pool }: Database,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  return await withTransaction(pool, work, 'repeatable read, read only');
}
