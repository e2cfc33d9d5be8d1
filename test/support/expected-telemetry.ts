// What must become of the bodies that src/lib/telemetry/generate.ts makes, by the words of DESIGN.md and without src's decoder.

type Fields = Readonly<Record<string, unknown>>;

/** The generator names sensors by texts. */
type Message = Fields & { readonly sensorId?: string; readonly data?: Fields };

export interface ExpectedOfBody {
  /** `table sensor time` of each reading that local must store, the time with microseconds. */
  readonly keys: readonly string[];
  /** Readings and faults together. */
  readonly items: number;
}

const BANGKOK_MS = 7 * 3_600_000;

export function expectedOf(body: string): ExpectedOfBody {
  const nothing = { keys: [], items: 1 };
  if (!body.endsWith('}')) return nothing;
  const { timestamp, sensorType, sensorId, data } = JSON.parse(body) as Message;
  if (data === undefined || sensorId === undefined) return nothing;
  if (sensorType === 'moisture') return soil(data, sensorId);
  if (sensorType !== 'water-level') return one('sensor_readings', sensorId, Date.parse(String(timestamp)));
  const level = Number(data.level ?? NaN);
  if (!(Math.abs(level) < 1000)) return nothing;
  const epoch = Number(data.timestamp);
  return one('water_level_readings', sensorId, epoch < 1e11 ? epoch * 1000 : epoch);
}

function soil(data: Fields, sensorId: string): ExpectedOfBody {
  if (!Array.isArray(data.sensor)) {
    return one('moisture_readings', sensorId, clock(data.date, data.time) - BANGKOK_MS);
  }
  const entries = (data.sensor as Fields[]).filter(({ sensor_id: id }) => id !== '');
  const keys = entries.map((entry) =>
    keyOf(
      'moisture_readings',
      `${String(data.gw_id)}-${String(entry.sensor_id)}`,
      clock(entry.sensor_date, entry.sensor_utc),
    ),
  );
  return { keys, items: Math.max(1, keys.length) };
}

function clock(date: unknown, time: unknown): number {
  return Date.parse(`${String(date).replaceAll('/', '-')}T${String(time)}Z`);
}

function one(table: string, sensorId: string, ms: number): ExpectedOfBody {
  return { keys: [keyOf(table, sensorId, ms)], items: 1 };
}

function keyOf(table: string, sensorId: string, ms: number): string {
  return `${table} ${sensorId} ${new Date(ms).toISOString().replace('Z', '000Z')}`;
}
