import { parseInstant } from '../domain/time.js';
import { parseNumber, quoteValue, readLocation, readName, readNumber, readObject } from './field.js';
import type { Fields, JsonObject } from './field.js';
import { concludeDraft, receiptTime } from './message.js';
import type { Decoded, DecodeOptions } from './message.js';

const EARLIEST_DEVICE_TIME = parseInstant('2000-01-01T00:00:00Z') ?? 0;
const DEVICE_TIME_LIMIT = parseInstant('2101-01-01T00:00:00Z') ?? 0;
const SECONDS_LIMIT = 1e11;

/** The reading of a `water-level` message. */
export function decodeWaterLevel(message: JsonObject, options: DecodeOptions): Decoded {
  const reasons: string[] = [];
  const data = readObject(message, 'data', reasons);
  const sensorId = options.sensorIdFromMac
    ? idFromMac(data)
    : readName({ source: message, path: '', reasons }, 'sensorId');
  const level = readNumber(data, 'level');
  if (parseNumber(data.source.level) === null) reasons.push('no data.level');
  const voltage = readNumber(data, 'voltage');
  const rssi = readNumber(data, 'RSSI');
  const temperature = readNumber(data, 'temperature');
  const location = readLocation(message, data);
  const values = {
    location_lat: location.lat,
    location_lng: location.lng,
    level_cm: level,
    voltage: voltage === null ? null : voltage / 100,
    rssi,
    temperature,
    quality_score: scoreWaterLevel(level, voltage, rssi),
  };
  const time = deviceTime(data.source.timestamp) ?? receiptTime(message);
  return concludeDraft({ table: 'water_level_readings', sensorType: 'water-level', sensorId, time, values, reasons });
}

/** 1.0 less 0.3 for a level outside 0 to 30 cm, 0.2 for a raw voltage outside 300 to 500, 0.1 for RSSI below -100. */
function scoreWaterLevel(level: number | null, rawVoltage: number | null, rssi: number | null): number {
  let hundredths = 100;
  if (level !== null && (level < 0 || level > 30)) hundredths -= 30;
  if (rawVoltage !== null && (rawVoltage < 300 || rawVoltage > 500)) hundredths -= 20;
  if (rssi !== null && rssi < -100) hundredths -= 10;
  return hundredths / 100;
}

/** Microseconds of a device's epoch in seconds (below 1e11) or milliseconds; null outside the years 2000 to 2100. */
function deviceTime(value: unknown): number | null {
  const epoch = parseNumber(value);
  if (epoch === null) return null;
  const micros = Math.round(epoch * (epoch < SECONDS_LIMIT ? 1e6 : 1e3));
  return micros >= EARLIEST_DEVICE_TIME && micros < DEVICE_TIME_LIMIT ? micros : null;
}

function idFromMac(data: Fields): string | null {
  const mac = readName(data, 'macAddress');
  if (mac === null) return null;
  // By code points: slice() could leave half of a surrogate pair, which cannot be stored.
  const lastFour = Array.from(mac).slice(-4);
  if (lastFour.length === 4) return `AWD-${lastFour.join('').toUpperCase()}`;
  data.reasons.push(`data.macAddress is shorter than four characters: ${quoteValue(mac)}`);
  return null;
}
