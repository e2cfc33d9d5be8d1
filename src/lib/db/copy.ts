import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { BULK_CALL_TIMEOUT_MS } from './database.js';

/**
 * Streams `COPY … TO STDOUT` of one connection into `COPY … FROM STDIN` of another, at the pace of the slower one and in
 * constant memory; returns the number of rows. After an error both connections are in the middle of a COPY: cut them.
 */
export async function copyBetween(
  source: pg.ClientBase,
  target: pg.ClientBase,
  statements: { readonly to: string; readonly from: string },
): Promise<number> {
  const input = target.query(copyFrom(statements.from));
  // The timeouts of statements do not see a COPY whose other end is silent.
  await pipeline(source.query(copyTo(statements.to)), input, { signal: AbortSignal.timeout(BULK_CALL_TIMEOUT_MS) });
  return input.rowCount;
}
