// Every text goes to stdout and stderr through this file, except what monitor/live-screen.ts draws. Text from outside can
// neither act on the terminal nor forge a line.

import { oneLine, printable, printableJson } from '../domain/printable.js';

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

const CODES = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36', inverse: '7' } as const;

export type Paint = (text: string, ...styles: (keyof typeof CODES)[]) => string;

/** Colours for a terminal; without colour the text stays as it is. */
export function createPaint(color: boolean): Paint {
  if (!color) return (text) => text;
  return (text, ...styles) => `\u001b[${styles.map((style) => CODES[style]).join(';')}m${text}\u001b[0m`;
}

/** Colours where stdout is a terminal and NO_COLOR does not forbid them. */
export function createOutputPaint(): Paint {
  return createPaint(process.stdout.isTTY && (process.env.NO_COLOR ?? '') === '');
}

// eslint-disable-next-line no-control-regex -- the sequences that `createPaint` writes
const SEQUENCE = /(\u001b\[[\d;]*m)/;

/** Makes a text printable, but for the sequences of `createPaint`. */
export function printableButStyle(text: string): string {
  const parts = text.split(SEQUENCE);
  return parts.map((part, place) => (place % 2 === 1 ? part : printable(part))).join('');
}

/**
 * Returns a function that masks every occurrence of the secrets, as they are, as URLs and forms carry them, as JSON writes
 * them, and as a terminal is shown them.
 */
export function createRedactor(secrets: readonly string[]): (text: string) => string {
  const forms = secrets
    .filter((secret) => secret.length > 3)
    .flatMap((secret) => [
      ...[secret, oneLine(secret), encodeURIComponent(secret), encodeURIComponent(secret).replaceAll('%20', '+')],
      ...[JSON.stringify(secret), printableJson(secret)].map((quoted) => quoted.slice(1, -1)),
    ]);
  // The longest first: one that is a part of another must not leave the rest of that one to be read.
  const longestFirst = [...new Set(forms)].sort((one, other) => other.length - one.length);
  return (text) => longestFirst.reduce((masked, form) => masked.replaceAll(form, '***'), text);
}
