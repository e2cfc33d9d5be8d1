import type { Row } from '../domain/row.js';
import { formatInstant, parseInstant } from '../domain/time.js';
import type { Decoder, Fault, MessageContext } from './decoder.js';
import { decodeMessage } from './guide-messages.js';
import { REGISTRY, REGISTRY_RULE } from '../domain/reading.js';
import { GUIDE_TABLES } from './guide-tables.js';
import type { DecodeOptions, GuideFault, Reading } from './message.js';

export type { Decoder, Fault, MessageContext } from './decoder.js';
export type { DeclaredTable, DeclaredTables, JsonValue, NewestBy, Row, Value, WriteRule } from '../domain/row.js';

const DEFAULTS: DecodeOptions = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };

/**
 * The decoder of the guide's telemetry (docs/telemetry.md): each reading is a row of its table, and one of the registry that
 * counts where the reading was new. The options are TELEMETRY_TIMEZONE and SENSOR_ID_FROM_MAC; RangeError for no timezone.
 */
export function createGuideDecoder(options: Partial<DecodeOptions> = {}): Decoder {
  const settings = { ...DEFAULTS, ...options };
  return {
    tables: GUIDE_TABLES,
    decode: (body: string, { sentAt }: MessageContext): (Row | Fault)[] => {
      const decoded = decodeMessage(body, settings, { sentAt: sentAt === null ? null : parseInstant(sentAt) });
      return [...decoded.readings.flatMap((reading, unit) => rowsOf(reading, unit)), ...decoded.faults.map(faultOf)];
    },
  };
}

/** The time at which a queue took a message, as a decoder gets it; of milliseconds since 1970. */
export function sentAtText(sentAtMs: number | null): string | null {
  return sentAtMs === null ? null : formatInstant(sentAtMs * 1000);
}

/** The row of a reading, and that of its sensor. */
export function rowsOf({ table, time, sensorId, sensorType, values }: Reading, unit: number): [Row, Row] {
  const sensor = {
    sensor_id: sensorId,
    sensor_type: sensorType,
    last_seen: time,
    location_lat: values.location_lat ?? null,
    location_lng: values.location_lng ?? null,
  };
  return [
    { table, values: { time, sensor_id: sensorId, ...values }, unit },
    { table: REGISTRY, values: sensor, write: REGISTRY_RULE, unit },
  ];
}

function faultOf({ reason, sensorId, time }: GuideFault): Fault {
  return { fault: reason, sensorId, time };
}
