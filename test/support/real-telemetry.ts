// The telemetry of a real installation where it is beside the repository; what stands in for it has the same figures everywhere.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createRandom } from '../../src/lib/domain/random.js';

const FOLDER = path.resolve(import.meta.dirname, '../../../shared/data/telemetry');

/** Paths of the real files; null where they are not there. */
export function realFiles(): string[] | null {
  if (!existsSync(FOLDER)) return null;
  const names = readdirSync(FOLDER).filter((name) => name.endsWith('.jsonl'));
  return names.map((name) => path.join(FOLDER, name));
}

export function bodiesOf(files: readonly string[]): string[] {
  return files.flatMap((file) => readFileSync(file, 'utf8').split('\n')).filter((line) => line !== '');
}

/** What the real messages amount to, by counting them; so do those that stand in. */
export const FIGURES = {
  messages: 3295,
  waterLevels: 3278,
  waterLevelKeys: 2353,
  keysOfSeveralRssi: 118,
  moisture: 15,
};

const START_MS = Date.UTC(2025, 5, 30);
const SENSORS = 60;
/** Mean time from one message to the next. */
const SPACING_MS = 20_000;

/**
 * Messages like the real ones: 28 % of the water levels are sent again, 118 of them with another RSSI, device clocks in
 * seconds and in ms, 40 % without a location, levels as texts, an upload notice, and a sensor `unknown`.
 */
export function standInBodies(seed: number): string[] {
  const random = createRandom(seed);
  const first = Array.from({ length: FIGURES.waterLevelKeys }, (_, place) => waterLevel(place, random));
  const repeats = FIGURES.waterLevels - FIGURES.waterLevelKeys;
  const again = Array.from({ length: repeats }, (_, place) => {
    const message = first[(place * 2) % first.length]!;
    const isOther = place < FIGURES.keysOfSeveralRssi;
    return { ...message, data: { ...message.data, RSSI: message.data.RSSI - (isOther ? 7 : 0) } };
  });
  const moisture = Array.from({ length: FIGURES.moisture }, (_, place) => soil(place, random));
  const weather = { ...envelope(100, 'unknown', 'unknown'), data: { payload: 'x' } };
  const notice = { type: 'shape-file', sensorType: 'shape-file', uploadId: 'upload-1', fileName: 'zone.zip' };
  return [...first, ...again, ...moisture, weather, notice].map((message) => JSON.stringify(message));
}

const receivedMs = (place: number): number => START_MS + place * SPACING_MS;

function envelope(place: number, sensorType: string, sensorId: string) {
  return { timestamp: new Date(receivedMs(place)).toISOString(), sensorType, sensorId };
}

/** The number of the message is in its time, so that no two have a key in common. */
function waterLevel(place: number, random: () => number) {
  const sensor = place % SENSORS;
  const inSeconds = sensor % 7 === 0;
  const measuredMs = Math.floor((receivedMs(place) - 1500) / 1000) * 1000 + (inSeconds ? 0 : place % 1000);
  const location = { lat: 14 + sensor / 100, lng: 100 + sensor / 100 };
  const level = -Math.floor(random() * 400) / 10;
  return {
    ...envelope(place, 'water-level', `AWD-${(0x9000 + sensor).toString(16).toUpperCase()}`),
    ...(place % 5 < 3 && { location }),
    data: {
      ...{ latitude: location.lat, longitude: location.lng },
      level: place % 30 === 0 ? String(level) : level,
      voltage: 380 + Math.floor(random() * 40),
      RSSI: -40 - Math.floor(random() * 60),
      timestamp: inSeconds ? measuredMs / 1000 : measuredMs,
    },
  };
}

/** One sensor a message, its time on the wall clock of Bangkok, up to ten minutes before the receipt. */
function soil(place: number, random: () => number) {
  const measuredMs = receivedMs(place * 50) - 1000 - Math.floor(random() * 590_000);
  const wallClock = new Date(measuredMs + 7 * 3_600_000).toISOString();
  const gateway = String(place % 4).padStart(5, '0');
  return {
    ...envelope(place * 50, 'moisture', `${gateway}-${gateway}`),
    location: { lat: 13.7563, lng: 100.5018 },
    data: {
      ...{ gateway_id: gateway, sensor_id: gateway, msg_type: 'interval', flood: place % 5 === 0 ? 'yes' : 'no' },
      ...{ date: wallClock.slice(0, 10).replaceAll('-', '/'), time: wallClock.slice(11, 19) },
      ...{ humid_hi: '040', humid_low: String(place), temp_hi: '25.50', temp_low: '24.90' },
      ...{ amb_humid: '60', amb_temp: '30.10', sensor_batt: '395' },
    },
  };
}
