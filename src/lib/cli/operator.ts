import { hostname, userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { UnansweredError } from './advice.js';
import { printable } from './output.js';

/** Asks on a terminal; elsewhere the flag --yes has to stand in. Throws an UnansweredError where nobody agreed. */
export async function confirm(question: string, yes: boolean): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UnansweredError(`${question} Nobody can be asked here; nothing was done`, 'give --yes');
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`${printable(question)} [y/N] `);
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new UnansweredError('Nothing was done', 'answer y, or give --yes');
}

/** Who changes the phase, as the record names them. */
export function describeOperator(): string {
  return `${userInfo().username}@${hostname()}`;
}
