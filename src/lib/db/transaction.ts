import pg from 'pg';
import type { Queryable } from './database.js';
import { nameHolders } from './lock-holders.js';
import { repeatEvery, withRetries } from '../domain/retry.js';
import { prepareValue } from './pg-internals.js';
import { faultKind, sqlstateOf, UnsendableError } from './sqlstate.js';

/** A statement and its values, to be sent with others in one round trip. */
export interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** Named statements are planned once a connection. */
  readonly name?: string | undefined;
}

/** A statement that failed only because one before it had failed (25P02). */
const IN_FAILED_TRANSACTION = '25P02';

/**
 * Runs the statements as one transaction in one round trip and returns their results in order.
 * Throws UnsendableError before anything is sent where a value cannot be, else the error of the first statement that
 * failed; the connection is destroyed unless the server itself refused.
 */
export async function runTransaction(
  pool: pg.Pool,
  statements: readonly Statement[],
): Promise<pg.QueryResult<Record<string, unknown>>[]> {
  const sendable = statements.map(prepareStatement);
  const client = await pool.connect();
  const sent = [client.query('begin isolation level read committed'), ...sendable.map((each) => client.query(each))];
  const ending = (await failsAtOnce(sent)) ? 'rollback' : 'commit';
  const outcomes = await Promise.allSettled([...sent, client.query(ending)]);
  const failure = firstFailure(outcomes);
  client.release(failure !== undefined && !leavesConnectionUsable(failure));
  if (failure !== undefined) {
    await nameHolders(pool, failure);
    throw failure;
  }
  return outcomes.slice(1, -1).map((outcome) => (outcome as PromiseFulfilledResult<pg.QueryResult>).value);
}

/** A statement whose values are the texts and bytes that travel. Throws UnsendableError where one has no such form. */
export function prepareStatement(statement: Statement): { text: string; values: unknown[]; name?: string | undefined } {
  try {
    const values = (statement.values ?? []).map((value) => prepareValue(value));
    const size = values.reduce<number>((sum, value) => sum + ((value as { length?: number } | null)?.length ?? 0), 0);
    if (size > LARGEST_STATEMENT) throw new RangeError(`its values are ${size} characters long`);
    return { ...statement, values };
  } catch (error) {
    throw new UnsendableError(error);
  }
}

/** PostgreSQL ends a connection on which a message is 1 GB long; a character takes up to three bytes. */
const LARGEST_STATEMENT = 256 * 1024 * 1024;

/**
 * Whether a statement was refused here and never sent: the `commit` behind it would commit the others alone. pg tells
 * so before the next turn of the event loop.
 */
async function failsAtOnce(sent: readonly Promise<unknown>[]): Promise<boolean> {
  let fails = false;
  for (const statement of sent) statement.catch(() => (fails = true));
  await new Promise((resolve) => setImmediate(resolve));
  return fails;
}

/**
 * Several statements in one message, which takes no parameters and saves a distant server a round trip; answers as many
 * results, which pg's types do not know.
 */
export async function queryAll(session: Queryable, statements: readonly string[]): Promise<pg.QueryResult[]> {
  return (await session.query(statements.join('; '))) as unknown as pg.QueryResult[];
}

/**
 * Goes before what an open transaction writes to the operator's tables: a deferred constraint would refuse the commit
 * with everything in it, and name no row.
 */
export const CHECK_AT_ONCE = 'set constraints all immediate';

/**
 * Calls `work` with one connection of the pool, outside of a transaction: what it asks without waiting travels together, and
 * opens no further connections.
 */
export async function onOneConnection<Result>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  try {
    const result = await work(client);
    client.release();
    return result;
  } catch (error) {
    client.release(!(error instanceof Error) || !leavesConnectionUsable(error));
    throw error;
  }
}

/** The same for whoever asks while somebody else does: one connection of the pool serves all, and is given back after the last answer. */
export function shareConnection(pool: pg.Pool): Queryable {
  let lent: { readonly client: Promise<pg.PoolClient>; open: number; broken: boolean } | null = null;
  const query = async (text: string, values?: unknown[]): Promise<unknown> => {
    const mine = (lent ??= { client: pool.connect(), open: 0, broken: false });
    mine.open += 1;
    try {
      return await (await mine.client).query(text, values);
    } catch (error) {
      mine.broken ||= !(error instanceof Error) || !leavesConnectionUsable(error);
      // Nobody else asks on a connection that is lost.
      if (mine.broken && lent === mine) lent = null;
      throw error;
    } finally {
      mine.open -= 1;
      if (mine.open === 0) {
        if (lent === mine) lent = null;
        await mine.client.then(
          (client) => client.release(mine.broken),
          () => undefined,
        );
      }
    }
  };
  return { query: query as Queryable['query'] };
}

type Isolation = 'read committed' | 'repeatable read' | 'repeatable read, read only';

/** Calls `work` with an open transaction; commits when it returns, rolls back when it throws. */
export async function withTransaction<Result>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
  isolation: Isolation = 'read committed',
): Promise<Result> {
  const client = await pool.connect();
  let broken = true;
  try {
    const result = await inTransaction(client, () => work(client), isolation);
    broken = false;
    return result;
  } catch (error) {
    broken = await client.query('rollback').then(
      () => false,
      () => true,
    );
    await nameHolders(pool, error);
    throw error;
  } finally {
    client.release(broken);
  }
}

/**
 * Runs `work` in a transaction of this connection, after the statements in `first`, which travel with its beginning. Where it
 * throws, whoever lent the connection rolls back or cuts it.
 */
export async function inTransaction<Result>(
  client: pg.ClientBase,
  work: () => Promise<Result>,
  isolation: Isolation = 'read committed',
  first: readonly string[] = [],
): Promise<Result> {
  await queryAll(client, [`begin isolation level ${isolation}`, ...first]);
  const result = await work();
  await client.query('commit');
  return result;
}

const KEEP_AWAKE_MS = 500;

/**
 * Keeps an open transaction from being ended as idle while the work for it goes on elsewhere. Behind a COPY under way one
 * call waits, not one for each half second.
 */
export async function keepAwake<Result>(transaction: Queryable, work: () => Promise<Result>): Promise<Result> {
  const keeper = repeatEvery(KEEP_AWAKE_MS, async () => {
    await transaction.query('select').catch(() => undefined);
  });
  try {
    return await work();
  } finally {
    void keeper.stop();
  }
}

const COLLISIONS_AT_MOST = 20;

/** Repeats a whole transaction at once when it lost against another one; that is nobody's failure. */
export async function repeatCollisions<Result>(work: () => Promise<Result>): Promise<Result> {
  return await withRetries(work, {
    attempts: COLLISIONS_AT_MOST,
    pauseMs: 0,
    retryIf: (error) => faultKind(error) === 'collision',
  });
}

/** A statement that the server refused leaves the session as it was; anything else (FATAL, a lost socket) does not. */
function leavesConnectionUsable(failure: Error): boolean {
  return failure instanceof pg.DatabaseError && failure.severity === 'ERROR';
}

function firstFailure(outcomes: readonly PromiseSettledResult<unknown>[]): Error | undefined {
  const failures = outcomes
    .filter((outcome) => outcome.status === 'rejected')
    .map((outcome) => outcome.reason as Error);
  return failures.find((failure) => sqlstateOf(failure) !== IN_FAILED_TRANSACTION) ?? failures[0];
}
