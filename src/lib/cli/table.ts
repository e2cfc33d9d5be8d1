import Table from 'cli-table3';
import { oneLine } from '../domain/printable.js';
import { formatCount } from './quantities.js';
import { terminalWidth, widthOf, wrap } from './text-layout.js';

/** A text is one line; several lines are so many texts. */
export type Cell = string | number | readonly string[];

/** The width that each column adds: a border and two blanks. */
const FRAME_WIDTH = 3;
const NARROWEST_COLUMN = 8;
const LONGEST_WORD = 28;

/**
 * A table for a person: numbers right-aligned with thousands separators, no colour. On a terminal long texts are wrapped so
 * that the table fits its width; elsewhere each row stays one line, as grep wants it.
 */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  width: number = terminalWidth(process.stdout),
): string {
  const numeric = head.map((_, index) => rows.length > 0 && rows.every((row) => typeof row[index] === 'number'));
  const body = rows.map((row) => row.map(cellText));
  const columns = head.map((_, index) => ({
    width: Math.max(...[head, ...body].map((row) => widthOf(row[index] ?? ''))),
    // Words are broken only where they are longer than any name of ours, or where nothing else helps.
    narrowest: Math.min(LONGEST_WORD, Math.max(...[head, ...body].map((row) => longestWord(row[index] ?? '')))),
  }));
  const available = width - FRAME_WIDTH * head.length - 1;
  const unbroken = fitColumns(columns, available);
  const widths = fitColumns(
    unbroken.map((each, index) => ({ width: each, narrowest: numeric[index] === true ? each : NARROWEST_COLUMN })),
    available,
  );
  const [wrappedHead = [], ...wrapped] = [head, ...body].map((row) =>
    row.map((text, index) => wrap(text, widths[index] ?? Infinity).join('\n')),
  );
  const table = new Table({
    head: wrappedHead,
    colAligns: numeric.map((right) => (right ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  table.push(...wrapped);
  return table.toString();
}

/** Takes from the widest column, one of its width at a time, until all of them fit or none can give any more. */
function fitColumns(columns: readonly { width: number; narrowest: number }[], available: number): number[] {
  const widths = columns.map(({ width }) => width);
  const canGive = (index: number): boolean => (widths[index] ?? 0) > (columns[index]?.narrowest ?? 0);
  for (let excess = widths.reduce((sum, each) => sum + each, 0) - available; excess > 0; excess -= 1) {
    const widest = Math.max(...widths.filter((_, index) => canGive(index)));
    const giver = widths.findIndex((each, index) => each === widest && canGive(index));
    if (giver === -1) break;
    widths[giver] = widest - 1;
  }
  return widths;
}

function longestWord(text: string): number {
  return Math.max(...text.split(/\s/).map(widthOf));
}

/** Whatever came from a device or a database: it makes no line of its own, and acts on no terminal. */
function cellText(cell: Cell): string {
  if (typeof cell === 'number') return formatCount(cell);
  return typeof cell === 'string' ? oneLine(cell) : cell.map(oneLine).join('\n');
}
