import { CLIError } from '@oclif/core/errors';
import { CommandLineError } from './advice.js';
import { didYouMean } from '../domain/words.js';
import { SensorctlError, type UsageError } from '../errors.js';

/** The command that was called, as far as its errors need it. */
interface CalledCommand {
  /** As it is typed: `quarantine show`. */
  readonly name: string;
  readonly flags: readonly string[];
}

/** The text that oclif's parser puts around the message of a flag's or argument's own check. */
const AROUND = /^Parsing --\S+ \n\t|\nSee more help with --help$/g;

/** Wrong flags and arguments, which oclif's parser throws, as errors of our own; null for what is none of its errors. */
export function asUsageError(error: Error, { name, flags }: CalledCommand): UsageError | null {
  if (error instanceof SensorctlError || !(error instanceof CLIError)) return null;
  return new CommandLineError(messageOf(error, { name, flags }), `sensorctl ${name} --help`, error);
}

/** The message of an error without what oclif's parser puts around it. */
export function ownMessage({ message }: Error): string {
  return message.replaceAll(AROUND, '');
}

/** The fields of the parser's errors beside their message; it exports none of their classes. */
interface ParserFault {
  /** The flags that do not exist, as they were typed. */
  readonly flags?: readonly string[];
  /** Missing ones, by their declaration; or surplus ones, as they were typed. */
  readonly args?: readonly (string | { readonly name: string; readonly description?: string })[];
}

function messageOf(error: Error & ParserFault, { name, flags }: CalledCommand): string {
  if (error.flags !== undefined) {
    const known = flags.map((flag) => `--${flag}`);
    const unknown = error.flags.map((flag) => `${flag}${didYouMean(flag, known)}`);
    return `${name} has no flag ${unknown.join(', nor ')}`;
  }
  const missing = (error.args ?? []).flatMap((each) => (typeof each === 'string' ? [] : [each]));
  if (missing.length > 0) {
    const list = missing.map((each) => `${each.name.toUpperCase()} (${each.description ?? ''})`);
    return `${name} needs ${list.join(' and ')}`;
  }
  // Where there are several faults, oclif makes a list below a heading of its own.
  return ownMessage(error)
    .replace(/^The following errors? occurred:\n/, '')
    .replaceAll('=true ', ' ')
    .split('\n')
    .map((line) => inOurWords(line.trim()))
    .join('; ');
}

/** The messages of oclif's parser, as patterns, and our wording for each. */
const WORDINGS: readonly (readonly [RegExp, string])[] = [
  [/^All of the following must be provided when using (--\S+): (.+)$/, '$1 wants $2 as well'],
  [/^(--\S+?)(?:=\S*)? cannot also be provided when using (--\S+)$/, '$1 and $2 exclude each other'],
  [/^Expected (--[^=]+)=(.*) to be one of: (.+)$/, '$1 cannot be $2; it is one of $3'],
  [/^Flag (--\S+) expects (?:a value|one of these values: (.+))$/, '$1 wants a value'],
];

function inOurWords(message: string): string {
  const wording = WORDINGS.find(([pattern]) => pattern.test(message));
  return wording === undefined ? message : message.replace(wording[0], wording[1]);
}
