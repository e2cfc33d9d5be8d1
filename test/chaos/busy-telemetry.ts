import { createRandom } from '../../src/lib/domain/random.js';
import { formatInstant } from '../../src/lib/domain/time.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';

/** Sensors that send without pause and never say where they are: nothing puts their location right again. */
export const BUSY_SENSORS = ['BUSY-1', 'BUSY-2', 'BUSY-3'] as const;
/** Sensors whose readings all lie within one minute, in whatever order: each batch in flight covers all of them. */
export const CROWD = 'CROWD-';

const SPACING_MS = 50;
const CROWD_SENSORS = 200;
const MINUTE_MS = 60_000;
/** Places between which a sensor on the edge of two radio cells goes to and fro, as real ones do. */
const CELLS = [
  { lat: 13.873459, lng: 100.951145 },
  { lat: 13.4894604, lng: 99.7936377 },
];

/** What makes it hard to compare two sides that are written to: yields bodies without end, the same for the same seed. */
export function* busyTelemetry({ seed, startMicros }: { seed: number; startMicros: number }): Generator<string> {
  const random = createRandom(seed);
  const plain = generateTelemetry({ seed, count: Infinity, startMicros, spacingMs: SPACING_MS });
  const startMs = Math.floor(startMicros / 1000);
  for (let index = 0; ; index += 1) {
    const draw = random();
    const nowMs = startMs + index * SPACING_MS;
    if (draw < 0.15) yield crowded(startMs - 10 * MINUTE_MS + Math.floor(random() * MINUTE_MS), random);
    else if (draw < 0.25) yield reading(BUSY_SENSORS[index % BUSY_SENSORS.length] ?? '', nowMs);
    else if (draw < 0.35) yield reading('TO-AND-FRO', nowMs, CELLS[index % CELLS.length]);
    else if (draw < 0.4) yield weather('TO-AND-FRO', nowMs);
    else yield plain.next().value as string;
  }
}

function crowded(timeMs: number, random: () => number): string {
  return reading(`${CROWD}${Math.floor(random() * CROWD_SENSORS)}`, timeMs);
}

function reading(sensorId: string, timeMs: number, location?: { lat: number; lng: number }): string {
  const timestamp = formatInstant(timeMs * 1000);
  const data = { level: -(timeMs % 20), RSSI: -60, voltage: 385, timestamp: timeMs };
  return JSON.stringify({ timestamp, sensorType: 'water-level', sensorId, ...(location && { location }), data });
}

/** Of the same sensor, and of another type. */
function weather(sensorId: string, timeMs: number): string {
  const timestamp = formatInstant(timeMs * 1000);
  return JSON.stringify({ timestamp, sensorType: 'weather', sensorId, data: { rain: timeMs % 7 } });
}
