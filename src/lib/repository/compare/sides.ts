import { namingSide, type Database, type Queryable } from '../../db/database.js';
import { isTooMuch, isPassing } from '../../db/sqlstate.js';
import { runTransaction, shareConnection, type Statement } from '../../db/transaction.js';
import { backoff, withRetries } from '../../domain/retry.js';

/** The two databases that are compared. */
export interface ComparedSides {
  readonly primary: Database;
  readonly secondary: Database;
}

const TRIES = 4;
const RETRY_MS = 500;

/** Runs a statement on a side, through an open transaction where one is given; throws an error that names the side. */
export async function ask<Row>(
  database: Database,
  statement: Statement,
  { through = database.pool, asArrays = false }: { through?: Queryable; asArrays?: boolean } = {},
): Promise<Row[]> {
  const query = {
    text: statement.text,
    values: [...(statement.values ?? [])],
    ...(asArrays ? { rowMode: 'array' } : {}),
  };
  const { rows } = await namingSide(database, () => through.query(query as { text: string }));
  return rows as Row[];
}

/**
 * The planner takes every bucket for as many as there are rows, and would sort them through a file to group them; and it
 * fetches rows one by one through the index where a bitmap reads whole pages. Together with compiling, which sessions have
 * off, they cost a fifth to a third of a digest (seen on PostgreSQL 15 and 18).
 */
const PLAN_FOR_DIGESTS = {
  text: `select set_config(name, 'off', true) from unnest(array['enable_sort', 'enable_indexscan']) as name`,
};

/** Runs a statement that digests many rows into few, in a transaction of its own; throws an error that names the side. */
export async function askForDigests<Row>(database: Database, statement: Statement): Promise<Row[]> {
  const statements = [PLAN_FOR_DIGESTS, statement];
  const [, digests] = await namingSide(database, () => runTransaction(database.pool, statements));
  return (digests?.rows ?? []) as Row[];
}

const shared = new WeakMap<Database, Queryable>();

/**
 * A side for questions that stand alone: what is asked at the same time travels together on one connection. Errors name
 * the side.
 */
export function queryableOf(database: Database): Queryable {
  const known = shared.get(database);
  if (known !== undefined) return known;
  const together = shareConnection(database.pool);
  const query = async (text: string, values?: unknown[]): Promise<unknown> =>
    await namingSide(database, () => together.query(text, values));
  const queryable = { query: query as Queryable['query'] };
  shared.set(database, queryable);
  return queryable;
}

/** Repeats what reads only, while a side loses the connection or a collision; a server that ran out of time is not asked again. */
export async function repeatReading<Result>(work: () => Promise<Result>): Promise<Result> {
  return await withRetries(work, {
    attempts: TRIES,
    pauseMs: backoff(RETRY_MS),
    retryIf: (error) => !isTooMuch(error) && isPassing(error),
  });
}
