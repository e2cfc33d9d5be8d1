import { createRandom } from '../domain/random.js';
import { parseInstant } from '../domain/time.js';
import {
  BANGKOK_OFFSET_MS,
  clockTexts,
  createEnvelope,
  createSensors,
  decimals,
  integer,
  pick,
  receiptText,
} from './scene.js';
import type { Scene } from './scene.js';

/** The telemetry to generate; the same options give the same bodies. */
export interface GenerateOptions {
  readonly seed: number;
  /** Number of message bodies. */
  readonly count: number;
  /** When the first message is received; 2025-07-01T00:00:00Z where left out. */
  readonly startMicros?: number;
  /** Mean time from one message to the next, 50 ms where left out. */
  readonly spacingMs?: number;
}

const DEFAULT_START = parseInstant('2025-07-01T00:00:00Z') ?? 0;
const RECENT_MESSAGES = 500;
const REPEATED = 0.28;
const WITHOUT_LOCATION = 0.4;

/** Yields message bodies with the proportions of the real telemetry, some of them for the quarantine, in bounded memory. */
export function* generateTelemetry(options: GenerateOptions): Generator<string> {
  const random = createRandom(options.seed);
  const nowMs = Math.floor((options.startMicros ?? DEFAULT_START) / 1000);
  const stream: Stream = { random, sensors: createSensors(random), recent: [], nowMs };
  for (let yielded = 0; yielded < options.count; yielded += 1) {
    yield createBody(stream);
    stream.nowMs += Math.floor(random() * 2 * (options.spacingMs ?? 50));
  }
}

function createBody(stream: Stream): string {
  const kind = stream.random();
  if (kind < 0.01) return createUnstorable(stream);
  if (kind < 0.04) return JSON.stringify(createWeather(stream));
  if (kind < 0.1) return JSON.stringify(createMoisture(stream));
  if (kind < 0.13) return JSON.stringify(createGatewayMessage(stream));
  const repeats = stream.random() < REPEATED && stream.recent.length > 0;
  return JSON.stringify(repeats ? repeatWaterLevel(stream) : remember(stream, createWaterLevel(stream)));
}

type WaterMessage = ReturnType<typeof createWaterLevel>;

interface Stream extends Scene {
  /** Messages that a device may send again. */
  readonly recent: WaterMessage[];
}

/** A new reading: its sensor's device time is later than every one before. */
function createWaterLevel(scene: Scene) {
  const { random } = scene;
  const sensor = pick(random, scene.sensors);
  const measuredMs = scene.nowMs - integer(random, 200, 2000);
  const ticks = Math.max(Math.floor(measuredMs / sensor.tickMs), Math.floor(sensor.lastTimeMs / sensor.tickMs) + 1);
  sensor.lastTimeMs = ticks * sensor.tickMs;
  const level = random() < 0.013 ? integer(random, 0, 25) : sensor.level - integer(random, 0, 20) / 10;
  const located = random() >= WITHOUT_LOCATION;
  const data = {
    deviceId: sensor.id,
    voltage: random() < 0.02 ? integer(random, 380, 420) : integer(random, 40, 100),
    level: random() < 0.03 ? String(decimals(level, 1)) : decimals(level, 1),
    macAddress: sensor.mac,
    latitude: located ? sensor.lat : undefined,
    longitude: located ? sensor.lng : undefined,
    RSSI: -integer(random, 20, 110),
    timestamp: ticks,
  };
  return {
    ...createEnvelope(scene, 'water-level', sensor.id),
    ...(located && { location: { lat: sensor.lat, lng: sensor.lng } }),
    data,
  };
}

/** Keeps a message for repetition, in the place of another once there are enough. */
function remember({ random, recent }: Stream, message: WaterMessage): WaterMessage {
  recent[recent.length < RECENT_MESSAGES ? recent.length : integer(random, 0, RECENT_MESSAGES - 1)] = message;
  return message;
}

/** A retransmission: the same sensor and device time, most often with another RSSI and a later time of receipt. */
function repeatWaterLevel(stream: Stream): WaterMessage {
  const message = pick(stream.random, stream.recent);
  if (stream.random() < 0.2) return message;
  const data = { ...message.data, RSSI: -integer(stream.random, 20, 110) };
  return { ...message, timestamp: receiptText(stream), data };
}

/** One sensor a message, its time on the wall clock of Bangkok. */
function createMoisture(scene: Scene) {
  const gateway = String(integer(scene.random, 1, 20)).padStart(5, '0');
  const { date, time } = clockTexts(scene.nowMs - 1000 + BANGKOK_OFFSET_MS);
  const data = { ...createSoil(scene, gateway), gateway_id: gateway, date, time, msg_type: 'interval' };
  const location = { lat: 13.7563, lng: 100.5018 };
  return { ...createEnvelope(scene, 'moisture', `${gateway}-${gateway}`), location, data };
}

/** Several sensors a message, each with a time in UTC; now and then a slot without a sensor. */
function createGatewayMessage(scene: Scene) {
  const gateway = String(integer(scene.random, 1, 5));
  const sensor = Array.from({ length: integer(scene.random, 1, 4) }, (_, index) => {
    if (scene.random() < 0.1) return { sensor_id: '' };
    const { date, time } = clockTexts(scene.nowMs - integer(scene.random, 1, 90) * 1000);
    return { ...createSoil(scene, String(10 + index)), sensor_date: date, sensor_utc: time };
  });
  const { date, time } = clockTexts(scene.nowMs + BANGKOK_OFFSET_MS);
  const data = { gw_id: gateway, date, time, latitude: '13.94551', longitude: '100.73405', batt: '12.27', sensor };
  return { ...createEnvelope(scene, 'moisture', gateway), data };
}

function createSoil({ random }: Scene, id: string) {
  return {
    sensor_id: id,
    flood: random() < 0.05 ? 'yes' : 'no',
    amb_humid: String(integer(random, 40, 90)),
    amb_temp: (24 + random() * 10).toFixed(2),
    humid_hi: String(integer(random, 0, 80)).padStart(3, '0'),
    temp_hi: (24 + random() * 5).toFixed(2),
    humid_low: String(integer(random, 0, 80)),
    temp_low: (23 + random() * 5).toFixed(2),
    sensor_batt: String(integer(random, 190, 410)),
  };
}

function createWeather(scene: Scene) {
  const data = { temperature: integer(scene.random, 20, 40), rain_mm: integer(scene.random, 0, 500) / 10 };
  return { ...createEnvelope(scene, 'weather', `WX-${integer(scene.random, 1, 8)}`), data };
}

/** One of the kinds that belong in the quarantine; the level of the last is too large for its column alone. */
function createUnstorable(scene: Scene): string {
  const { timestamp, sensorType, sensorId, data } = createWaterLevel(scene);
  const kinds = [
    { type: 'shape-file', sensorType: 'shape-file', uploadId: sensorId, uploadedAt: timestamp },
    { timestamp, sensorType, data },
    { timestamp, sensorType, sensorId, data: { ...data, level: undefined } },
    { timestamp, sensorType, sensorId, data: { ...data, level: 'n/a' } },
    { timestamp, sensorType, sensorId, data: { ...data, level: 123456 } },
  ];
  return scene.random() < 0.2 ? `{"timestamp":"${timestamp}","sensorType":` : JSON.stringify(pick(scene.random, kinds));
}
