import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import { READING_COLUMNS } from '../../src/lib/decoders/guide-tables.js';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import type { Decoded } from '../../src/lib/decoders/guide-messages.js';
import {
  OPTIONS,
  decode,
  entry,
  gateway,
  moisture,
  onlyReading,
  onlyReason,
  waterLevel,
} from './telemetry-messages.js';
import { newSeed } from '../support/seed.js';

describe('any message', () => {
  for (const body of ['', '{', 'null', '[]', '5', '"text"', '\uFEFF{}']) {
    it(`is refused where the body is ${JSON.stringify(body)}`, () => {
      expect(onlyReason(decodeMessage(body, OPTIONS))).to.match(/^not (JSON|a JSON object)$/);
    });
  }

  it('is unwrapped from an SNS notification, once', () => {
    const notification = { Type: 'Notification', Message: JSON.stringify(waterLevel()) };
    expect(onlyReading(decode(notification)).sensorId).to.equal('AWD-1');
    expect(onlyReason(decode({ Type: 'Notification', Message: JSON.stringify(notification) }))).to.equal(
      'no sensorType',
    );
    expect(onlyReason(decode({ Type: 'Notification', Message: '{' }))).to.equal('SNS notification: not JSON');
  });

  it('is itself where it has a Message of its own and is no notification', () => {
    expect(onlyReading(decode(waterLevel({}, { Message: '{}' }))).sensorId).to.equal('AWD-1');
  });

  for (const id of ['a\0b', 'a\ud800b', '\udc00']) {
    it(`is refused for the sensor id ${JSON.stringify(id)}, which stays out of the fault`, () => {
      const decoded = decode(waterLevel({}, { sensorId: id }));
      expect(onlyReason(decoded)).to.match(/^sensorId holds a character that PostgreSQL cannot store/);
      expect(decoded.faults[0]!.sensorId).to.equal(null);
    });
  }

  it('is quoted in a reason without cutting a character in two', () => {
    for (const before of ['', 'x']) {
      const reason = onlyReason(decode(waterLevel({ RSSI: `${before}${'\u{1F4A7}'.repeat(40)}` })));
      expect(reason).to.match(/^data\.RSSI is not a number: "x?\u{1F4A7}+…$/u);
    }
  });

  it('never throws, and yields only storable text under the names of the columns', function () {
    this.timeout(60_000);
    const firstSeed = newSeed();
    for (let seed = firstSeed; seed < firstSeed + 20_000; seed += 1) {
      const body = anyBody(createRandom(seed));
      try {
        expectWellFormed(decodeMessage(body, { ...OPTIONS, sensorIdFromMac: seed % 2 === 0 }));
      } catch (error) {
        throw new Error(`fails with seed ${seed} on ${body.slice(0, 500)}: ${String(error)}`, { cause: error });
      }
    }
  });

  it('costs time in proportion to its length where a number is a long text of digits', () => {
    const start = performance.now();
    expect(onlyReason(decode(waterLevel({ level: `${'1'.repeat(100_000)}x` })))).to.match(
      /^data.level is not a number/,
    );
    expect(performance.now() - start).to.be.lessThan(1000);
  });
});

function expectWellFormed({ readings, faults }: Decoded): void {
  const storable = (text: string): boolean => !/\0|\p{Cs}/u.test(text);
  if (readings.length + faults.length === 0) expect.fail('neither a reading nor a fault');
  for (const { table, time, sensorId, values } of readings) {
    expect(['time', 'sensor_id', ...Object.keys(values)]).to.have.members(Object.keys(READING_COLUMNS[table]));
    expect(time).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(sensorId !== '' && storable(sensorId)).to.equal(true);
    for (const value of Object.values(values)) {
      if (typeof value === 'number') expect(value).to.satisfy(Number.isFinite);
      if (typeof value === 'string') expect(storable(value)).to.equal(true);
    }
  }
  for (const { reason, sensorId } of faults) {
    expect(reason !== '' && storable(reason) && storable(sensorId ?? '')).to.equal(true);
  }
}

/** Valid messages with fields replaced by anything, random JSON, and random bytes. */
function anyBody(random: () => number): string {
  const kind = random();
  if (kind < 0.1) return Array.from({ length: 40 }, () => String.fromCharCode(Math.floor(random() * 65_536))).join('');
  if (kind < 0.2) return JSON.stringify([anyValue(random, 3)]).slice(1, -1);
  const base = [waterLevel(), moisture(), gateway([entry('1'), entry('2')]), { ...waterLevel(), sensorType: 'wx' }];
  const text = JSON.stringify(base[Math.floor(random() * base.length)], (key, value: unknown) =>
    key !== '' && random() < 0.12 ? anyValue(random, 2) : value,
  );
  // Numbers that only JSON text can hold, and text that ends too early.
  const body = text.replace(/-?\d+(?=[,}])/g, (number) => (random() < 0.02 ? '1e400' : number));
  return random() < 0.05 ? body.slice(0, Math.floor(random() * body.length)) : body;
}

function anyValue(random: () => number, depth: number): unknown {
  const scalars = [
    null,
    true,
    '',
    ' ',
    'abc',
    '1e999',
    '-12.5',
    0,
    -0,
    1e308,
    -5e-324,
    2 ** 60,
    'a\0',
    '\ud800',
    'é',
    undefined,
  ];
  const kind = Math.floor(random() * (scalars.length + (depth > 0 ? 4 : 0)));
  if (kind < scalars.length) return scalars[kind];
  const items = Array.from({ length: Math.floor(random() * 4) }, () => anyValue(random, depth - 1));
  const names = ['level', 'sensor_id', 'sensor', 'gw_id', '__proto__', 'toJSON', 'lat', 'data'];
  if (kind % 2 === 0) return items;
  return Object.fromEntries(items.map((item) => [names[Math.floor(random() * names.length)] ?? '', item]));
}
