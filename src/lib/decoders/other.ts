import { readJson, readName, readOwnLocation } from './field.js';
import type { JsonObject } from './field.js';
import { concludeDraft, receiptTime } from './message.js';
import type { Decoded } from './message.js';

const QUALITY_SCORE = 0.5;

/**
 * The reading of a sensor type that has no table of its own: `data` and `metadata` are kept as they are, nothing in
 * them is interpreted, so the location is the message's own. Integers beyond 2^53 in them are rounded (JSON.parse).
 */
export function decodeOther(message: JsonObject, sensorType: string): Decoded {
  const reasons: string[] = [];
  const sensorId = readName({ source: message, path: '', reasons }, 'sensorId');
  const location = readOwnLocation(message, reasons);
  const { data, metadata } = message;
  if (data === undefined || data === null) reasons.push('no data');
  const values = {
    sensor_type: sensorType,
    location_lat: location.lat,
    location_lng: location.lng,
    value: data === undefined ? null : readJson(message, 'data', reasons),
    metadata: metadata === undefined || metadata === null ? null : readJson(message, 'metadata', reasons),
    quality_score: QUALITY_SCORE,
  };
  return concludeDraft({ table: 'sensor_readings', sensorType, sensorId, time: receiptTime(message), values, reasons });
}
