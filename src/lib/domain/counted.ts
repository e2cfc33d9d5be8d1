/** A number and its noun: `1 row`, `1,200 rows`. The plural may be irregular, or hold a verb: `1 row is`, `2 rows are`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? noun : plural}`;
}
