import { expect } from 'chai';
import { decodeMessage, type Decoded } from '../../src/lib/decoders/guide-messages.js';
import {
  decode,
  entry,
  gateway,
  moisture,
  onlyReading,
  onlyReason,
  OPTIONS,
  waterLevel,
} from './telemetry-messages.js';

const DAY_MS = 86_400_000;
const RECEIVED_MS = 1_751_328_005_000;

/** `received` is when the queue took it, in ms. */
function decodeAt(message: unknown, received: number | null): Decoded {
  return decodeMessage(JSON.stringify(message), OPTIONS, { sentAt: received === null ? null : received * 1000 });
}

describe('what is too much in a message', () => {
  it('is a name of more than 1,000 characters', () => {
    expect(onlyReading(decode(waterLevel({}, { sensorId: 'x'.repeat(1000) }))).sensorId).to.have.length(1000);
    expect(onlyReason(decode(waterLevel({}, { sensorId: 'x'.repeat(1001) })))).to.match(
      /^sensorId has 1001 characters, more than 1000: "x+…$/,
    );
    const faults = decode(gateway([entry('1')], { gw_id: 'g'.repeat(100_000) })).faults;
    expect(faults.map(({ reason, sensorId }) => [reason.slice(0, 28), reason.length < 200, sensorId])).to.deep.equal([
      ['data.gw_id has 100000 charac', true, null],
    ]);
  });

  it('are more than 1,000 entries of a gateway: one fault, whatever they hold', () => {
    const entries = (count: number): unknown[] => Array.from({ length: count }, (_, place) => entry(String(place)));
    expect(decode(gateway(entries(1000))).readings).to.have.length(1000);
    expect(onlyReason(decode(gateway(entries(1001))))).to.equal('data.sensor has 1001 entries, more than 1000');
    expect(onlyReason(decode(gateway(new Array(20_000).fill(7))))).to.match(/^data\.sensor has 20000 entries/);
  });

  it('are more than ten reasons of one fault', () => {
    const wrong = Object.fromEntries(
      [
        'humid_hi',
        'humid_low',
        'temp_hi',
        'temp_low',
        'amb_humid',
        'amb_temp',
        'sensor_batt',
        'latitude',
        'longitude',
      ].map((name) => [name, 'x']),
    );
    const message = moisture(wrong, { location: { lat: 'y', lng: 'z' } });
    const reason = onlyReason(decode({ ...message, sensorId: '' }));
    expect(reason.split('; ')).to.have.length(11);
    expect(reason).to.match(/; and 2 more reasons$/);
  });

  it('are more than 100 levels, brackets in texts not counted', () => {
    const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    const other = { ...waterLevel(), sensorType: 'wx' };
    expect(onlyReading(decode({ ...other, data: nested(99) })).values.value).to.have.length(198);
    expect(onlyReason(decode({ ...other, data: nested(100) }))).to.equal('nested deeper than 100 levels');
    expect(onlyReading(decode({ ...other, data: `\\"${'['.repeat(200)}` })).values.value).to.have.length(206);
    const inner = JSON.stringify({ ...other, data: nested(100) });
    expect(onlyReason(decode({ Type: 'Notification', Message: inner }))).to.equal(
      'SNS notification: nested deeper than 100 levels',
    );
  });

  for (const number of ['9007199254740993', '-9007199254740992', '1e300', '0.12345678901234567']) {
    it(`is an id of which a number holds too few digits: ${number}`, () => {
      const body = JSON.stringify(waterLevel({}, { sensorId: 42 })).replace('"sensorId":42', `"sensorId":${number}`);
      expect(onlyReason(decodeMessage(body, OPTIONS))).to.match(/^sensorId is a number with more digits than are held/);
    });
  }

  for (const [name, body, options] of [
    ['data.gw_id', '{"sensorType":"moisture","data":{"gw_id":N,"sensor":[{"sensor_id":1}]}}', OPTIONS],
    ['data.sensor[0].sensor_id', '{"sensorType":"moisture","data":{"gw_id":1,"sensor":[{"sensor_id":N}]}}', OPTIONS],
    ['sensorId', '{"sensorType":"moisture","sensorId":N,"data":{"humid_hi":1}}', OPTIONS],
    ['sensorId', '{"sensorType":"weather","sensorId":N,"data":{"wind":1}}', OPTIONS],
    ['sensorType', '{"sensorType":N,"sensorId":"a","data":{"wind":1}}', OPTIONS],
    [
      ...['data.macAddress', '{"sensorType":"water-level","data":{"macAddress":N,"level":1}}'],
      { ...OPTIONS, sensorIdFromMac: true },
    ],
  ] as const) {
    it(`is such a number wherever an id is read: ${name} of ${body}`, () => {
      const received = body.replace('N', '9007199254740993').replace('{', '{"timestamp":"2025-07-01T00:00:00Z",');
      expect(onlyReason(decodeMessage(received, options))).to.contain(`${name} is a number with more digits`);
    });
  }

  for (const [number, text] of [
    ['9007199254740991', '9007199254740991'],
    ['-12.5', '-12.5'],
    ['0.123456789012345', '0.123456789012345'],
  ] as const) {
    it(`is no id that a number holds: ${number}`, () => {
      const body = JSON.stringify(waterLevel({}, { sensorId: 42 })).replace('"sensorId":42', `"sensorId":${number}`);
      expect(onlyReading(decodeMessage(body, OPTIONS)).sensorId).to.equal(text);
    });
  }
});

