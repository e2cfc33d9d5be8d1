// The one way to stdout and stderr, but for what the live picture draws (monitor/terminal.ts): nothing that came from outside
// acts on the terminal, or forges a line.
import { oneLine, printable, printableJson } from '../domain/printable.js';
import { printableButStyle } from './paint.js';

/** For commands, which take what they print from here. */
export { oneLine, printable } from '../domain/printable.js';

/** The result: a text of any number of lines. */
export function writeResult(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

/** The result as one document of JSON; 0 spaces put all of it on one line. */
export function writeJson(value: unknown, spaces: number): void {
  process.stdout.write(`${printableJson(value, spaces)}\n`);
}

/** A text with colours of ours. */
export function writeStyled(text: string): void {
  process.stdout.write(`${printableButStyle(text)}\n`);
}

/** A script is data: a file or a program gets it as it is, a person what can be printed of it. */
export function writeScript(script: string): void {
  process.stdout.write(`${process.stdout.isTTY ? printable(script) : script}\n`);
}

/** One line of log, progress or advice. */
export function writeNote(line: string): void {
  process.stderr.write(`${oneLine(line)}\n`);
}
