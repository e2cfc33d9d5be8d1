import { instantOfWallClock, parseInstant } from '../domain/time.js';
import { isAbsent, isJsonObject, quoteValue, readLocation, readName, readNumber, readObject } from './field.js';
import type { Fields, JsonObject, Location } from './field.js';
import { concludeDraft, createFault, receiptTime } from './message.js';
import type { Decoded, DecodeOptions } from './message.js';

/** Sensors of one gateway message. */
const MOST_ENTRIES = 1_000;
const DEVICE_DATE = /^\d{4}([/-])\d{2}\1\d{2}$/;
const DEVICE_TIME = /^\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?$/;

/**
 * The readings of a `moisture` message: one of a message whose fields stand in `data`, one a
 * sensor of a gateway message. An entry of the latter without a readable time of its own takes `data.date` and
 * `data.time`, the gateway's clock, before the time of receipt; its measurements are its own alone.
 */
export function decodeMoisture(message: JsonObject, options: DecodeOptions): Decoded {
  const reasons: string[] = [];
  const data = readObject(message, 'data', reasons);
  const { sensor } = data.source;
  if (isJsonObject(sensor) || Array.isArray(sensor)) return decodeGateway(message, data, options.timezone);
  const sensorId = readName({ source: message, path: '', reasons }, 'sensorId');
  if (isAbsent(message.data)) reasons.push('no data');
  const time = deviceTime(data.source, options.timezone) ?? receiptTime(message);
  return concludeMoisture(data, { sensorId, time, location: readLocation(message, data) });
}

/** 1.0 less something for each value that is missing or implausible; all together take off 1.0. */
function scoreMoisture(entry: {
  readonly humidHi: number | null;
  readonly humidLow: number | null;
  readonly tempHi: number | null;
  readonly battery: number | null;
  readonly hasFlood: boolean;
}): number {
  let hundredths = 100;
  if (entry.humidHi === null || entry.humidHi === 0) hundredths -= 30;
  if (entry.humidLow === null || entry.humidLow === 0) hundredths -= 30;
  if (entry.tempHi === null || entry.tempHi < -10 || entry.tempHi > 60) hundredths -= 20;
  if (entry.battery === null || entry.battery < 200) hundredths -= 10;
  if (!entry.hasFlood) hundredths -= 10;
  return hundredths / 100;
}

/** The fields that the entries of a gateway message share. */
interface Gateway {
  readonly id: string | null;
  readonly time: number | null;
  readonly location: Location;
}

function decodeGateway(message: JsonObject, data: Fields, timezone: string): Decoded {
  const gateway = {
    id: readName(data, isAbsent(data.source.gw_id) ? 'gateway_id' : 'gw_id'),
    time: deviceTime(data.source, timezone) ?? receiptTime(message),
    location: readLocation(message, data),
  };
  const { sensor } = data.source;
  if (Array.isArray(sensor) && sensor.length > MOST_ENTRIES) {
    const reason = `data.sensor has ${sensor.length} entries, more than ${MOST_ENTRIES}`;
    return { readings: [], faults: [createFault([...data.reasons, reason], { ...gateway, sensorId: gateway.id })] };
  }
  const parts = gatewayEntries(data).map((entry) => decodeEntry(entry, gateway, timezone));
  if (parts.length > 0) {
    return { readings: parts.flatMap((part) => part.readings), faults: parts.flatMap((part) => part.faults) };
  }
  const reasons = [...data.reasons, 'gateway message without a sensor that has an id'];
  return { readings: [], faults: [createFault(reasons, { sensorId: gateway.id, time: gateway.time })] };
}

/** The entries to decode: those with a sensor_id, and with a reason those that are no objects. */
function gatewayEntries(data: Fields): Fields[] {
  const sensor = data.source.sensor;
  const entries: readonly unknown[] = Array.isArray(sensor) ? sensor : [sensor];
  return entries.flatMap((entry, index) => {
    const path = Array.isArray(sensor) ? `data.sensor[${index}]` : 'data.sensor';
    const reasons = [...data.reasons];
    if (isJsonObject(entry)) {
      return isAbsent(entry.sensor_id) ? [] : [{ source: entry, path: `${path}.`, reasons }];
    }
    if (isAbsent(entry)) return [];
    return [{ source: {}, path: `${path}.`, reasons: [...reasons, `${path} is not an object: ${quoteValue(entry)}`] }];
  });
}

function decodeEntry(entry: Fields, gateway: Gateway, timezone: string): Decoded {
  const id = readName(entry, 'sensor_id');
  const sensorId = gateway.id === null || id === null ? null : `${gateway.id}-${id}`;
  const time = deviceTime(entry.source, timezone) ?? gateway.time;
  return concludeMoisture(entry, { sensorId, time, location: gateway.location });
}

function concludeMoisture(
  entry: Fields,
  about: { readonly sensorId: string | null; readonly time: number | null; readonly location: Location },
): Decoded {
  const humidHi = readNumber(entry, 'humid_hi');
  const humidLow = readNumber(entry, 'humid_low');
  const tempHi = readNumber(entry, 'temp_hi');
  const battery = readNumber(entry, 'sensor_batt');
  const flood = entry.source.flood;
  const values = {
    location_lat: about.location.lat,
    location_lng: about.location.lng,
    moisture_surface_pct: humidHi,
    moisture_deep_pct: humidLow,
    temp_surface_c: tempHi,
    temp_deep_c: readNumber(entry, 'temp_low'),
    ambient_humidity_pct: readNumber(entry, 'amb_humid'),
    ambient_temp_c: readNumber(entry, 'amb_temp'),
    flood_status: isAbsent(flood) ? null : flood === 'yes',
    voltage: battery === null ? null : battery / 100,
    quality_score: scoreMoisture({ humidHi, humidLow, tempHi, battery, hasFlood: !isAbsent(flood) }),
  };
  const { sensorId, time } = about;
  const { reasons } = entry;
  return concludeDraft({ table: 'moisture_readings', sensorType: 'moisture', sensorId, time, values, reasons });
}

/** `sensor_date` and `sensor_utc`, which are UTC, else `date` and `time` on the wall clock of the zone; null for neither. */
function deviceTime(source: JsonObject, timezone: string): number | null {
  const utc = clockTime(source.sensor_date, source.sensor_utc);
  if (utc !== null) return utc;
  const wall = clockTime(source.date, source.time);
  return wall === null ? null : instantOfWallClock(wall, timezone);
}

/** A date `YYYY/MM/DD` and a time `HH:MM:SS` as microseconds, taken as UTC. */
function clockTime(date: unknown, time: unknown): number | null {
  if (typeof date !== 'string' || typeof time !== 'string') return null;
  if (!DEVICE_DATE.test(date) || !DEVICE_TIME.test(time)) return null;
  return parseInstant(`${date.replaceAll('/', '-')}T${time}`);
}
