import { microsOf } from '../../db/micros.js';
import { formatInstant, parseInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';

/**
 * A place on an axis is one number: microseconds since 1970, days since 1970 of a date, or the integer. What such a number
 * does not hold exactly (null, infinite, before 1685 or after 2254, beyond 2^53) is off the axis.
 */
export const AXIS_TYPES = [
  'timestamp with time zone',
  'timestamp without time zone',
  'date',
  'smallint',
  'integer',
  'bigint',
] as const;
export type AxisType = (typeof AXIS_TYPES)[number];

/** The column along which ranges of a table are cut. */
export interface Axis {
  readonly column: string;
  readonly type: AxisType;
}

type Unit = 'time' | 'date' | 'integer';

const UNITS: Readonly<Record<AxisType, Unit>> = {
  'timestamp with time zone': 'time',
  'timestamp without time zone': 'time',
  date: 'date',
  smallint: 'integer',
  integer: 'integer',
  bigint: 'integer',
};

const DAY_MICROS = 86_400_000_000;
const EPOCH = "'1970-01-01'::date";
const [FIRST_INSTANT, LAST_INSTANT] = [-8_993_635_200_000_000, 8_993_721_600_000_000];
const ENDS: Readonly<Record<Unit, TimeRange>> = {
  time: { from: FIRST_INSTANT, to: LAST_INSTANT },
  date: { from: FIRST_INSTANT / DAY_MICROS, to: LAST_INSTANT / DAY_MICROS },
  integer: { from: -Number.MAX_SAFE_INTEGER, to: Number.MAX_SAFE_INTEGER },
};
/** Types that hold whole numbers up to so many. */
const LIMITS: Readonly<Partial<Record<AxisType, number>>> = { smallint: 32_767, integer: 2_147_483_647 };

const FIRST_SPANS: Readonly<Record<Unit, number>> = { time: 3_600_000_000, date: 31, integer: 100_000 };

/** A range so short is looked at at once before it is known how many rows lie there. */
export function firstSpanOf(type: AxisType): number {
  return FIRST_SPANS[UNITS[type]];
}

/** Whether a column of this type can be cut into ranges. */
export function isAxisType(type: string | undefined): type is AxisType {
  return (AXIS_TYPES as readonly (string | undefined)[]).includes(type);
}

/** Places on one are places on the other. */
export function shareUnit(one: AxisType, other: AxisType): boolean {
  return UNITS[one] === UNITS[other];
}

/** Whether a window of time means a part of such an axis. */
export function isTimeAxis(type: AxisType): boolean {
  return UNITS[type] !== 'integer';
}

/** SQL for a place, of a value of the axis. */
export function placeSql(type: AxisType, value: string): string {
  switch (UNITS[type]) {
    case 'time':
      return microsOf(value);
    case 'date':
      return `(${value} - ${EPOCH})::bigint`;
    case 'integer':
      return `(${value})::bigint`;
  }
}

/** The text of a place, as a parameter of `boundSql`. */
export function boundText(type: AxisType, place: number): string {
  return UNITS[type] === 'time' ? formatInstant(place) : String(place);
}

/** SQL for the value at a place, of its text as a parameter or a literal: of the type of the axis, so that its index serves. */
export function boundSql(type: AxisType, place: number, text: string): string {
  switch (UNITS[type]) {
    case 'time':
      return `${text}::${type}`;
    case 'date':
      return `(${EPOCH} + ${text}::int)`;
    case 'integer':
      return `${text}::${Math.abs(place) > (LIMITS[type] ?? Infinity) ? 'bigint' : type}`;
  }
}

/** SQL for the beginning of the bucket of a width in which a value lies, counted from an origin; of the type of the axis. */
export function bucketSql(
  type: AxisType,
  value: string,
  { origin, from, width }: { origin: string; from: number; width: string },
): string {
  switch (UNITS[type]) {
    case 'time':
      return `date_bin(${width}::float8 * interval '1 microsecond', ${value}, ${boundSql(type, from, origin)})`;
    case 'date': {
      const start = boundSql(type, from, origin);
      return `(${start} + (${value} - ${start}) / ${width}::int * ${width}::int)`;
    }
    case 'integer':
      return `(${origin}::bigint + (${value}::bigint - ${origin}::bigint) / ${width}::bigint * ${width}::bigint)`;
  }
}

/** SQL that is true where a value is on the axis; null where its type holds nothing else. */
export function onAxisSql(type: AxisType, value: string): string | null {
  if (LIMITS[type] !== undefined) return null;
  const { from, to } = endsOf(type);
  return `${value} >= ${from} and ${value} < ${to}`;
}

/** Whether the ends of a chunk, in µs or as integers, are on the axis: no row in it is off it. */
export function areOnAxis(type: AxisType, ends: readonly (number | null)[]): boolean {
  const { from, to } = UNITS[type] === 'integer' ? ENDS.integer : ENDS.time;
  return ends.every((end) => end !== null && end >= from && end <= to);
}

/** SQL for each way in which a value can be off the axis, each for the index by itself. */
export function offAxisSql(type: AxisType, value: string, notNull: boolean): string[] {
  const { from, to } = endsOf(type);
  const beyond = LIMITS[type] === undefined ? [`${value} < ${from}`, `${value} >= ${to}`] : [];
  return [...beyond, ...(notNull ? [] : [`${value} is null`])];
}

/** The ends of what a number holds, as SQL. */
function endsOf(type: AxisType): { from: string; to: string } {
  const { from, to } = ENDS[UNITS[type]];
  const literal = (place: number): string => boundSql(type, place, `'${boundText(type, place)}'`);
  return { from: literal(from), to: literal(to) };
}

/** The place of a value as a server prints it; null of one that is off the axis. */
export function parsePlace(type: AxisType, text: string): number | null {
  switch (UNITS[type]) {
    case 'time':
      return parseInstant(text);
    case 'date': {
      const instant = parseInstant(`${text}T00:00`);
      return instant === null ? null : instant / DAY_MICROS;
    }
    case 'integer': {
      const place = Number(text);
      return Number.isSafeInteger(place) && Math.abs(place) < Number.MAX_SAFE_INTEGER ? place : null;
    }
  }
}

/** A range of times on an axis of time. */
export function placesOf(type: AxisType, range: { from: number | null; to: number | null }): typeof range {
  if (UNITS[type] === 'time') return range;
  const placeOf = (micros: number | null): number | null => (micros === null ? null : Math.ceil(micros / DAY_MICROS));
  return { from: placeOf(range.from), to: placeOf(range.to) };
}

/** The same back; null of an axis of integers. */
export function microsOfPlace(type: AxisType, place: number): number | null {
  switch (UNITS[type]) {
    case 'time':
      return place;
    case 'date':
      return place * DAY_MICROS;
    case 'integer':
      return null;
  }
}

/** A place for people: UTC text of a time, the integer. */
export function formatPlace(type: AxisType, place: number): string {
  const micros = microsOfPlace(type, place);
  return micros === null ? String(place) : formatInstant(micros);
}
