const MICROS_PER_SECOND = 1_000_000;
const MICROS_PER_DAY = 86_400 * MICROS_PER_SECOND;

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:[Zz]|([+-])(\d{2})(?::?(\d{2}))?)?$/;

const DAYS_IN_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const TWO_DIGITS = Array.from({ length: 100 }, (_, number) => String(number).padStart(2, '0'));

/**
 * Reads an ISO 8601 date and time (`T` or a space, a zone or none for UTC) as integer microseconds since 1970, digits
 * beyond microseconds cut off. Null for anything else, for 24:00 and second 60, and outside the years 1685 to 2254, in
 * which a number holds microseconds exactly (up to 2^53).
 */
export function parseInstant(text: string): number | null {
  const match = INSTANT.exec(text);
  if (match === null) return null;
  const day = daysOfDate(Number(match[1]), Number(match[2]), Number(match[3]));
  const seconds = secondsOfDay(Number(match[4]), Number(match[5]), Number(match[6] ?? 0));
  const offset = match[8] === undefined ? 0 : secondsOfDay(Number(match[9]), Number(match[10] ?? 0), 0);
  if (day === null || seconds === null || offset === null) return null;
  const fraction = match[7] === undefined ? 0 : Number(match[7].padEnd(6, '0').slice(0, 6));
  const utcSeconds = match[8] === '-' ? seconds + offset : seconds - offset;
  return day * MICROS_PER_DAY + utcSeconds * MICROS_PER_SECOND + fraction;
}

/** Writes integer microseconds since 1970 as UTC text, `2025-07-01T01:00:03.021000Z`; throws RangeError beyond ±2^53. */
export function formatInstant(micros: number): string {
  if (!Number.isSafeInteger(micros)) throw new RangeError(`not an instant in whole microseconds: ${micros}`);
  const days = Math.floor(micros / MICROS_PER_DAY);
  const microsOfDay = micros - days * MICROS_PER_DAY;
  const seconds = Math.floor(microsOfDay / MICROS_PER_SECOND);
  const fraction = String(MICROS_PER_SECOND + (microsOfDay - seconds * MICROS_PER_SECOND)).slice(1);
  const hour = Math.floor(seconds / 3600);
  const minute = Math.floor(seconds / 60) % 60;
  return `${formatDate(days)}T${twoDigits(hour)}:${twoDigits(minute)}:${twoDigits(seconds % 60)}.${fraction}Z`;
}

/** Writes what a server printed as a time in the same form; any other text stays as it is. */
export function formatInstantText(text: string): string {
  const micros = parseInstant(text);
  return micros === null ? text : formatInstant(micros);
}

/**
 * The instant at which clocks in an IANA zone show a wall-clock time, which is given in microseconds as if it were UTC.
 * A time that occurs twice (clocks set back) is its first occurrence; one that clocks skip is as far after the skip as
 * it stands in it (02:30 becomes 03:30), the "compatible" rule of ECMAScript's Temporal. Throws RangeError for no zone.
 */
export function instantOfWallClock(wallMicros: number, timezone: string): number {
  const before = offsetAt(wallMicros - MICROS_PER_DAY, timezone);
  const after = offsetAt(wallMicros + MICROS_PER_DAY, timezone);
  if (before === after || offsetAt(wallMicros - before, timezone) === before) return wallMicros - before;
  return offsetAt(wallMicros - after, timezone) === after ? wallMicros - after : wallMicros - before;
}

/** Whether a name is that of an IANA time zone which this Node.js knows; offsets such as `+07:00` are not names. */
export function isTimezone(name: string): boolean {
  try {
    zoneOf(name);
    return /^[A-Za-z]/.test(name);
  } catch {
    return false;
  }
}

/** Days since 1970 of a date in the proleptic Gregorian calendar, null where there is no such day or it is out of range. */
function daysOfDate(year: number, month: number, day: number): number | null {
  if (year < 1685 || year > 2254 || month < 1 || month > 12 || day < 1) return null;
  const leapDay = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  if (day > (DAYS_IN_MONTH[month - 1] ?? 0) + leapDay) return null;
  // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil: years begin in March.
  const marchYear = month <= 2 ? year - 1 : year;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const leapDays = Math.floor(marchYear / 4) - Math.floor(marchYear / 100) + Math.floor(marchYear / 400);
  return marchYear * 365 + leapDays + dayOfYear - 719_468;
}

/** The date text of a day since 1970 (civil_from_days of the same source). */
function formatDate(days: number): string {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const leapless =
    dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor(leapless / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const year = yearOfEra + era * 400 + (marchMonth >= 10 ? 1 : 0);
  return `${year}-${twoDigits(((marchMonth + 2) % 12) + 1)}-${twoDigits(day)}`;
}

function secondsOfDay(hour: number, minute: number, second: number): number | null {
  return hour > 23 || minute > 59 || second > 59 ? null : hour * 3600 + minute * 60 + second;
}

function twoDigits(number: number): string {
  return TWO_DIGITS[number] ?? String(number);
}

interface Zone {
  readonly format: Intl.DateTimeFormat;
  /** Offsets in microseconds by day since 1970, for the days in which the offset does not change. */
  readonly offsets: Map<number, number>;
}

const ZONES = new Map<string, Zone>();
const CACHED_DAYS = 10_000;

function zoneOf(timezone: string): Zone {
  let zone = ZONES.get(timezone);
  if (zone === undefined) {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: timezone, timeZoneName: 'longOffset' });
    zone = { format, offsets: new Map() };
    ZONES.set(timezone, zone);
  }
  return zone;
}

/** The zone's offset from UTC at an instant, in microseconds, east positive. */
function offsetAt(micros: number, timezone: string): number {
  const zone = zoneOf(timezone);
  const day = Math.floor(micros / MICROS_PER_DAY);
  const cached = zone.offsets.get(day);
  if (cached !== undefined) return cached;
  const dayStart = readOffset(zone, day * MICROS_PER_DAY);
  if (dayStart !== readOffset(zone, (day + 1) * MICROS_PER_DAY)) return readOffset(zone, micros);
  if (zone.offsets.size >= CACHED_DAYS) zone.offsets.clear();
  zone.offsets.set(day, dayStart);
  return dayStart;
}

function readOffset(zone: Zone, micros: number): number {
  const match = /GMT([+-])(\d{2}):(\d{2})(?::(\d{2}))?/.exec(zone.format.format(Math.floor(micros / 1000)));
  if (match === null) return 0;
  const seconds = Number(match[2]) * 3600 + Number(match[3]) * 60 + Number(match[4] ?? 0);
  return (match[1] === '-' ? -seconds : seconds) * MICROS_PER_SECOND;
}
