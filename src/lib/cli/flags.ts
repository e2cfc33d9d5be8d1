import * as Flags from '@oclif/core/flags';
import type { OptionFlag } from '@oclif/core/interfaces';
import { CommandLineError } from './advice.js';
import { parseInstant } from '../domain/time.js';
import { parseDuration } from '../domain/words.js';
import { UsageError } from '../errors.js';
import type { Address } from '../http/serve.js';
import type { RecordName } from '../operations/manage-quarantine.js';
import type { WindowRequest } from '../repository/compare/window.js';

interface NumberOptions {
  readonly description: string;
  readonly min: number;
  readonly max?: number;
  readonly default?: number;
  readonly exclusive?: string[];
}

/** A flag that takes a whole number; its help and its error name the limits. */
export function numberFlag(options: NumberOptions & { readonly default: number }): OptionFlag<number>;
export function numberFlag(options: NumberOptions): OptionFlag<number | undefined>;
export function numberFlag(options: NumberOptions): OptionFlag<number> | OptionFlag<number | undefined> {
  const { description, min, max = Number.MAX_SAFE_INTEGER, ...rest } = options;
  const limits = options.max === undefined ? `${min} or more` : `${min} to ${max}`;
  const flag = Flags.custom<number>({
    ...rest,
    description: `${description} (${limits})`,
    parse: (text, _context, { name }) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
      if (value >= min && value <= max) return Promise.resolve(value);
      throw new UsageError(`--${name} should be a whole number, ${limits}, not ${text}`);
    },
  });
  return flag();
}

/** Where to serve Prometheus metrics, alike in every command that does. */
export const METRICS_FLAGS = {
  'metrics-port': numberFlag({ min: 1, max: 65_535, description: 'port that answers /metrics for Prometheus' }),
  'metrics-host': Flags.string({ default: '127.0.0.1', description: 'address of the metrics port' }),
};

/** Null where no port was named. */
export function metricsAddress(flags: {
  readonly 'metrics-port'?: number | undefined;
  readonly 'metrics-host': string;
}): Address | null {
  const port = flags['metrics-port'];
  return port === undefined ? null : { host: flags['metrics-host'], port };
}

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

/** Which of the migration's tables a command works on, alike in every command. */
export const TABLE_FLAG = Flags.string({
  multiple: true,
  description:
    'only this table: as output names it, or a pattern such as public.sensor_*; =column names its axis [default: all that TABLES means]',
});

/** The flags that name a range of time, alike in every command that takes one. */
export const RANGE_FLAGS = {
  window: Flags.string({
    description: 'the last 15m, 1h, 2d, … up to now, or to --to',
    exclusive: ['from', 'all'],
    helpGroup: 'RANGE',
  }),
  from: Flags.string({ description: 'from this time on (ISO 8601, UTC where it names no zone)', helpGroup: 'RANGE' }),
  to: Flags.string({ description: 'up to this time, exclusive [default: everything newer]', helpGroup: 'RANGE' }),
  all: Flags.boolean({ description: 'everything', exclusive: ['from', 'to', 'window'], helpGroup: 'RANGE' }),
};

interface RangeValues {
  readonly window?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly all: boolean;
}

/** The range that the flags name; null where they name none. Throws a UsageError for one that cannot be. */
export function parseRange({ window, from, to, all }: RangeValues): WindowRequest | null {
  if (window === undefined && from === undefined && to === undefined && !all) return null;
  const start = from === undefined ? null : instantFlag('from', from);
  const end = to === undefined ? null : instantFlag('to', to);
  if (start !== null && end !== null && start >= end) {
    throw new CommandLineError('--to is not after --from', 'ranges are [from, to): give a later --to');
  }
  return { from: start, to: end, windowMicros: window === undefined ? null : durationFlag('window', window) };
}

const NAME = /^(?:(local|ec2):)?(\d{1,15})$/;

/** A record that is named, or null for --all; throws a UsageError where it is neither, or both. */
export function parseRecordOrAll(text: string | undefined, all: boolean): RecordName | null {
  if (text === undefined && !all) {
    throw new CommandLineError('no record is named', 'name one, such as local:12, or give --all');
  }
  if (text !== undefined && all) {
    throw new CommandLineError(`${text} and --all exclude each other`, 'leave one of the two out');
  }
  return text === undefined ? null : parseRecordName(text);
}

/** `local:12`, `ec2:3`, or `12` for local. Throws a UsageError for anything else. */
export function parseRecordName(text: string): RecordName {
  const match = NAME.exec(text);
  if (match === null) {
    throw new CommandLineError(
      `${text} names no quarantine record; it should be like local:12`,
      'sensorctl quarantine list',
    );
  }
  return { keptOn: match[1] === 'ec2' ? 'ec2' : 'local', id: Number(match[2]) };
}
