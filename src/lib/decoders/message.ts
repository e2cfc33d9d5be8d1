import { formatInstant, parseInstant } from '../domain/time.js';
import type { JsonObject } from './field.js';
import type { ReadingTable } from '../domain/reading.js';

export type ColumnValue = string | number | boolean | null;

/** One row of a reading table of the guide; its key is (sensorId, time). */
export interface Reading {
  readonly table: ReadingTable;
  /** UTC text with microseconds: `2025-07-01T01:00:03.021000Z`. */
  readonly time: string;
  readonly sensorId: string;
  readonly sensorType: string;
  /** Every column of the table but `time` and `sensor_id`, by its name; JSON columns as JSON text. */
  readonly values: Readonly<Record<string, ColumnValue>>;
}

/** A message, or one entry of a gateway message, that cannot be stored, with the reason. All its text is storable. */
export interface GuideFault {
  readonly reason: string;
  readonly sensorId: string | null;
  readonly time: string | null;
}

/** What a message of the guide's telemetry holds. */
export interface Decoded {
  readonly readings: readonly Reading[];
  readonly faults: readonly GuideFault[];
}

/** `timezone` is an IANA name, that of TELEMETRY_TIMEZONE; `sensorIdFromMac` is SENSOR_ID_FROM_MAC. */
export interface DecodeOptions {
  readonly timezone: string;
  readonly sensorIdFromMac: boolean;
}

/** The facts about a message that the queue gives beside its body. */
export interface Delivery {
  /** When the queue took it, in microseconds since 1970, by a clock that no sender sets; null where it is not known. */
  readonly sentAt: number | null;
}

/** A time may be so far ahead of the receipt: clocks of devices are wrong, and set to other zones. */
const AHEAD_AT_MOST = 86_400 * 1_000_000;
const REASONS_KEPT = 10;

/** A reading while it is read from a message: `time` in microseconds, and every reason found against storing it. */
export interface Draft {
  readonly table: ReadingTable;
  readonly sensorType: string;
  readonly sensorId: string | null;
  readonly time: number | null;
  readonly values: Readonly<Record<string, ColumnValue>>;
  readonly reasons: readonly string[];
}

/** When the message was received, by its `timestamp`; null where that is not a readable ISO 8601 text. */
export function receiptTime(message: JsonObject): number | null {
  return typeof message.timestamp === 'string' ? parseInstant(message.timestamp) : null;
}

/** The draft as a reading, or as one fault that names every reason. */
export function concludeDraft(draft: Draft): Decoded {
  const { table, sensorType, sensorId, time, values, reasons } = draft;
  if (sensorId === null || time === null || reasons.length > 0) {
    return { readings: [], faults: [createFault(time === null ? [...reasons, 'no readable time'] : reasons, draft)] };
  }
  return { readings: [{ table, time: formatInstant(time), sensorId, sensorType, values }], faults: [] };
}

/**
 * What was decoded, with a fault for each reading whose time is more than a day ahead of the receipt. Believed it would
 * stay the newest of its sensor for good. The receipt is the earlier one of the message's `timestamp`, which history
 * that is sent again keeps, and of the time at which the queue took it, which no sender can set.
 */
export function withoutFuture({ readings, faults }: Decoded, message: JsonObject, { sentAt }: Delivery): Decoded {
  const latest = Math.min(receiptTime(message) ?? Infinity, sentAt ?? Infinity) + AHEAD_AT_MOST;
  if (latest === Infinity) return { readings, faults };
  // Times of one form are in the order of their texts.
  const latestText = formatInstant(latest);
  const ahead = readings.filter(({ time }) => time > latestText);
  if (ahead.length === 0) return { readings, faults };
  const reason = 'its time is more than a day ahead of its receipt';
  return {
    readings: readings.filter(({ time }) => time <= latestText),
    faults: [...faults, ...ahead.map(({ sensorId, time }) => ({ reason: `${reason}: ${time}`, sensorId, time }))],
  };
}

/** A fault with its reasons joined; its sensor id was read as a name, so it can be stored. */
export function createFault(
  reasons: readonly string[],
  about: { readonly sensorId: string | null; readonly time: number | null },
): GuideFault {
  const { sensorId } = about;
  const more = reasons.length - REASONS_KEPT;
  const kept = more > 0 ? [...reasons.slice(0, REASONS_KEPT), `and ${more} more reasons`] : reasons;
  return { reason: kept.join('; '), sensorId, time: about.time === null ? null : formatInstant(about.time) };
}
