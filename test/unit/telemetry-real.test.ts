import { expect } from 'chai';
import { parseInstant } from '../../src/lib/domain/time.js';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import { expectedOf } from '../support/expected-telemetry.js';
import { bodiesOf, FIGURES, realFiles, standInBodies } from '../support/real-telemetry.js';
import { seedOf } from '../support/seed.js';

const OPTIONS = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };

const files = realFiles();

/** The real messages where they are; those that stand in for them always. */
const SOURCES: readonly (readonly [title: string, read: () => string[]])[] = [
  ['telemetry like the real one', () => standInBodies(seedOf(9))],
  ...(files === null ? [] : ([['the real telemetry', () => bodiesOf(files)]] as const)),
];

for (const [title, read] of SOURCES) {
  describe(title, () => {
    const bodies = read();
    const decoded = bodies.map((body) => decodeMessage(body, OPTIONS));
    const readings = decoded.flatMap((message) => message.readings);
    const waterLevels = readings.filter(({ table }) => table === 'water_level_readings');

    it('holds 3295 messages, of which one is no telemetry', () => {
      expect(decoded).to.have.length(FIGURES.messages);
      expect(decoded.flatMap((message) => message.faults)).to.deep.equal([
        { reason: 'no sensorId; no data; no readable time', sensorId: null, time: null },
      ]);
    });

    it('holds 3278 readings of water levels, 15 of moisture and 1 of another type', () => {
      const tables = new Map<string, number>();
      for (const { table } of readings) tables.set(table, (tables.get(table) ?? 0) + 1);
      expect(Object.fromEntries(tables)).to.deep.equal({
        moisture_readings: FIGURES.moisture,
        sensor_readings: 1,
        water_level_readings: FIGURES.waterLevels,
      });
      expect(readings.find(({ table }) => table === 'sensor_readings')?.sensorId).to.equal('unknown');
    });

    it('holds 2353 distinct keys of water levels, 118 of them with more than one RSSI', () => {
      const strengths = new Map<string, Set<unknown>>();
      for (const { sensorId, time, values } of waterLevels) {
        const key = `${sensorId} ${time}`;
        strengths.set(key, (strengths.get(key) ?? new Set()).add(values.rssi));
      }
      expect(strengths.size).to.equal(FIGURES.waterLevelKeys);
      expect([...strengths.values()].filter((rssi) => rssi.size > 1)).to.have.length(FIGURES.keysOfSeveralRssi);
    });

    it('has 40 % of its messages without a location, and device clocks in seconds and in ms', () => {
      const sent = bodies.filter((body) => body.includes('"sensorType":"water-level"'));
      const placeless = sent.filter((body) => !body.includes('"location":{')).length;
      expect(placeless / sent.length).to.be.closeTo(0.4, 0.01);
      expect(waterLevels.filter(({ values }) => values.location_lat === null)).to.deep.equal([]);
      for (const digits of [10, 13]) {
        expect(bodies.some((body) => new RegExp(`"timestamp":"?\\d{${digits}}[",}]`).test(body))).to.equal(true);
      }
    });

    it('gives each reading the sensor and the time that the design gives it', () => {
      const keys = readings.map(({ table, sensorId, time }) => `${table} ${sensorId} ${time}`);
      expect(keys).to.deep.equal(bodies.flatMap((body) => expectedOf(body).keys));
    });

    it('places each moisture reading within ten minutes before its receipt, by the wall clock of Bangkok', () => {
      const delays = decoded.flatMap(({ readings: each }, index) => {
        const received = parseInstant(/"timestamp":"([^"]+)"/.exec(bodies[index]!)?.[1] ?? '')!;
        return each
          .filter(({ table }) => table === 'moisture_readings')
          .map(({ time }) => received - parseInstant(time)!);
      });
      expect(delays).to.have.length(FIGURES.moisture);
      for (const delay of delays) expect(delay).to.be.within(0, 600_000_000);
    });
  });
}
