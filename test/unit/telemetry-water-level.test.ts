import { expect } from 'chai';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import { OPTIONS, RECEIVED, decode, onlyReading, onlyReason, waterLevel } from './telemetry-messages.js';
import type { Json } from './telemetry-messages.js';

describe('a water-level message', () => {
  it('becomes one reading with every column of its table', () => {
    const message = waterLevel({ temperature: '31.5' }, { location: { lat: 13.5, lng: '100.25' } });
    expect(onlyReading(decode(message))).to.deep.equal({
      table: 'water_level_readings',
      time: '2025-07-01T00:00:00.123000Z',
      sensorId: 'AWD-1',
      sensorType: 'water-level',
      values: {
        location_lat: 13.5,
        location_lng: 100.25,
        level_cm: 12,
        voltage: 4,
        rssi: -60,
        temperature: 31.5,
        quality_score: 1,
      },
    });
  });

  const times: [string, unknown, string][] = [
    ['milliseconds', 1751328000123, '2025-07-01T00:00:00.123000Z'],
    ['seconds', 1751328000, '2025-07-01T00:00:00.000000Z'],
    ['seconds with decimals', 1751328000.123456, '2025-07-01T00:00:00.123456Z'],
    ['milliseconds with decimals', 1751328000123.456, '2025-07-01T00:00:00.123456Z'],
    ['a numeric text', ' 1751328000123 ', '2025-07-01T00:00:00.123000Z'],
    ['the first second of 2000', 946684800, '2000-01-01T00:00:00.000000Z'],
    ['the last number below 1e11 as seconds, a year out of range', 99999999999, RECEIVED],
    ['1e11 as milliseconds, a year out of range', 1e11, RECEIVED],
    ['one second before 2000', 946684799, RECEIVED],
    ['the first second of 2101', 4133980800, RECEIVED],
    ['a negative epoch', -5, RECEIVED],
    ['zero', 0, RECEIVED],
    ['nothing', undefined, RECEIVED],
    ['null', null, RECEIVED],
    ['an empty text', '', RECEIVED],
    ['an ISO text, no number', '2025-07-01T00:00:00Z', RECEIVED],
    ['a boolean', true, RECEIVED],
    ['an object', {}, RECEIVED],
  ];
  for (const [title, timestamp, expected] of times) {
    it(`takes its time from ${title}: ${expected}`, () => {
      expect(onlyReading(decode(waterLevel({ timestamp }))).time).to.equal(expected);
    });
  }

  it('takes its time from the last second of 2100, where it was received then', () => {
    const received = { timestamp: '2101-01-01T00:01:00Z' };
    const { time } = onlyReading(decode(waterLevel({ timestamp: 4133980799 }, received)));
    expect(time).to.equal('2100-12-31T23:59:59.000000Z');
  });

  it('takes 1e400 as device time for no number and falls back', () => {
    const body = JSON.stringify(waterLevel({ timestamp: 42 })).replace('42', '1e400');
    expect(onlyReading(decodeMessage(body, OPTIONS)).time).to.equal(RECEIVED);
  });

  const scores: [string, Json, number][] = [
    ['all is well', {}, 1],
    ['the level is 0', { level: 0 }, 1],
    ['the level is 30', { level: 30 }, 1],
    ['the level is below 0', { level: -0.1 }, 0.7],
    ['the level is above 30', { level: 30.1 }, 0.7],
    ['the raw voltage is 300', { voltage: 300 }, 1],
    ['the raw voltage is 500', { voltage: '500' }, 1],
    ['the raw voltage is below 300', { voltage: 299 }, 0.8],
    ['the raw voltage is above 500', { voltage: 501 }, 0.8],
    ['RSSI is -100', { RSSI: -100 }, 1],
    ['RSSI is below -100', { RSSI: -101 }, 0.9],
    ['level and voltage are off', { level: -3, voltage: 70 }, 0.5],
    ['all are off', { level: -3, voltage: 70, RSSI: -101 }, 0.4],
    ['voltage and RSSI are missing', { voltage: undefined, RSSI: null }, 1],
  ];
  for (const [title, data, expected] of scores) {
    it(`scores ${expected} where ${title}`, () => {
      expect(onlyReading(decode(waterLevel(data))).values.quality_score).to.equal(expected);
    });
  }

  const numbers: [unknown, number | null][] = [
    [-3, -3],
    ['-3', -3],
    [' 018 ', 18],
    ['+1.50', 1.5],
    ['.5', 0.5],
    ['5.', 5],
    ['1e2', 100],
    [null, null],
    ['', null],
    ['  ', null],
    [undefined, null],
  ];
  for (const [sent, expected] of numbers) {
    it(`reads the number ${JSON.stringify(sent)} as ${expected}`, () => {
      expect(onlyReading(decode(waterLevel({ temperature: sent }))).values.temperature).to.equal(expected);
    });
  }

  const noNumbers: [unknown, string][] = [
    ['abc', 'not a number: "abc"'],
    ['0x10', 'not a number: "0x10"'],
    ['1,5', 'not a number: "1,5"'],
    ['Infinity', 'not a number: "Infinity"'],
    ['1e400', 'not finite: "1e400"'],
    ['1 2', 'not a number: "1 2"'],
    ['.', 'not a number: "."'],
    [true, 'not a number: true'],
    [[5], 'not a number: [5]'],
    [{ a: 1 }, 'not a number: {"a":1}'],
    ['x'.repeat(200), `not a number: "${'x'.repeat(39)}…`],
  ];
  for (const [sent, expected] of noNumbers) {
    it(`is refused for RSSI ${JSON.stringify(sent).slice(0, 20)}, naming field and value`, () => {
      expect(onlyReason(decode(waterLevel({ RSSI: sent })))).to.equal(`data.RSSI is ${expected}`);
    });
  }

  it('is refused for a number that JSON.parse makes infinite', () => {
    const body = JSON.stringify(waterLevel({ level: 42 })).replace('"level":42', '"level":1e400');
    expect(onlyReason(decodeMessage(body, OPTIONS))).to.equal('data.level is not finite: Infinity');
  });

  const places: [string, Json, Json, (number | null)[]][] = [
    ['location', { location: { lat: 1, lng: 2 } }, { latitude: 3, longitude: 4 }, [1, 2]],
    ['data where there is no location', {}, { latitude: '3', longitude: 4 }, [3, 4]],
    ['data where location is null', { location: null }, { latitude: 3, longitude: 4 }, [3, 4]],
    ['data where location lacks a coordinate', { location: { lat: 1 } }, { latitude: 3, longitude: 4 }, [3, 4]],
    [
      'location as zeros, which are coordinates',
      { location: { lat: 0, lng: 0 } },
      { latitude: 3, longitude: 4 },
      [0, 0],
    ],
    ['nowhere where one coordinate alone is known', {}, { latitude: 3 }, [null, null]],
    ['nowhere', {}, {}, [null, null]],
  ];
  for (const [title, message, data, expected] of places) {
    it(`takes its place from ${title}`, () => {
      const { values } = onlyReading(decode(waterLevel(data, message)));
      expect([values.location_lat, values.location_lng]).to.deep.equal(expected);
    });
  }

  const refusals: [string, Json, string][] = [
    ['no level', waterLevel({ level: undefined }), 'no data.level'],
    ['a null level', waterLevel({ level: null }), 'no data.level'],
    ['a blank level', waterLevel({ level: ' ' }), 'no data.level'],
    ['no data', waterLevel({}, { data: undefined }), 'no data.level'],
    ['data that is a text', waterLevel({}, { data: 'x' }), 'data is not an object: "x"; no data.level'],
    ['data that is an array', waterLevel({}, { data: [1] }), 'data is not an object: [1]; no data.level'],
    ['no sensor id', waterLevel({}, { sensorId: undefined }), 'no sensorId'],
    ['an empty sensor id', waterLevel({}, { sensorId: '' }), 'no sensorId'],
    ['an object as sensor id', waterLevel({}, { sensorId: {} }), 'sensorId is not a text: {}'],
    ['a location that is a text', waterLevel({}, { location: 'here' }), 'location is not an object: "here"'],
    [
      'a coordinate that is none',
      waterLevel({}, { location: { lat: 'N', lng: 1 } }),
      'location.lat is not a number: "N"',
    ],
    ['a data coordinate that is none', waterLevel({ latitude: {} }), 'data.latitude is not a number: {}'],
    ['no time at all', waterLevel({ timestamp: null }, { timestamp: 'now' }), 'no readable time'],
    ['a receipt that is an epoch', waterLevel({ timestamp: null }, { timestamp: 1751328000 }), 'no readable time'],
    ['no sensor type', waterLevel({}, { sensorType: undefined }), 'no sensorType'],
    ['an empty sensor type', waterLevel({}, { sensorType: '' }), 'no sensorType'],
    [
      'two faults',
      waterLevel({ level: 'a', RSSI: 'b' }),
      'data.level is not a number: "a"; data.RSSI is not a number: "b"',
    ],
  ];
  for (const [title, message, expected] of refusals) {
    it(`is refused for ${title}`, () => expect(onlyReason(decode(message))).to.equal(expected));
  }

  it('takes a number as sensor id for its text', () => {
    expect(onlyReading(decode(waterLevel({}, { sensorId: 17 }))).sensorId).to.equal('17');
  });

  it('tells with a fault what is known of sensor and time', () => {
    expect(decode(waterLevel({ level: 'a' })).faults).to.deep.equal([
      { reason: 'data.level is not a number: "a"', sensorId: 'AWD-1', time: '2025-07-01T00:00:00.123000Z' },
    ]);
  });

  it('takes its sensor id from the MAC address where that is set', () => {
    const message = waterLevel({}, { sensorId: undefined });
    expect(onlyReading(decode(message, { sensorIdFromMac: true })).sensorId).to.equal('AWD-A0E8');
  });

  it('takes a MAC address of four characters whole', () => {
    expect(onlyReading(decode(waterLevel({ macAddress: 'a0e8' }), { sensorIdFromMac: true })).sensorId).to.equal(
      'AWD-A0E8',
    );
  });

  it('does not cut a character of its MAC address in two', () => {
    const reading = onlyReading(decode(waterLevel({ macAddress: '00\u{1F4A7}abc' }), { sensorIdFromMac: true }));
    expect(reading.sensorId).to.equal('AWD-\u{1F4A7}ABC');
  });

  const macs: [unknown, string][] = [
    [undefined, 'no data.macAddress'],
    ['0e8', 'data.macAddress is shorter than four characters: "0e8"'],
    [{}, 'data.macAddress is not a text: {}'],
  ];
  for (const [macAddress, expected] of macs) {
    it(`is refused for the MAC address ${JSON.stringify(macAddress)} where its id comes from it`, () => {
      expect(onlyReason(decode(waterLevel({ macAddress }), { sensorIdFromMac: true }))).to.equal(expected);
    });
  }

  it('leaves the limits of columns to the database', () => {
    const message = waterLevel({ level: 123456 }, { sensorId: 'x'.repeat(300) });
    expect(onlyReading(decode(message)).values.level_cm).to.equal(123456);
  });
});
