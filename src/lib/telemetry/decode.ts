import { isJsonObject, readName } from './field.js';
import type { JsonObject } from './field.js';
import { createFault, receiptTime } from './message.js';
import type { Decoded, DecodeOptions } from './message.js';
import { decodeMoisture } from './moisture.js';
import { decodeOther } from './other.js';
import { decodeWaterLevel } from './water-level.js';

export type { Decoded, DecodeOptions } from './message.js';

/**
 * The readings in the body of a queue message, and what in it cannot be stored, by the mapping of DESIGN.md
 * ("Telemetry"). Limits of columns are left to the database. Never throws for a body; RangeError for no timezone.
 */
export function decodeMessage(body: string, options: DecodeOptions): Decoded {
  const outer = parseObject(body);
  if (typeof outer === 'string') return refuse(outer, {});
  const { Type: type, Message: inner } = outer;
  if (type !== 'Notification' || typeof inner !== 'string') return decodeObject(outer, options);
  const message = parseObject(inner);
  return typeof message === 'string' ? refuse(`SNS notification: ${message}`, {}) : decodeObject(message, options);
}

function decodeObject(message: JsonObject, options: DecodeOptions): Decoded {
  const reasons: string[] = [];
  const sensorType = readName({ source: message, path: '', reasons }, 'sensorType');
  if (sensorType === null) return refuse(reasons.join('; '), message);
  if (sensorType === 'water-level') return decodeWaterLevel(message, options);
  if (sensorType === 'moisture') return decodeMoisture(message, options);
  return decodeOther(message, sensorType);
}

/** The JSON object in a text, or the reason why there is none. */
function parseObject(text: string): JsonObject | string {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : 'not a JSON object';
  } catch {
    return 'not JSON';
  }
}

function refuse(reason: string, message: JsonObject): Decoded {
  const sensorId = readName({ source: message, path: '', reasons: [] }, 'sensorId');
  return { readings: [], faults: [createFault([reason], { sensorId, time: receiptTime(message) })] };
}
