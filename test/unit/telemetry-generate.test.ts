import { expect } from 'chai';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';

const COUNT = 20_000;
const OPTIONS = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };

describe('generated telemetry', () => {
  const bodies = [...generateTelemetry({ seed: 7, count: COUNT })];
  const decoded = bodies.map((body) => decodeMessage(body, OPTIONS));
  const readings = decoded.flatMap((message) => message.readings);
  const waterLevels = readings.filter(({ table }) => table === 'water_level_readings');

  function shareOfWaterLevels(property: (values: (typeof readings)[number]['values']) => boolean): number {
    return waterLevels.filter(({ values }) => property(values)).length / waterLevels.length;
  }

  it('is the same for the same seed and another for another', () => {
    expect([...generateTelemetry({ seed: 7, count: COUNT })]).to.deep.equal(bodies);
    expect([...generateTelemetry({ seed: 8, count: 10 })]).to.not.deep.equal(bodies.slice(0, 10));
  });

  it('does not depend on how many bodies are taken', () => {
    expect([...generateTelemetry({ seed: 7, count: 100 })]).to.deep.equal(bodies.slice(0, 100));
  });

  it('repeats about 28 % of the keys of water levels, some with the same body and some with another RSSI', () => {
    const first = new Map<string, unknown>();
    const repeats = { same: 0, otherRssi: 0 };
    for (const { sensorId, time, values } of waterLevels) {
      const key = `${sensorId} ${time}`;
      if (!first.has(key)) first.set(key, values.rssi);
      else repeats[first.get(key) === values.rssi ? 'same' : 'otherRssi'] += 1;
    }
    expect((repeats.same + repeats.otherRssi) / waterLevels.length).to.be.closeTo(0.28, 0.02);
    expect(repeats.otherRssi).to.be.greaterThan(repeats.same);
    expect(bodies.length - new Set(bodies).size).to.be.greaterThan(COUNT / 100);
  });

  it('has levels mostly negative, 40 % of the messages without a place, and some device clocks in seconds', () => {
    expect(shareOfWaterLevels(({ level_cm }) => Number(level_cm) < 0)).to.be.closeTo(0.985, 0.01);
    expect(shareOfWaterLevels(({ location_lat }) => location_lat === null)).to.be.closeTo(0.4, 0.02);
    const seconds = bodies.filter((body) => /"timestamp":\d{10}[,}]/.test(body)).length;
    expect(seconds / waterLevels.length).to.be.within(0.01, 0.1);
  });

  it('comes from about 200 sensors of three kinds', () => {
    expect(new Set(readings.map(({ sensorId }) => sensorId)).size).to.be.within(180, 220);
    expect(new Set(readings.map(({ table }) => table)).size).to.equal(3);
    expect(decoded.some((message) => message.readings.length > 1)).to.equal(true);
  });

  it('belongs in the quarantine for 1 %: not JSON, no sensor id, no level, a level too large for its column', () => {
    const reasons = new Set(decoded.flatMap(({ faults }) => faults.map(({ reason }) => reason)));
    expect([...reasons]).to.include.members(['not JSON', 'no sensorId', 'no data.level']);
    const tooLarge = waterLevels.filter(({ values }) => Math.abs(Number(values.level_cm)) >= 1000).length;
    expect(tooLarge).to.be.greaterThan(0);
    const faults = decoded.flatMap((message) => message.faults).length;
    expect((faults + tooLarge) / COUNT).to.be.within(0.005, 0.02);
  });

  it('starts when it is told to, and goes on as fast as it is told to', () => {
    const startMicros = 1_700_000_000_000_000;
    const last = [...generateTelemetry({ seed: 1, count: 1001, startMicros, spacingMs: 1000 })].map(
      (body) => /"timestamp":"([^"]+)"/.exec(body)?.[1],
    );
    expect(last[0]).to.equal('2023-11-14T22:13:20.000Z');
    expect(Date.parse(last.at(-1) ?? '') - Date.parse(last[0] ?? '')).to.be.within(900_000, 1_100_000);
  });
});
