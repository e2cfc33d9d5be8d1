import { CommandLineError } from './advice.js';
import type { RecordName } from '../operations/quarantine.js';

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
