/** For commands, which take what they print from here. */
export { counted } from '../domain/words.js';

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** `12 s`, `4 min`, `3.5 h`. */
export function formatDuration(ms: number): string {
  if (ms < 1.5 * MINUTE_MS) return `${Math.ceil(ms / SECOND_MS)} s`;
  if (ms < 1.5 * HOUR_MS) return `${Math.ceil(ms / MINUTE_MS)} min`;
  return `${(ms / HOUR_MS).toFixed(1)} h`;
}

/** `240 kB`, `1.2 GB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[power] ?? 'B'}`;
}

/** `2025-07-01T01:00:03.021000Z` → `2025-07-01 01:00:03.021000`, under a heading that says UTC; `-` for null. */
export function formatTime(text: string | null): string {
  return text === null ? '-' : text.replace('T', ' ').replace(/Z$/, '');
}

/** `1234567` → `1,234,567`. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

/** The bounds of a gap; rows that the ledger knows by their keys have none. */
export function formatGapTimes(from: string | null, to: string | null): [string, string] {
  return from === null ? ['rows by their keys', ''] : [formatTime(from), formatTime(to)];
}