describe('a place', () => {
  for (const [lat, lng] of [
    [90, 180],
    [-90, -180],
    [0, 0],
  ] as const) {
    it(`exists at ${lat}, ${lng}`, () => {
      const { values } = onlyReading(decode(waterLevel({}, { location: { lat, lng } })));
      expect([values.location_lat, values.location_lng]).to.deep.equal([lat, lng]);
    });
  }

  for (const [lat, lng] of [
    [999, 0],
    [90.000001, 0],
    [-91, 0],
    [0, 180.5],
    [0, -181],
  ] as const) {
    it(`does not exist at ${lat}, ${lng}`, () => {
      const messages = [
        waterLevel({}, { location: { lat, lng } }),
        waterLevel({ latitude: lat, longitude: String(lng) }),
        moisture({}, { location: { lat, lng } }),
        gateway([entry('1')], { latitude: lat, longitude: lng }),
        { ...waterLevel({}, { location: { lat, lng } }), sensorType: 'wx' },
      ];
      for (const message of messages) expect(onlyReason(decode(message))).to.match(/ are no place on earth: /);
    });
  }
});

describe('a time', () => {
  const REASON = /^its time is more than a day ahead of its receipt: /;

  it('may be a day ahead of the receipt', () => {
    const message = waterLevel({ timestamp: RECEIVED_MS + DAY_MS });
    expect(onlyReading(decodeAt(message, RECEIVED_MS)).time).to.equal('2025-07-02T00:00:05.000000Z');
  });

  for (const [title, message, sentMs] of [
    ['that of the message', waterLevel({ timestamp: RECEIVED_MS + DAY_MS + 1 }), null],
    ['that of the message, though the queue took it later', waterLevel({ timestamp: 4_000_000_000 }), 4.1e12],
    [
      'that of the queue, though the message says later',
      waterLevel({ timestamp: null }, { timestamp: '2254-01-01T00:00:00Z' }),
      RECEIVED_MS,
    ],
    ['that of the queue, for moisture', moisture({ date: '2254/01/01' }), RECEIVED_MS],
    [
      'that of the queue, for any sensor',
      { ...waterLevel({}, { timestamp: '2254-01-01T00:00:00Z' }), sensorType: 'wx' },
      RECEIVED_MS,
    ],
  ] as const) {
    it(`may not be further ahead of ${title}`, () => {
      const decoded = decodeAt(message, sentMs);
      expect(onlyReason(decoded)).to.match(REASON);
      expect(decoded.faults[0]!.sensorId).to.be.a('string');
    });
  }

  it('far ahead of one entry leaves the other entries of its gateway alone', () => {
    const message = gateway([entry('1'), entry('2', { sensor_date: '2254/01/01' })]);
    const { readings, faults } = decodeAt(message, RECEIVED_MS);
    expect(readings.map(({ sensorId }) => sensorId)).to.deep.equal(['0003-1']);
    expect(faults.map(({ sensorId, time }) => [sensorId, time])).to.deep.equal([
      ['0003-2', '2254-01-01T00:00:01.000000Z'],
    ]);
  });

  it('long before the queue took it is history that is sent again', () => {
    expect(decodeAt(waterLevel(), RECEIVED_MS + 5000 * DAY_MS).faults).to.deep.equal([]);
  });
});
