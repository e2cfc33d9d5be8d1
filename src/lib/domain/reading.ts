/** The three tables that hold readings. */
export type ReadingTable = 'water_level_readings' | 'moisture_readings' | 'sensor_readings';

export type ColumnValue = string | number | boolean | null;

/** The message a reading came in. */
export interface MessageSource {
  readonly messageId: string | null;
  readonly body: string;
}

/** One row of a reading table; its key is (sensorId, time). */
export interface Reading {
  readonly table: ReadingTable;
  /** UTC text with microseconds: `2025-07-01T01:00:03.021000Z`. */
  readonly time: string;
  readonly sensorId: string;
  readonly sensorType: string;
  /** Every column of the table but `time` and `sensor_id`, by its name; JSON columns as JSON text. */
  readonly values: Readonly<Record<string, ColumnValue>>;
  /** Kept with the reading in the quarantine, should a database refuse it. */
  readonly source?: MessageSource;
}

/** The columns of each reading table besides `time` and `sensor_id`, with the type a new table gives them. */
export const READING_COLUMNS: Readonly<Record<ReadingTable, Readonly<Record<string, string>>>> = {
  water_level_readings: {
    location_lat: 'double precision',
    location_lng: 'double precision',
    level_cm: 'numeric(5,2) not null',
    voltage: 'numeric(4,2)',
    rssi: 'integer',
    temperature: 'numeric(4,2)',
    quality_score: 'numeric(3,2)',
  },
  moisture_readings: {
    location_lat: 'double precision',
    location_lng: 'double precision',
    moisture_surface_pct: 'numeric(5,2)',
    moisture_deep_pct: 'numeric(5,2)',
    temp_surface_c: 'numeric(4,2)',
    temp_deep_c: 'numeric(4,2)',
    ambient_humidity_pct: 'numeric(5,2)',
    ambient_temp_c: 'numeric(4,2)',
    flood_status: 'boolean',
    voltage: 'numeric(4,2)',
    quality_score: 'numeric(3,2)',
  },
  sensor_readings: {
    sensor_type: 'varchar(50)',
    location_lat: 'double precision',
    location_lng: 'double precision',
    value: 'jsonb not null',
    metadata: 'jsonb',
    quality_score: 'numeric(3,2)',
  },
};

export const READING_TABLES = Object.keys(READING_COLUMNS) as readonly ReadingTable[];

export function isReadingTable(name: string): name is ReadingTable {
  return (READING_TABLES as readonly string[]).includes(name);
}
