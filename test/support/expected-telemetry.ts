// What must become of the bodies that the generators of telemetry make (src/lib/decoders/generate.ts, test/chaos), written
// down without src's decoder.

type Fields = Readonly<Record<string, unknown>>;

/** The generators name sensors by texts. */
type Message = Fields & { readonly sensorId?: string; readonly data?: Fields };

export interface ExpectedReading {
  readonly table: string;
  readonly sensorId: string;
  /** UTC, with microseconds. */
  readonly time: string;
}

/** A message, or a part of it, that must stand in the quarantine whatever a database makes of it, and what is known of it. */
export interface ExpectedFault {
  readonly sensorId: string | null;
  readonly time: string | null;
}

export interface ExpectedOfBody {
  readonly readings: readonly ExpectedReading[];
  readonly faults: readonly ExpectedFault[];
  /** `table sensor time` of each reading. */
  readonly keys: readonly string[];
  /** Readings and faults together. */
  readonly items: number;
}

const BANGKOK_MS = 7 * 3_600_000;

export function expectedOf(body: string): ExpectedOfBody {
  const { readings = [], faults = [] } = becomes(body);
  const keys = readings.map(({ table, sensorId, time }) => `${table} ${sensorId} ${time}`);
  return { readings, faults, keys, items: readings.length + faults.length };
}

type Becomes = Partial<Pick<ExpectedOfBody, 'readings' | 'faults'>>;

function becomes(body: string): Becomes {
  if (!body.endsWith('}')) return fault(null, null);
  const message = JSON.parse(body) as Message;
  const { sensorType, sensorId = null, data } = message;
  const received = Date.parse(String(message.timestamp));
  if (data === undefined) return fault(sensorId, received);
  if (sensorType === 'moisture') return soil(data, sensorId ?? '');
  const measured = sensorType === 'water-level' ? epoch(data.timestamp) : received;
  if (sensorId === null || !isStorable(sensorId)) return fault(null, measured);
  if (!isStorable(data)) return fault(sensorId, measured);
  if (sensorType !== 'water-level') return one('sensor_readings', sensorId, measured);
  const numbers = [data.level, ...[data.voltage, data.RSSI].filter((value) => value !== undefined)];
  if (!numbers.every((value) => Number.isFinite(Number(value ?? NaN)))) return fault(sensorId, measured);
  return one('water_level_readings', sensorId, measured);
}

/** PostgreSQL holds neither U+0000 nor half a character. */
function isStorable(value: unknown): boolean {
  return !/\\u(?:0000|d[89a-f])/.test(JSON.stringify(value));
}

function soil(data: Fields, sensorId: string): Becomes {
  if (!Array.isArray(data.sensor)) {
    return one('moisture_readings', sensorId, clock(data.date, data.time) - BANGKOK_MS);
  }
  const entries = (data.sensor as Fields[]).filter(({ sensor_id: id }) => id !== '');
  if (entries.length === 0) return fault(sensorId, clock(data.date, data.time) - BANGKOK_MS);
  return {
    readings: entries.map((entry) => ({
      table: 'moisture_readings',
      sensorId: `${String(data.gw_id)}-${String(entry.sensor_id)}`,
      time: micros(clock(entry.sensor_date, entry.sensor_utc)),
    })),
  };
}

function clock(date: unknown, time: unknown): number {
  return Date.parse(`${String(date).replaceAll('/', '-')}T${String(time)}Z`);
}

/** In seconds or in ms. */
function epoch(sent: unknown): number {
  return Number(sent) < 1e11 ? Number(sent) * 1000 : Number(sent);
}

function one(table: string, sensorId: string, ms: number): Becomes {
  return { readings: [{ table, sensorId, time: micros(ms) }] };
}

function fault(sensorId: string | null, ms: number | null): Becomes {
  return { faults: [{ sensorId, time: ms === null || Number.isNaN(ms) ? null : micros(ms) }] };
}

function micros(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
