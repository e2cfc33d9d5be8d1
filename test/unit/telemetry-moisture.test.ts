import { expect } from 'chai';
import { RECEIVED, decode, moisture, onlyReading, onlyReason } from './telemetry-messages.js';
import type { Json } from './telemetry-messages.js';

describe('a moisture message of one sensor', () => {
  it('becomes one reading with every column of its table', () => {
    expect(onlyReading(decode(moisture({ flood: 'yes' }, { location: { lat: 13, lng: 100 } })))).to.deep.equal({
      table: 'moisture_readings',
      time: '2025-07-01T00:00:02.000000Z',
      sensorId: '7-7',
      sensorType: 'moisture',
      values: {
        location_lat: 13,
        location_lng: 100,
        moisture_surface_pct: 45,
        moisture_deep_pct: 58,
        temp_surface_c: 28.5,
        temp_deep_c: 27,
        ambient_humidity_pct: 65,
        ambient_temp_c: 32.5,
        flood_status: true,
        voltage: 3.95,
        quality_score: 1,
      },
    });
  });

  const times: [string, Json, string][] = [
    ['date and time on the wall clock of Bangkok', {}, '2025-07-01T00:00:02.000000Z'],
    [
      'sensor_date and sensor_utc first',
      { sensor_date: '2025/06/30', sensor_utc: '23:59:58' },
      '2025-06-30T23:59:58.000000Z',
    ],
    [
      'date and time where sensor_utc is unreadable',
      { sensor_date: '2025/06/30', sensor_utc: '24:00:00' },
      '2025-07-01T00:00:02.000000Z',
    ],
    ['date and time where sensor_date is missing', { sensor_utc: '23:59:58' }, '2025-07-01T00:00:02.000000Z'],
    ['midnight', { time: '00:00:00' }, '2025-06-30T17:00:00.000000Z'],
    ['the time of receipt where the date is missing', { date: undefined }, RECEIVED],
    ['the time of receipt where the year has two digits', { date: '25/07/01' }, RECEIVED],
    ['the time of receipt where the date is zeros', { date: '0000/00/00' }, RECEIVED],
    ['the time of receipt where there is no such day', { date: '2025/02/29' }, RECEIVED],
    ['the time of receipt where the time is a number', { time: 700 }, RECEIVED],
    ['the time of receipt where the time names a zone', { time: '07:00:02Z' }, RECEIVED],
  ];
  for (const [title, data, expected] of times) {
    it(`takes its time from ${title}`, () => expect(onlyReading(decode(moisture(data))).time).to.equal(expected));
  }

  it('reads the wall clock in the zone that is set, and sensor_utc in UTC whatever is set', () => {
    const utc = moisture({ sensor_date: '2025/07/01', sensor_utc: '07:00:02' });
    expect(onlyReading(decode(moisture(), { timezone: 'Europe/Berlin' })).time).to.equal('2025-07-01T05:00:02.000000Z');
    expect(onlyReading(decode(utc, { timezone: 'Europe/Berlin' })).time).to.equal('2025-07-01T07:00:02.000000Z');
  });

  const floods: [unknown, boolean | null, number][] = [
    ['yes', true, 1],
    ['no', false, 1],
    ['YES', false, 1],
    [undefined, null, 0.9],
    [null, null, 0.9],
    ['', null, 0.9],
  ];
  for (const [flood, status, score] of floods) {
    it(`reads flood ${JSON.stringify(flood)} as ${status} and scores ${score}`, () => {
      const { values } = onlyReading(decode(moisture({ flood })));
      expect([values.flood_status, values.quality_score]).to.deep.equal([status, score]);
    });
  }

  const scores: [string, Json, number][] = [
    ['humid_hi is 0', { humid_hi: '0' }, 0.7],
    ['humid_hi is missing', { humid_hi: '' }, 0.7],
    ['humid_low is 0', { humid_low: 0 }, 0.7],
    ['humid_low is missing', { humid_low: null }, 0.7],
    ['temp_hi is missing', { temp_hi: undefined }, 0.8],
    ['temp_hi is -10', { temp_hi: -10 }, 1],
    ['temp_hi is below -10', { temp_hi: -10.1 }, 0.8],
    ['temp_hi is 60', { temp_hi: 60 }, 1],
    ['temp_hi is above 60', { temp_hi: 60.1 }, 0.8],
    ['sensor_batt is 200', { sensor_batt: 200 }, 1],
    ['sensor_batt is below 200', { sensor_batt: 199 }, 0.9],
    ['sensor_batt is missing', { sensor_batt: undefined }, 0.9],
    ['three are off', { humid_hi: 0, humid_low: 0, temp_hi: 61 }, 0.2],
    ['all are off', { humid_hi: 0, humid_low: 0, temp_hi: 61, sensor_batt: 1, flood: '' }, 0],
  ];
  for (const [title, data, expected] of scores) {
    it(`scores ${expected} where ${title}`, () => {
      expect(onlyReading(decode(moisture(data))).values.quality_score).to.equal(expected);
    });
  }

  const refusals: [string, Json, string][] = [
    ['a humidity that is none', moisture({ humid_hi: 'wet' }), 'data.humid_hi is not a number: "wet"'],
    ['no data', moisture({}, { data: null }), 'no data'],
    ['no sensor id', moisture({}, { sensorId: null }), 'no sensorId'],
  ];
  for (const [title, message, expected] of refusals) {
    it(`is refused for ${title}`, () => expect(onlyReason(decode(message))).to.equal(expected));
  }
});
