import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { parseInstant } from '../../src/lib/domain/time.js';
import { decodeMessage } from '../../src/lib/telemetry/decode.js';
import type { Decoded } from '../../src/lib/telemetry/decode.js';

const FOLDER = new URL('../../../shared/data/telemetry/', import.meta.url);
const OPTIONS = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };

const describeWhereItIs = existsSync(FOLDER) ? describe : describe.skip;

describeWhereItIs('the real telemetry (skipped where shared/data/telemetry is not beside the repository)', () => {
  let bodies: string[] = [];
  let decoded: Decoded[] = [];

  before(() => {
    const files = readdirSync(FOLDER).filter((name) => name.endsWith('.jsonl'));
    const lines = files.flatMap((name) => readFileSync(new URL(name, FOLDER), 'utf8').split('\n'));
    bodies = lines.filter((line) => line !== '');
    decoded = bodies.map((body) => decodeMessage(body, OPTIONS));
  });

  it('holds 3295 messages, of which one is no telemetry', () => {
    expect(decoded).to.have.length(3295);
    expect(decoded.flatMap((message) => message.faults)).to.deep.equal([
      { reason: 'no sensorId; no data; no readable time', sensorId: null, time: null },
    ]);
  });

  it('holds 3278 readings of water levels, 15 of moisture and 1 of another type', () => {
    const tables = new Map<string, number>();
    for (const { table } of decoded.flatMap((message) => message.readings)) {
      tables.set(table, (tables.get(table) ?? 0) + 1);
    }
    expect(Object.fromEntries(tables)).to.deep.equal({
      moisture_readings: 15,
      sensor_readings: 1,
      water_level_readings: 3278,
    });
  });

  it('holds 2353 distinct keys of water levels, 118 of them with more than one RSSI', () => {
    const strengths = new Map<string, Set<unknown>>();
    for (const { table, sensorId, time, values } of decoded.flatMap((message) => message.readings)) {
      if (table !== 'water_level_readings') continue;
      const key = `${sensorId} ${time}`;
      strengths.set(key, (strengths.get(key) ?? new Set()).add(values.rssi));
    }
    expect(strengths.size).to.equal(2353);
    expect([...strengths.values()].filter((rssi) => rssi.size > 1)).to.have.length(118);
  });

  it('places each moisture reading within ten minutes before its receipt, by the wall clock of Bangkok', () => {
    const delays = decoded.flatMap(({ readings }, index) => {
      const received = parseInstant(/"timestamp":"([^"]+)"/.exec(bodies[index]!)?.[1] ?? '')!;
      return readings
        .filter(({ table }) => table === 'moisture_readings')
        .map(({ time }) => received - parseInstant(time)!);
    });
    expect(delays).to.have.length(15);
    for (const delay of delays) expect(delay).to.be.within(0, 600_000_000);
  });
});
