import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { CopyOutput, endQueryTimeout } from './pg-internals.js';

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
  const output = source.query(new CopyOutput(statements.to));
  try {
    await pipeline(output, input);
    return input.rowCount;
  } finally {
    for (const stream of [input, output]) endQueryTimeout(stream);
  }
}
