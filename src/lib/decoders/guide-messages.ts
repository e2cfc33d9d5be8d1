import { isJsonObject, readName } from './field.js';
import type { JsonObject } from './field.js';
import { createFault, receiptTime } from './message.js';
import { withoutFuture, type Decoded, type DecodeOptions, type Delivery } from './message.js';
import { decodeMoisture } from './moisture.js';
import { decodeOther } from './other.js';
import { decodeWaterLevel } from './water-level.js';

export type { Decoded, DecodeOptions, Delivery } from './message.js';

/** Objects and arrays in one another; servers differ in what they can follow. */
const DEEPEST = 100;

/**
 * The readings in a message of the guide's telemetry, and what in it cannot be stored (docs/telemetry.md). Limits of
 * columns are left to the database. Never throws for a body; RangeError for no timezone.
 */
export function decodeMessage(body: string, options: DecodeOptions, delivery: Delivery = { sentAt: null }): Decoded {
  const outer = parseObject(body);
  if (typeof outer === 'string') return refuse(outer, {});
  const { Type: type, Message: inner } = outer;
  const isNotification = type === 'Notification' && typeof inner === 'string';
  const message = isNotification ? parseObject(inner) : outer;
  if (typeof message === 'string') return refuse(`SNS notification: ${message}`, {});
  return withoutFuture(decodeObject(message, options), message, delivery);
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
  if (isTooDeep(text)) return `nested deeper than ${DEEPEST} levels`;
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : 'not a JSON object';
  } catch {
    return 'not JSON';
  }
}

/** Whether brackets outside of strings open more often than that before they close. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place];
    if (character === '"') inString = !inString;
    else if (inString) place += character === '\\' ? 1 : 0;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

function refuse(reason: string, message: JsonObject): Decoded {
  const sensorId = readName({ source: message, path: '', reasons: [] }, 'sensorId');
  return { readings: [], faults: [createFault([reason], { sensorId, time: receiptTime(message) })] };
}
