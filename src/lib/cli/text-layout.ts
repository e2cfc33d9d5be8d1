import cliTruncate from 'cli-truncate';
import stringWidth from 'string-width';
import wrapAnsi from 'wrap-ansi';

const NARROWEST_TERMINAL = 40;

/** Columns of a terminal; infinite where it is none: each line stays one, as grep wants it. */
export function terminalWidth({ isTTY, columns }: Pick<NodeJS.WriteStream, 'isTTY' | 'columns'>): number {
  return isTTY && columns > 0 ? Math.max(NARROWEST_TERMINAL, columns) : Infinity;
}

/** Columns that the widest line of a text takes: a Thai vowel sign takes none, a Chinese character two. */
export function widthOf(text: string): number {
  return Math.max(...text.split('\n').map((line) => stringWidth(line)));
}

/** Lines of at most `width` columns, broken between words; a longer word is broken where it must be. Indents stay. */
export function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => {
    if (stringWidth(line) <= width) return [line];
    const indent = /^ */.exec(line)?.[0] ?? '';
    const lines = wrapAnsi(line.slice(indent.length), Math.max(1, width - indent.length), { hard: true }).split('\n');
    return lines.map((each) => `${indent}${each}`);
  });
}

/** Cuts a line to so many columns, and shows that it did; colours take none, and end where they are cut. */
export function fitLine(line: string, columns: number): string {
  return cliTruncate(line.trimEnd(), columns);
}

/** The first columns of a text, with `…` where there is more. */
export function shorten(text: string, columns: number): string {
  return cliTruncate(text, columns);
}

export function padEnd(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - stringWidth(text)));
}

export function padStart(text: string, columns: number): string {
  return ' '.repeat(Math.max(0, columns - stringWidth(text))) + text;
}
