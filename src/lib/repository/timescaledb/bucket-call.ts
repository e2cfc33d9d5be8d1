/** How a continuous aggregate cuts time, as SQL. */
export interface BucketCall {
  /** The start of the bucket that holds an instant, an SQL expression of the time column's type. */
  bucketOf(instant: string): string;
  /** The width as an SQL expression of type interval. */
  readonly width: string;
}

const CALL = /(?:(?:\w+|"(?:[^"]|"")+")\.)?time_bucket(?:_ng)?\(/y;
const QUOTES = ["'", '"'];

/**
 * Reads the `time_bucket` call that a continuous aggregate groups by out of its view's definition, with whatever time
 * zone, origin and offset it has: the server then computes with the very call that made the buckets, in each version of
 * TimescaleDB. Null where there is none.
 */
export function parseBucketCall(definition: string): BucketCall | null {
  const start = findGroupBy(definition);
  for (let at = start; at < definition.length; at = skip(definition, at)) {
    CALL.lastIndex = at;
    const call = isWordStart(definition, at) ? CALL.exec(definition) : null;
    if (call !== null) return readCall(definition, call[0], at + call[0].length);
  }
  return null;
}

function readCall(definition: string, head: string, from: number): BucketCall | null {
  const parts = readArguments(definition, from);
  const named = (name: string): number => parts.findIndex((part) => new RegExp(`^"?${name}"?\\s*=>`).test(part));
  const placeOf = (name: string, place: number): number => (named(name) === -1 ? place : named(name));
  const [width, time] = [placeOf('bucket_width', 0), placeOf('ts', 1)];
  if (parts[width] === undefined || parts[time] === undefined) return null;
  const prefix = /^"?ts"?\s*=>\s*/.exec(parts[time])?.[0] ?? '';
  return {
    bucketOf: (instant) =>
      `${head}${parts.map((part, index) => (index === time ? `${prefix}${instant}` : part)).join(', ')})`,
    width: parts[width].replace(/^"?bucket_width"?\s*=>\s*/, ''),
  };
}

/** The arguments of a call, from behind its bracket to the one that closes it. */
function readArguments(definition: string, from: number): string[] {
  const parts: string[] = [];
  let [begin, depth] = [from, 0];
  for (let at = from; at < definition.length; at = skip(definition, at)) {
    const character = definition[at];
    if (character === '(' || character === '[') depth += 1;
    const ends = depth === 0 && (character === ',' || character === ')');
    if (ends) parts.push(definition.slice(begin, at).trim());
    if (ends && character === ')') return parts;
    if (ends) begin = at + 1;
    if (character === ')' || character === ']') depth -= 1;
  }
  return [];
}

/** The place of the outermost GROUP BY, which comes after every other of its level. */
function findGroupBy(definition: string): number {
  let [found, depth] = [definition.length, 0];
  for (let at = 0; at < definition.length; at = skip(definition, at)) {
    if (definition[at] === '(') depth += 1;
    if (definition[at] === ')') depth -= 1;
    if (depth === 0 && isWordStart(definition, at) && /^group\s+by\b/i.test(definition.slice(at, at + 20))) found = at;
  }
  return found;
}

/** The next place, behind a quoted name or text. */
function skip(definition: string, at: number): number {
  const quote = definition[at] ?? '';
  if (!QUOTES.includes(quote)) return at + 1;
  const end = definition.indexOf(quote, at + 1);
  return end === -1 ? definition.length : end + 1;
}

function isWordStart(definition: string, at: number): boolean {
  return !/[\w"]/.test(definition[at - 1] ?? ' ');
}
