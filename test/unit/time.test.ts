import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import { formatInstant, instantOfWallClock, isTimezone, parseInstant } from '../../src/lib/domain/time.js';
import { newSeed } from '../support/seed.js';

const FIRST = Date.UTC(1685, 0, 1) * 1000;
const LIMIT = Date.UTC(2255, 0, 1) * 1000;

/** By how many minutes the zones below have changed their clocks since 1975 (St John's by two hours in 1988). */
const CHANGES = [30, 60, 120];

/** Runs a property for many random cases; a failure names the seed that repeats it. */
function forRandomCases(count: number, property: (random: () => number) => void): void {
  const firstSeed = newSeed();
  for (let seed = firstSeed; seed < firstSeed + count; seed += 1) {
    try {
      property(createRandom(seed));
    } catch (error) {
      throw new Error(`fails with seed ${seed}: ${String(error)}`, { cause: error });
    }
  }
}

/** Any whole microsecond of the range: two draws, as one has 32 bits only. */
function anyInstant(random: () => number): number {
  return FIRST + Math.floor(((Math.floor(random() * 2 ** 26) + random()) / 2 ** 26) * (LIMIT - FIRST));
}

describe('parseInstant', () => {
  const equal: [string, string][] = [
    ['2025-07-01T01:00:03.021Z', '2025-07-01T01:00:03.021000Z'],
    ['2025-07-01 01:00:03', '2025-07-01T01:00:03.000000Z'],
    ['2025-07-01T01:00Z', '2025-07-01T01:00:00.000000Z'],
    ['2025-07-01T01:00:03.1234569Z', '2025-07-01T01:00:03.123456Z'],
    ['2025-07-01T01:00:03.999999999Z', '2025-07-01T01:00:03.999999Z'],
    ['2025-07-01T01:00:03,5Z', '2025-07-01T01:00:03.500000Z'],
    ['2025-07-01T01:00:03+07:00', '2025-06-30T18:00:03.000000Z'],
    ['2025-07-01T01:00:03-0330', '2025-07-01T04:30:03.000000Z'],
    ['2025-07-01T01:00:03+07', '2025-06-30T18:00:03.000000Z'],
    ['2024-02-29T23:59:59.000001Z', '2024-02-29T23:59:59.000001Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000000Z'],
    ['1969-12-31T23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'],
  ];
  for (const [text, expected] of equal) {
    it(`reads ${text}`, () => expect(formatInstant(parseInstant(text)!)).to.equal(expected));
  }

  const refused = [
    '',
    '2025-07-01',
    '2025-7-1T00:00:00Z',
    '2025-13-01T00:00:00Z',
    '2025-00-01T00:00:00Z',
    '2025-01-00T00:00:00Z',
    '2025-04-31T00:00:00Z',
    '2025-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2025-07-01T24:00:00Z',
    '2025-07-01T23:60:00Z',
    '2025-06-30T23:59:60Z',
    '2025-07-01T01:00:00.1234567890Z',
    '2025-07-01T01:00:00.Z',
    '2025-07-01T01:00:00+24:00',
    '2025-07-01T01:00:00+07:60',
    '2025-07-01T01:00:00 Z',
    ' 2025-07-01T01:00:00Z',
    '2025-07-01T01:00:00Z\n',
    '1684-12-31T23:59:59Z',
    '2255-01-01T00:00:00Z',
    '+002025-07-01T00:00:00Z',
  ];
  for (const text of refused) {
    it(`refuses ${JSON.stringify(text)}`, () => expect(parseInstant(text)).to.equal(null));
  }

  it('agrees with Date for millisecond instants of the years 1 to 9999, and refuses years that are not exact', () => {
    const from = Date.parse('0001-01-01T00:00:00Z');
    const to = Date.parse('9999-12-31T23:59:59.999Z');
    forRandomCases(20_000, (random) => {
      const millis = from + Math.floor(random() * (to - from));
      const inRange = millis * 1000 >= FIRST && millis * 1000 < LIMIT;
      expect(parseInstant(new Date(millis).toISOString())).to.equal(inRange ? millis * 1000 : null);
    });
  });

  it('agrees with Date on every day of the range', () => {
    for (let millis = FIRST / 1000; millis < LIMIT / 1000; millis += 86_400_000) {
      const text = new Date(millis).toISOString();
      if (parseInstant(text) !== millis * 1000 || !formatInstant(millis * 1000).startsWith(text.slice(0, 23))) {
        expect.fail(`differs on ${text}`);
      }
    }
  });
});

