import { CommandLineError } from './advice.js';
import { parseDuration } from '../domain/words.js';
import { parseInstant } from '../domain/time.js';

const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** A flag's duration in µs: `90s`, `15m`, `1h`, `2d`. Throws a UsageError for anything else, and for less than `atLeast`. */
export function durationFlag(name: string, text: string, atLeast = 1): number {
  const micros = parseDuration(text);
  if (micros !== null && micros >= atLeast) return micros;
  if (micros !== null) {
    throw new CommandLineError(`--${name} ${text} is too short`, `give at least ${formatLeast(atLeast)}`);
  }
  throw new CommandLineError(`--${name} is not a duration: ${text}`, `write it like --${name} 90s, 15m, 1h or 2d`);
}

/** `200ms`, `60s`. */
function formatLeast(micros: number): string {
  return micros >= 1_000_000 ? `${micros / 1_000_000}s` : `${Math.max(1, Math.ceil(micros / 1_000))}ms`;
}

/** A flag's instant in µs since 1970, UTC where it names no zone; a date alone is its midnight. Throws a UsageError. */
export function instantFlag(name: string, text: string): number {
  const micros = parseInstant(DATE.test(text) ? `${text}T00:00` : text);
  if (micros !== null) return micros;
  throw new CommandLineError(`--${name} is not a time: ${text}`, `write it like --${name} 2025-07-01T06:00:00Z`);
}
