import { isExact } from '../domain/exact-number.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** The fields of one JSON object, its path in the message, and where reasons against storing it are collected. */
export interface Fields {
  readonly source: JsonObject;
  readonly path: string;
  readonly reasons: string[];
}

export interface Location {
  readonly lat: number | null;
  readonly lng: number | null;
}

const QUOTED_CHARACTERS = 40;
/** Columns hold less; but a name stands in every reading of a gateway, and in each fault. */
const LONGEST_NAME = 1_000;
// The groups cannot match the same digits twice: a long text of digits costs linear time.
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
// JSON.stringify escapes lone surrogates and U+0000; an even number of backslashes before it is text, not an escape.
const UNSTORABLE_ESCAPE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Missing, null or an empty text: devices send all three for what they have not measured. */
export function isAbsent(value: unknown): value is undefined | null | '' {
  return value === undefined || value === null || value === '';
}

/** The number in a JSON number or numeric text, null where absent or blank, ±Infinity or NaN where it is none to store. */
export function parseNumber(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (isAbsent(value)) return null;
  if (typeof value !== 'string') return NaN;
  const text = value.trim();
  if (text === '') return null;
  return DECIMAL.test(text) ? Number(text) : NaN;
}

/** A field that is a number or absent; anything else is a reason. */
export function readNumber(fields: Fields, name: string): number | null {
  const number = parseNumber(fields.source[name]);
  if (number === null || Number.isFinite(number)) return number;
  const kind = Number.isNaN(number) ? 'a number' : 'finite';
  fields.reasons.push(`${fields.path}${name} is not ${kind}: ${quoteValue(fields.source[name])}`);
  return null;
}

/** A field that names something: a text that is not empty, not too long and can be stored, or an exact number as its text. */
export function readName(fields: Fields, name: string): string | null {
  const value = fields.source[name];
  if (isAbsent(value)) {
    fields.reasons.push(`no ${fields.path}${name}`);
    return null;
  }
  if (typeof value !== 'string' && !(typeof value === 'number' && Number.isFinite(value))) {
    fields.reasons.push(`${fields.path}${name} is not a text: ${quoteValue(value)}`);
    return null;
  }
  const text = String(value);
  const problem = nameProblem(value, text);
  if (problem === null) return text;
  fields.reasons.push(`${fields.path}${name} ${problem}: ${quoteValue(value)}`);
  return null;
}

function nameProblem(value: string | number, text: string): string | null {
  if (typeof value === 'number') return isExact(value) ? null : 'is a number with more digits than are held exactly';
  if (text.length > LONGEST_NAME) return `has ${text.length} characters, more than ${LONGEST_NAME}`;
  return isStorableText(text) ? null : 'holds a character that PostgreSQL cannot store';
}

/** `location`, else `data.latitude` and `data.longitude`; one coordinate alone is no location. */
export function readLocation(message: JsonObject, data: Fields): Location {
  const location = readCoordinates(readObject(message, 'location', data.reasons), 'lat', 'lng');
  return location ?? readCoordinates(data, 'latitude', 'longitude') ?? { lat: null, lng: null };
}

/** The message's own `location` only. */
export function readOwnLocation(message: JsonObject, reasons: string[]): Location {
  return readCoordinates(readObject(message, 'location', reasons), 'lat', 'lng') ?? { lat: null, lng: null };
}

/** The fields of an object in the message, none where it is absent; anything else is a reason. */
export function readObject(message: JsonObject, name: string, reasons: string[]): Fields {
  const value = message[name];
  if (isJsonObject(value)) return { source: value, path: `${name}.`, reasons };
  if (!isAbsent(value)) reasons.push(`${name} is not an object: ${quoteValue(value)}`);
  return { source: {}, path: `${name}.`, reasons };
}

/** A value as JSON text that jsonb takes whole; null, with the reason, where it cannot. */
export function readJson(message: JsonObject, name: string, reasons: string[]): string | null {
  const text = jsonText(message[name], refuseInfinity);
  if (text === null) reasons.push(`${name} holds a number that is not finite, or is nested too deep`);
  else if (!UNSTORABLE_ESCAPE.test(text)) return text;
  else reasons.push(`${name} holds a character that PostgreSQL cannot store`);
  return null;
}

/** PostgreSQL's text holds neither U+0000 nor lone surrogates (not UTF-8). */
export function isStorableText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

/** A value as JSON, shortened for a reason; always storable. */
export function quoteValue(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (jsonText(value) ?? 'a value nested too deep');
  if (text.length <= QUOTED_CHARACTERS) return text;
  const quoted = text.slice(0, QUOTED_CHARACTERS).replace(/[\uD800-\uDBFF]$/, '');
  // A slice would keep the whole text in memory for as long as the reason lives.
  return `${Buffer.from(quoted).toString()}…`;
}

function readCoordinates(fields: Fields, latName: string, lngName: string): Location | null {
  const lat = readNumber(fields, latName);
  const lng = readNumber(fields, lngName);
  if (lat === null || lng === null) return null;
  if (Math.abs(lat) <= 90 && Math.abs(lng) <= 180) return { lat, lng };
  fields.reasons.push(`${fields.path}${latName}, ${fields.path}${lngName} are no place on earth: ${lat}, ${lng}`);
  return null;
}

/** Null where the value is nested deeper than JSON.stringify can follow, or the replacer throws RangeError. */
function jsonText(value: unknown, replacer?: (key: string, value: unknown) => unknown): string | null {
  try {
    return JSON.stringify(value, replacer);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** JSON.parse reads 1e400 as Infinity, which JSON.stringify would turn into null. */
function refuseInfinity(_key: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError('a number that is not finite');
  return value;
}
