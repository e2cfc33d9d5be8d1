import { READING_KEY, REGISTRY, REGISTRY_RULE, type ReadingTable } from '../domain/reading.js';
import type { DeclaredTables } from '../domain/row.js';

const KEY = { time: 'timestamptz not null', sensor_id: 'varchar(255) not null' };
const LOCATION = { location_lat: 'double precision', location_lng: 'double precision' };

/** The columns of each reading table, with the type that a new table gives them. Its key is (sensor_id, time). */
export const READING_COLUMNS: Readonly<Record<ReadingTable, Readonly<Record<string, string>>>> = {
  water_level_readings: {
    ...KEY,
    ...LOCATION,
    level_cm: 'numeric(5,2) not null',
    voltage: 'numeric(4,2)',
    rssi: 'integer',
    temperature: 'numeric(4,2)',
    quality_score: 'numeric(3,2)',
  },
  moisture_readings: {
    ...KEY,
    ...LOCATION,
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
    ...KEY,
    sensor_type: 'varchar(50)',
    ...LOCATION,
    value: 'jsonb not null',
    metadata: 'jsonb',
    quality_score: 'numeric(3,2)',
  },
};

/** The columns of the registry that the decoder writes; others may write columns of it that the decoder never names. */
const REGISTRY_COLUMNS: Readonly<Record<string, string>> = {
  sensor_id: 'varchar(255)',
  sensor_type: 'varchar(50)',
  last_seen: 'timestamptz',
  ...LOCATION,
};

/** Of a new registry. */
const NEW_REGISTRY: Readonly<Record<string, string>> = {
  sensor_id: 'varchar(255) primary key',
  sensor_type: 'varchar(50)',
  manufacturer: 'varchar(255)',
  model: 'varchar(255)',
  installation_date: 'timestamptz',
  last_seen: 'timestamptz',
  ...LOCATION,
  metadata: 'jsonb',
  is_active: 'boolean default true',
  created_at: 'timestamptz default now()',
  updated_at: 'timestamptz default now()',
};

/** Every table that the guide's telemetry is written to, the parent of the others first. */
export const GUIDE_TABLES: DeclaredTables = {
  [REGISTRY]: {
    columns: REGISTRY_COLUMNS,
    key: ['sensor_id'],
    write: REGISTRY_RULE,
    create: { columns: NEW_REGISTRY },
  },
  ...Object.fromEntries(
    Object.entries(READING_COLUMNS).map(([table, columns]) => [
      table,
      { columns, key: READING_KEY, create: { columns, uniqueKey: READING_KEY, axis: 'time' } },
    ]),
  ),
};
