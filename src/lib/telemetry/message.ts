import { formatInstant, parseInstant } from '../domain/time.js';
import type { ColumnValue, Reading, ReadingTable } from '../domain/reading.js';
import type { JsonObject } from './field.js';

/** What cannot be stored, a whole message or one entry of a gateway message, and why. All its text is storable. */
export interface Fault {
  readonly reason: string;
  readonly sensorId: string | null;
  readonly time: string | null;
}

export interface Decoded {
  readonly readings: readonly Reading[];
  readonly faults: readonly Fault[];
}

/** `timezone` is an IANA name, that of TELEMETRY_TIMEZONE; `sensorIdFromMac` is SENSOR_ID_FROM_MAC. */
export interface DecodeOptions {
  readonly timezone: string;
  readonly sensorIdFromMac: boolean;
}

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

/** A fault with its reasons joined; its sensor id was read as a name, so it can be stored. */
export function createFault(
  reasons: readonly string[],
  about: { readonly sensorId: string | null; readonly time: number | null },
): Fault {
  const { sensorId } = about;
  return { reason: reasons.join('; '), sensorId, time: about.time === null ? null : formatInstant(about.time) };
}
