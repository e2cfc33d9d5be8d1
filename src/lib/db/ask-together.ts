import type pg from 'pg';
import type { Database } from './database.js';
import { sqlstateOf } from './sqlstate.js';
import { onOneConnection } from './transaction.js';

export type Row = Record<string, unknown>;

/** A statement that reads, and what its rows say. */
export interface Question<Value> {
  readonly text: string;
  readonly values?: readonly unknown[];
  readonly parse: (rows: readonly Row[]) => Value;
}

/** A server's answer to one question: the value or its refusal, and the time that it took the server, in ms. */
export type Answer<Value> = { readonly costMs: number } & ({ readonly value: Value } | { readonly refusal: Error });

type ValueOf<Asked> = Asked extends Question<infer Value> ? Value : never;
export type Answers<Questions> = { readonly [Name in keyof Questions]: Answer<ValueOf<Questions[Name]>> };

/**
 * Asks a server several things in one round trip. A question that the server refuses leaves the others answered; throws
 * where the server does not answer at all. The cost of a question is the time between the answer before it and its own,
 * planning included; that of the first one contains the way there and back, so let it be a trivial one.
 */
export async function askTogether<Questions extends Readonly<Record<string, Question<unknown>>>>(
  { pool }: Database,
  questions: Questions,
): Promise<Answers<Questions>> {
  return await onOneConnection(pool, async (client) => {
    let answeredAt = performance.now();
    const asked = Object.entries(questions).map(async ([name, question]): Promise<[string, Answer<unknown>]> => {
      const outcome = await query(client, question);
      const costMs = performance.now() - answeredAt;
      answeredAt = performance.now();
      if ('refusal' in outcome) return [name, { ...outcome, costMs }];
      return [name, { value: question.parse(outcome.rows), costMs }];
    });
    const answers = await Promise.allSettled(asked);
    const failure = answers.find((answer) => answer.status === 'rejected');
    if (failure !== undefined) throw failure.reason as Error;
    const entries = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    return Object.fromEntries(entries) as Answers<Questions>;
  });
}

/** A refusal by the server itself, such as a missing table or right, is an answer; anything else throws. */
async function query(
  client: pg.PoolClient,
  { text, values = [] }: Question<unknown>,
): Promise<{ rows: Row[] } | { refusal: Error }> {
  try {
    return await client.query<Row>(text, [...values]);
  } catch (error) {
    if (sqlstateOf(error) === undefined || sqlstateOf(error)?.startsWith('57P') === true) throw error;
    return { refusal: error as Error };
  }
}
