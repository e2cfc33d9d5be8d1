import type { Value } from '../domain/row.js';
import { isStorableText } from './field.js';

const DEEPEST = 100;

/** Why a value of a row cannot be stored, whatever its column. */
export class ValueError extends Error {}

/** Counts what values take in memory, about, in bytes. */
export interface Tally {
  bytes: number;
}

const OBJECT_BYTES = 40;

/**
 * A copy of a value that a decoder gave, made of nothing but texts, numbers, bytes, lists and objects. Throws a ValueError
 * for anything else, and for what no server holds.
 */
export function plainValue(value: unknown, tally: Tally, depth = 0): Value {
  switch (typeof value) {
    case 'string':
      tally.bytes += 2 * value.length;
      if (!isStorableText(value)) throw new ValueError('holds a character that PostgreSQL cannot store');
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new ValueError('is not a finite number');
      return value;
    case 'boolean':
    case 'bigint':
      return value;
    case 'object':
      return value === null ? null : plainObject(value, tally, depth);
    default:
      throw new ValueError(`is a ${typeof value}`);
  }
}

function plainObject(value: object, tally: Tally, depth: number): Value {
  if (depth >= DEEPEST) throw new ValueError(`is nested deeper than ${DEEPEST} levels`);
  tally.bytes += OBJECT_BYTES;
  if (value instanceof Uint8Array) {
    tally.bytes += value.length;
    return Uint8Array.from(value);
  }
  if (Array.isArray(value)) return value.map((item) => plainValue(item, tally, depth + 1));
  if (value instanceof Date) throw new ValueError('is a Date; give its text, as of toISOString()');
  if (value instanceof Promise) throw new ValueError('is a Promise');
  const entries = Object.entries(value).flatMap(([name, item]) => {
    if (item === undefined) return [];
    if (!isStorableText(name)) throw new ValueError('holds a character that PostgreSQL cannot store');
    tally.bytes += 2 * name.length;
    return [[name, plainValue(item, tally, depth + 1)] as const];
  });
  return Object.fromEntries(entries) as Value;
}
