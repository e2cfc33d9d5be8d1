/**
 * How a column of EC2 takes the values of local's column: `alike` under another name, `wider` (all of them and more),
 * `narrower` (some are rounded, cut or refused), `mixed-time` (timestamp with and without zone), `incomparable` (no `=`
 * between them, as json has none), `other` (unrelated).
 */
export type TypeRelation = 'same' | 'alike' | 'wider' | 'narrower' | 'mixed-time' | 'incomparable' | 'other';

interface ColumnType {
  readonly base: string;
  /** Precision or length; undefined where the type has none or is not limited. */
  readonly limit: number | undefined;
  readonly scale: number;
  readonly zone: string;
  readonly dimensions: string;
}

const TYPE = /^([a-z ]+?)(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?((?:\[\])*)$/;

/** Each type, and those that hold all of its values unchanged where their limit allows. */
const HELD_BY: Readonly<Record<string, readonly string[]>> = {
  smallint: ['integer', 'bigint', 'numeric', 'real', 'double precision'],
  integer: ['bigint', 'numeric', 'double precision'],
  bigint: ['numeric'],
  real: ['double precision'],
  character: ['character varying', 'text'],
  'character varying': ['text'],
  text: ['character varying'],
  date: ['timestamp'],
};

/** Types that round each other's values: decimal and binary fractions, and whole numbers beyond 2^24 or 2^53. */
const ROUND = new Set(['smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision']);

const DIGITS: Readonly<Record<string, number>> = { smallint: 5, integer: 10, bigint: 19 };
const LENGTHS = new Set(['character', 'character varying', 'bit varying']);
const MICROSECONDS = new Set(['timestamp', 'time', 'interval']);
const MICROSECOND_DIGITS = 6;

/** Compares two types as `format_type` prints them. */
export function compareTypes(local: string, ec2: string): TypeRelation {
  if (local === ec2) return 'same';
  const [from, to] = [parseType(local), parseType(ec2)];
  if (from === null || to === null) return 'other';
  if (from.dimensions !== to.dimensions) return 'other';
  if (from.base === to.base && from.zone !== to.zone) return from.base === 'timestamp' ? 'mixed-time' : 'other';
  if (from.base === 'jsonb' && to.base === 'json') return 'incomparable';
  if (holds(from, to)) return holds(to, from) ? 'alike' : 'wider';
  return holds(to, from) || areRelated(from.base, to.base) ? 'narrower' : 'other';
}

function parseType(text: string): ColumnType | null {
  const match = TYPE.exec(text);
  if (match === null) return null;
  const [, base = '', limit, scale, zone = '', dimensions = ''] = match;
  return { base, limit: limit === undefined ? undefined : Number(limit), scale: Number(scale ?? 0), zone, dimensions };
}

function holds(from: ColumnType, to: ColumnType): boolean {
  if (from.base !== to.base && HELD_BY[from.base]?.includes(to.base) !== true) return false;
  if (to.base === 'numeric') return numericHolds(from, to);
  if (LENGTHS.has(to.base)) return (to.limit ?? Infinity) >= (from.limit ?? Infinity);
  if (MICROSECONDS.has(to.base) && from.base === to.base) return fractionDigits(to) >= fractionDigits(from);
  return from.base !== to.base || from.limit === to.limit;
}

function numericHolds(from: ColumnType, to: ColumnType): boolean {
  if (to.limit === undefined) return true;
  const digits = from.base === 'numeric' ? from.limit : DIGITS[from.base];
  return digits !== undefined && to.scale >= from.scale && to.limit - to.scale >= digits - from.scale;
}

function fractionDigits({ limit = MICROSECOND_DIGITS }: ColumnType): number {
  return limit;
}

function areRelated(from: string, to: string): boolean {
  if (from === 'json' && to === 'jsonb') return true;
  const isHeld = HELD_BY[from]?.includes(to) === true || HELD_BY[to]?.includes(from) === true;
  return from === to || isHeld || (ROUND.has(from) && ROUND.has(to));
}
