import type { Row, Value, WriteRule } from '../domain/row.js';
import { plainValue, ValueError, type Tally } from './plain-value.js';

/** What of a message cannot be stored, and why. All its text is storable. */
export interface FoundFault {
  readonly reason: string;
  readonly sensorId: string | null;
  readonly time: string | null;
}

/** What a decoder made of a message, as it was checked. */
export interface CheckedRows {
  /** Rows that stand or fall together. */
  readonly units: readonly (readonly Row[])[];
  readonly faults: readonly FoundFault[];
  /** Memory that all of it takes, about. */
  readonly bytes: number;
}

/** Rows that a message may become: those of one statement. */
const MOST_ROWS = 5_000;
const MOST_COLUMNS = 1_600;
/** `schema.table`, each of 63 bytes. */
const LONGEST_TABLE = 127;
const LONGEST_REASON = 1_000;
const ROW_BYTES = 400;
const FAULT_BYTES = 300;

type Unknown = Readonly<Record<string, unknown>>;

/** An answer that is no answer of a decoder: the whole message is at fault. */
export class DecodedError extends Error {}

/** Checks and copies what a decoder answered. Throws a DecodedError where the answer as a whole is none. */
export function checkDecoded(answer: unknown, isAtomic: boolean): CheckedRows {
  if (answer instanceof Promise) {
    // What it comes to is nobody's any more.
    answer.catch(() => undefined);
    throw new DecodedError('it answered a Promise: decode has to answer at once');
  }
  if (!Array.isArray(answer)) throw new DecodedError(`it answered ${nameOf(answer)}, not a list of rows`);
  if (answer.length > MOST_ROWS) throw new DecodedError(`it made ${answer.length} rows, more than ${MOST_ROWS}`);
  const tally: Tally = { bytes: 0 };
  const units = new Map<unknown, Row[]>();
  const faulty = new Set<unknown>();
  const faults: FoundFault[] = [];
  for (const [place, item] of (answer as readonly unknown[]).entries()) {
    const unit = isAtomic ? 'all' : (unitOf(item) ?? Symbol());
    const found = checkItem(item, place, tally);
    if (!('table' in found)) {
      faults.push(found);
      faulty.add(unit);
      continue;
    }
    const rows = units.get(unit);
    if (rows === undefined) units.set(unit, [found]);
    else rows.push(found);
  }
  const sound = [...units].filter(([unit]) => !faulty.has(unit)).map(([, rows]) => rows);
  return { units: sound, faults, bytes: tally.bytes };
}

function checkItem(item: unknown, place: number, tally: Tally): Row | FoundFault {
  try {
    if (!isObject(item)) throw new ValueError(`is ${nameOf(item)}, neither a row nor a fault`);
    return 'fault' in item ? checkFault(item, tally) : checkRow(item, tally);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    tally.bytes += FAULT_BYTES;
    return { reason: `row ${place + 1} of the decoder ${error.message}`, sensorId: null, time: null };
  }
}

function checkRow({ table, values, write, unit }: Unknown, tally: Tally): Row {
  tally.bytes += ROW_BYTES;
  if (typeof table !== 'string' || table === '') throw new ValueError('names no table');
  if (table.length > LONGEST_TABLE || !table.isWellFormed() || table.includes('\0')) {
    throw new ValueError('names a table as no table can be named');
  }
  if (!isObject(values)) throw new ValueError(`for ${table} has no values`);
  const row = { table, values: checkValues(table, values, tally), write: checkRule(table, write) };
  return typeof unit === 'string' || typeof unit === 'number' ? { ...row, unit } : row;
}

/** A copy: what the decoder changes later is not stored. */
function checkValues(table: string, values: Unknown, tally: Tally): Record<string, Value> {
  const copy: Record<string, Value> = {};
  let count = 0;
  for (const name of Object.keys(values)) {
    const value = values[name];
    if (value === undefined) continue;
    count += 1;
    // Named as data: a column may be called __proto__.
    if (name === '__proto__')
      Object.defineProperty(copy, name, { value: columnValue(table, name, value, tally), enumerable: true });
    else copy[name] = columnValue(table, name, value, tally);
  }
  if (count === 0) throw new ValueError(`for ${table} has no values`);
  if (count > MOST_COLUMNS) throw new ValueError(`for ${table} has ${count} values`);
  return copy;
}

function columnValue(table: string, name: string, value: unknown, tally: Tally): Value {
  if (value === null || typeof value === 'boolean') return value;
  try {
    return plainValue(value, tally);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new ValueError(`for ${table}: ${storable(name)} ${error.message}`);
  }
}

function checkRule(table: string, write: unknown): WriteRule {
  if (write === undefined || write === 'first') return 'first';
  if (!isObject(write) || typeof write.newestBy !== 'string') {
    throw new ValueError(`for ${table} has a rule of writing that is neither 'first' nor {newestBy: column}`);
  }
  const { newestBy, parts } = write;
  if (parts === undefined) return { newestBy };
  const isList = Array.isArray(parts) && parts.every((part) => Array.isArray(part) && part.every(isName));
  if (!isList) throw new ValueError(`for ${table} has parts that are no lists of columns`);
  return { newestBy, parts };
}

function checkFault({ fault, sensorId, time }: Unknown, tally: Tally): FoundFault {
  tally.bytes += FAULT_BYTES;
  const text = (value: unknown): string | null => (typeof value === 'string' ? storable(value) : null);
  const reason = text(fault) ?? 'a fault without a text';
  tally.bytes += 2 * reason.length;
  return { reason, sensorId: text(sensorId), time: text(time) };
}

/** What stands or falls with others of the same name; undefined for what stands alone. */
function unitOf(item: unknown): string | undefined {
  const unit = isObject(item) ? item.unit : undefined;
  return typeof unit === 'string' || typeof unit === 'number' ? `unit ${unit}` : undefined;
}

function isObject(value: unknown): value is Unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isName(value: unknown): value is string {
  return typeof value === 'string';
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}

/** A text as the quarantine holds it. */
export function storable(text: string): string {
  return text
    .slice(0, LONGEST_REASON)
    .toWellFormed()
    .replaceAll('\0', String.raw`\u0000`);
}
