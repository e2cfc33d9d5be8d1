import { printable } from '../domain/printable.js';

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

/** Cuts a line to so many columns, and shows that it did; the sequences of `createPaint` take none, and a cut one ends. */
export function fitLine(line: string, columns: number): string {
  const parts = line.split(SEQUENCE);
  const isSequenceAt = (place: number): boolean => place % 2 === 1;
  const seen = parts.filter((_, place) => !isSequenceAt(place)).join('');
  const isCut = seen.trimEnd().length > columns;
  let left = isCut ? columns - 1 : columns;
  let fitted = '';
  for (const [place, part] of parts.entries()) {
    const isSequence = isSequenceAt(place);
    const text = isSequence ? part : part.slice(0, left);
    fitted += text;
    if (!isSequence) left -= text.length;
    if (isCut && !isSequence && left === 0 && text !== '') fitted += '…';
  }
  return fitted;
}
