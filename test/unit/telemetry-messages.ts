import { expect } from 'chai';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import type { Decoded, Reading } from '../../src/lib/decoders/message.js';

export const OPTIONS = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };
/** When the messages below were received. */
export const RECEIVED = '2025-07-01T00:00:05.000000Z';

export type Json = Record<string, unknown>;

/** Decodes a message given as an object. */
export function decode(message: unknown, options: Partial<typeof OPTIONS> = {}): Decoded {
  return decodeMessage(JSON.stringify(message), { ...OPTIONS, ...options });
}

/** A complete message whose reading scores 1, with fields of `data` and of the message replaced. */
export function waterLevel(data: Json = {}, message: Json = {}): Json {
  const complete = {
    level: 12,
    voltage: 400,
    RSSI: -60,
    timestamp: 1751328000123,
    macAddress: 'AWDN_16a6ae7ba0e8',
    ...data,
  };
  return {
    timestamp: '2025-07-01T00:00:05Z',
    sensorType: 'water-level',
    sensorId: 'AWD-1',
    data: complete,
    ...message,
  };
}

const SOIL = {
  flood: 'no',
  amb_humid: '65',
  amb_temp: '32.50',
  humid_hi: '045',
  temp_hi: '28.50',
  humid_low: '58',
  temp_low: '27.00',
  sensor_batt: '395',
};

/** A complete message of one sensor, likewise. */
export function moisture(data: Json = {}, message: Json = {}): Json {
  const complete = { ...SOIL, sensor_id: '7', gateway_id: '7', date: '2025/07/01', time: '07:00:02', ...data };
  return { timestamp: '2025-07-01T00:00:05Z', sensorType: 'moisture', sensorId: '7-7', data: complete, ...message };
}

/** A gateway message with these entries in `data.sensor`. */
export function gateway(sensor: unknown, data: Json = {}): Json {
  const complete = { gw_id: '0003', sensor, ...data };
  return { timestamp: '2025-07-01T00:00:05Z', sensorType: 'moisture', sensorId: '0003', data: complete };
}

/** A complete entry of a gateway message. */
export function entry(id: unknown, fields: Json = {}): Json {
  return { ...SOIL, sensor_id: id, sensor_date: '2025/07/01', sensor_utc: '00:00:01', ...fields };
}

/** The one reading of what was decoded without a fault. */
export function onlyReading(decoded: Decoded): Reading {
  expect(decoded.faults).to.deep.equal([]);
  expect(decoded.readings).to.have.length(1);
  return decoded.readings[0]!;
}

/** The reason of the one fault of what was decoded without a reading. */
export function onlyReason(decoded: Decoded): string {
  expect(decoded.readings).to.deep.equal([]);
  expect(decoded.faults).to.have.length(1);
  return decoded.faults[0]!.reason;
}
