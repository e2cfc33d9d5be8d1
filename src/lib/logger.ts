import { oneLine, printableJson } from './domain/printable.js';

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Where library code reports what an operator may want to read later; it never prints by itself. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

type Level = keyof Logger;

const LEVELS: readonly Level[] = ['debug', 'info', 'warn', 'error'];

/** Writes one line an event, `2025-07-01T01:00:03.021Z info  message key=value`, to `write`. */
export function createLogger(write: (line: string) => void, lowest: Level = 'info'): Logger {
  const log = (level: Level) => (message: string, fields?: LogFields) => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(lowest)) return;
    write(`${new Date().toISOString()} ${level.padEnd(5)} ${oneLine(message)}${formatFields(fields)}`);
  };
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}

export const silentLogger: Logger = createLogger(() => undefined);

function formatFields(fields: LogFields = {}): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${formatValue(value)}`)
    .join('');
}

/** Quoted where it would be misread. */
function formatValue(value: string | number | boolean | null | undefined): string {
  const text = String(value);
  const quoted = printableJson(text);
  return /[\s"=]/.test(text) || quoted !== `"${text}"` ? quoted : text;
}
