import Table from 'cli-table3';

// eslint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL_CHARACTERS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g;

export type Cell = string | number;

/** A table for a person: numbers right-aligned with thousands separators, no colour. */
export function renderTable(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const numeric = head.map((_, index) => rows.length > 0 && rows.every((row) => typeof row[index] === 'number'));
  const table = new Table({
    head: [...head],
    colAligns: numeric.map((right) => (right ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  table.push(...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? formatCount(cell) : printable(cell)))));
  return table.toString();
}

/** Text that came from a device or a database, safe for a terminal: control characters as `\x1b`, but for line breaks. */
export function printable(text: string): string {
  return text.replace(CONTROL_CHARACTERS, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** `1234567` → `1,234,567`. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}