describe('formatInstant', () => {
  it('is read back as the same microsecond', () => {
    forRandomCases(20_000, (random) => {
      const micros = anyInstant(random);
      expect(parseInstant(formatInstant(micros))).to.equal(micros);
    });
  });

  it('writes what Date writes, and the microseconds after it', () => {
    forRandomCases(20_000, (random) => {
      const micros = anyInstant(random);
      const millis = Math.floor(micros / 1000);
      const expected = new Date(millis)
        .toISOString()
        .replace('Z', `${String(micros - millis * 1000).padStart(3, '0')}Z`);
      expect(formatInstant(micros)).to.equal(expected);
    });
  });

  it('sorts as text in the order of time', () => {
    forRandomCases(5000, (random) => {
      const [one, other] = [anyInstant(random), anyInstant(random)];
      expect(formatInstant(one) < formatInstant(other)).to.equal(one < other);
    });
  });

  it('refuses what is no whole microsecond', () => {
    for (const micros of [0.5, NaN, Infinity, 2 ** 53]) expect(() => formatInstant(micros)).to.throw(RangeError);
  });
});

describe('instantOfWallClock', () => {
  const cases: [string, string, string, string][] = [
    ['an ordinary time', '2025-06-06T20:02:45', 'Asia/Bangkok', '2025-06-06T13:02:45.000000Z'],
    ['microseconds', '2025-06-06T20:02:45.000001', 'Asia/Bangkok', '2025-06-06T13:02:45.000001Z'],
    ['the first of two in an overlap', '2025-10-26T02:30:00', 'Europe/Berlin', '2025-10-26T00:30:00.000000Z'],
    ['a skipped time as far after the gap', '2025-03-30T02:30:00', 'Europe/Berlin', '2025-03-30T01:30:00.000000Z'],
    ['the last second before a gap', '2025-03-30T01:59:59', 'Europe/Berlin', '2025-03-30T00:59:59.000000Z'],
    ['the first second after a gap', '2025-03-30T03:00:00', 'Europe/Berlin', '2025-03-30T01:00:00.000000Z'],
    ['the first second after an overlap', '2025-10-26T03:00:00', 'Europe/Berlin', '2025-10-26T02:00:00.000000Z'],
    ['a half-hour change', '2025-04-06T01:45:00', 'Australia/Lord_Howe', '2025-04-05T14:45:00.000000Z'],
    ['a skipped day', '2011-12-30T12:00:00', 'Pacific/Apia', '2011-12-30T22:00:00.000000Z'],
    ['a zone without offset', '2025-07-01T00:00:00', 'UTC', '2025-07-01T00:00:00.000000Z'],
    ['the south', '2025-10-05T02:30:00', 'Australia/Sydney', '2025-10-04T16:30:00.000000Z'],
  ];
  for (const [title, wall, zone, expected] of cases) {
    it(`takes ${title}: ${wall} ${zone}`, () => {
      expect(formatInstant(instantOfWallClock(parseInstant(wall)!, zone))).to.equal(expected);
    });
  }

  const zones = [
    'Asia/Bangkok',
    'Europe/Berlin',
    'America/New_York',
    'America/St_Johns',
    'Australia/Lord_Howe',
    'Africa/Casablanca',
  ];
  for (const zone of zones) {
    it(`gives an instant at which clocks in ${zone} show that time, or one after a gap`, () => {
      const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
      const clock = (micros: number): number => parseInstant(format.format(micros / 1000))!;
      forRandomCases(400, (random) => {
        const wall = Math.floor(Date.UTC(1975, 0, 1) / 1000 + random() * 60 * 31_556_952) * 1_000_000;
        const instant = instantOfWallClock(wall, zone);
        if (clock(instant) === wall) {
          for (const minutes of CHANGES) expect(clock(instant - minutes * 60_000_000)).to.not.equal(wall);
        } else {
          const skipped = clock(instant) - wall;
          expect(CHANGES.map((minutes) => minutes * 60_000_000)).to.include(skipped);
          expect(clock(instant - skipped)).to.be.lessThan(wall);
        }
      });
    });
  }

  it('is right at every hour around the changes of a year', () => {
    const zone = 'America/New_York';
    const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
    const first = new Map<number, number>();
    for (let hour = 0; hour < 366 * 24 * 2; hour += 1) {
      const micros = (Date.UTC(2024, 0, 1) / 1000 + hour * 1800) * 1_000_000;
      const wall = parseInstant(format.format(micros / 1000))!;
      if (!first.has(wall)) first.set(wall, micros);
    }
    for (const [wall, micros] of first) expect(instantOfWallClock(wall, zone)).to.equal(micros);
  });
});

describe('isTimezone', () => {
  for (const name of ['Asia/Bangkok', 'UTC', 'Europe/Berlin']) {
    it(`knows ${name}`, () => expect(isTimezone(name)).to.equal(true));
  }
  for (const name of ['', 'Mars/Olympus', '+07:00', 'Asia/Bangkok ']) {
    it(`does not know ${JSON.stringify(name)}`, () => expect(isTimezone(name)).to.equal(false));
  }
});
