import { oneLine, printableJson } from './domain/printable.js';
import type { Problem } from './errors.js';

type LogValue = string | number | boolean | null | undefined;

export type LogFields = Readonly<Record<string, LogValue | Problem>>;

/** Where library code reports what an operator may want to read later; it never prints by itself. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

type Level = keyof Logger;

const LEVELS: readonly Level[] = ['debug', 'info', 'warn', 'error'];

/**
 * Writes one line for each event, `2025-07-01T01:00:03.021Z info  message key=value`, to `write`. `advise` puts a problem
 * among the fields into words; by its code alone otherwise.
 */
export function createLogger(
  write: (line: string) => void,
  lowest: Level = 'info',
  advise: (problem: Problem) => string = ({ code }) => code,
): Logger {
  const log = (level: Level) => (message: string, fields?: LogFields) => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(lowest)) return;
    write(`${new Date().toISOString()} ${level.padEnd(5)} ${oneLine(message)}${formatFields(fields, advise)}`);
  };
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}

export const silentLogger: Logger = createLogger(() => undefined);

function formatFields(fields: LogFields = {}, advise: (problem: Problem) => string): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${formatValue(isProblem(value) ? advise(value) : value)}`)
    .join('');
}

function isProblem(value: LogValue | Problem): value is Problem {
  return typeof value === 'object' && value !== null;
}

/** Quoted where it would be misread. */
function formatValue(value: LogValue): string {
  const text = String(value);
  const quoted = printableJson(text);
  return /[\s"=]/.test(text) || quoted !== `"${text}"` ? quoted : text;
}
