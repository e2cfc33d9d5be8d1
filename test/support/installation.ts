// The database of a real installation, made from facts, with generated rows: nineteen tables in three schemas, with what
// rests on them. Hypertables, aggregates and policies where TimescaleDB is.
import type pg from 'pg';
import { INSTALLED_TABLES, type InstalledTable } from './installed-tables.js';

export interface InstallationOptions {
  /** The database may have TimescaleDB; the extension is created. */
  readonly timescaleDb: boolean;
  readonly seed?: number;
  /** Share of the rows that the installation held; 0 for none. */
  readonly scale?: number;
  /** How far back its readings go: over so many chunks of the shortest interval. */
  readonly days?: number;
}

/** Exist on the whole server, and stay there. */
export const INSTALLATION_ROLES = ['installation_app', 'installation_reader'] as const;

/** Hold exact duplicates, and retransmissions under the same key. */
const KEYLESS = ['public.water_level_readings', 'public.moisture_readings', 'public.sensor_readings'];
/** Younger than any retention policy, and over more than one chunk of each interval. */
const USUAL_DAYS = 45;
const COMPRESSED_DAYS = 10;

/** Makes them where they are not there. */
export async function createInstallationRoles(pool: pg.Pool): Promise<void> {
  for (const statement of BEFORE_TABLES.slice(0, INSTALLATION_ROLES.length)) await pool.query(statement);
}

/** Makes it in a database that holds none of it. */
export async function buildInstallation(pool: pg.Pool, options: InstallationOptions): Promise<void> {
  const { timescaleDb, seed = 1, scale = 1, days = USUAL_DAYS } = options;
  if (timescaleDb) await pool.query('create extension if not exists timescaledb');
  for (const statement of BEFORE_TABLES) await pool.query(statement);
  for (const table of INSTALLED_TABLES) {
    await pool.query(createSql(table));
    if (timescaleDb && table.chunks !== undefined) await pool.query(hypertableSql(table));
  }
  for (const statement of [...INDEXES, ...AFTER_TABLES]) await pool.query(statement);
  if (timescaleDb)
    for (const statement of [...compressionSql(), ...AGGREGATES, ...POLICIES]) await pool.query(statement);
  if (scale > 0) await fill(pool, { timescaleDb, seed, scale, days });
}

/** Makes a part of it as plain tables, as a restored dump leaves them: some with rows, one with TimescaleDB's blocker. */
export async function buildPlainPart(pool: pg.Pool): Promise<void> {
  for (const statement of BEFORE_TABLES.slice(0, 4)) await pool.query(statement);
  const part = ['public.sensor_registry', 'public.water_level_readings', 'sensor.sensors', 'public.weather_readings'];
  for (const table of INSTALLED_TABLES.filter(({ name }) => part.includes(name))) await pool.query(createSql(table));
  await pool.query(BLOCKER);
}

function createSql({ name, columns, constraints }: InstalledTable): string {
  return `create table ${name} (\n  ${[...columns, ...constraints].join(',\n  ')}\n)`;
}

function hypertableSql({ name, chunks }: InstalledTable): string {
  return `select create_hypertable('${name}', 'time', chunk_time_interval => interval '${chunks ?? ''}')`;
}

function compressionSql(): string[] {
  const segmentBy = (columns: readonly string[]): string =>
    ['sensor_id', 'station_id', 'gate_id'].find((name) => columns.some((column) => column.startsWith(`${name} `))) ??
    '';
  return INSTALLED_TABLES.filter(({ compressed }) => compressed).map(
    ({ name, columns }) =>
      `alter table ${name} set (timescaledb.compress, timescaledb.compress_segmentby = '${segmentBy(columns)}',
        timescaledb.compress_orderby = '"time" desc')`,
  );
}

const BLOCKER = `
  create function public.insert_blocker() returns trigger language plpgsql as
    'begin raise exception ''invalid INSERT on the root table of hypertable''; end';
  create trigger ts_insert_blocker before insert on public.weather_readings
    for each row execute function public.insert_blocker()`;

const BEFORE_TABLES = [
  ...INSTALLATION_ROLES.map(
    (role) => `do $$ begin create role ${role}; exception when duplicate_object or unique_violation then null; end $$`,
  ),
  'create schema sensor',
  'create schema maintenance',
  'create schema aggregates',
  'create sequence sensor.alerts_alert_id_seq',
  'create sequence maintenance.logs_log_id_seq',
];

const INDEXES = [
  'on public.sensor_registry (sensor_type)',
  'on public.sensor_registry (last_seen desc)',
  'on public.sensor_registry (location_lat, location_lng) where location_lat is not null',
  'on public.sensor_registry using gin (metadata)',
  'on public.water_level_readings (sensor_id, "time" desc)',
  'on public.water_level_readings (quality_score) where quality_score < 0.5',
  'on public.moisture_readings (sensor_id, "time" desc)',
  'on public.sensor_readings (sensor_id, "time" desc)',
  'on public.sensor_readings (sensor_type, "time" desc)',
  'on public.sensor_readings using gin (value)',
  'on public.sensor_location_history (sensor_id, "time" desc)',
  'on public.sensor_calibrations (expires_at)',
  'on public.awd_sensor_readings (field_id, "time" desc)',
  'on public.awd_sensor_readings (sensor_id, "time" desc)',
  'on public.irrigation_sensor_readings (schedule_id, "time" desc)',
  'on public.irrigation_events (event_type, "time" desc)',
  'on public.irrigation_anomaly_events (schedule_id, "time" desc)',
  'on public.flow_measurements (gate_id, "time" desc)',
  'on public.flow_measurements (section_id, "time" desc)',
  'on public.gate_operation_logs (operation_type)',
  'on public.weather_readings (station_id, "time" desc)',
  'on public.weather_readings (source, "time" desc)',
  'on public.weather_stations (type)',
  'on sensor.readings (sensor_id, "time" desc)',
  'on sensor.sensors (lower(region))',
  'on sensor.alerts (sensor_id, "time" desc)',
  'on sensor.alerts (severity) where not acknowledged',
  'on maintenance.logs (sensor_id, maintenance_date desc)',
].map((index) => `create index ${index}`);

const AFTER_TABLES = [
  'alter sequence sensor.alerts_alert_id_seq owned by sensor.alerts.alert_id',
  'alter sequence maintenance.logs_log_id_seq owned by maintenance.logs.log_id',
  `create function sensor.touch_sensor() returns trigger language plpgsql as $$
begin
  update sensor.sensors set updated_at = now(), metadata = metadata || jsonb_build_object('unit', new.unit)
  where sensor_id = new.sensor_id;
  return new;
end $$`,
  `create function public.level_status(level numeric, low numeric default 5.0) returns text language sql immutable parallel safe
    as $$ select case when level < low then 'dry' when level > 30 then 'flooded' else 'normal' end $$`,
  `create function maintenance.next_due(wanted character varying) returns timestamptz language sql stable
    as $$ select max(next_maintenance_date) from maintenance.logs where sensor_id = wanted $$`,
  'create trigger touch after insert on sensor.readings for each row execute function sensor.touch_sensor()',
  `create view public.moisture_readings_bangkok as
    select "time" at time zone 'UTC' at time zone 'Asia/Bangkok' as bangkok_time, sensor_id, moisture_surface_pct,
      moisture_deep_pct, flood_status from public.moisture_readings where quality_score > 0.3`,
  `comment on table public.sensor_registry is 'Every sensor that was ever heard, with where it stands'`,
  `comment on column public.water_level_readings.level_cm is 'Above the ground; below it, it''s negative'`,
  `comment on view public.moisture_readings_bangkok is 'For the daily report'`,
  `comment on function sensor.touch_sensor() is 'Keeps sensor.sensors current'`,
  `comment on schema sensor is 'The older system'`,
  'grant usage on schema sensor, maintenance to installation_app, installation_reader',
  'grant select, insert, update on all tables in schema public to installation_app',
  'grant select, insert, update, delete on all tables in schema sensor, maintenance to installation_app',
  'grant usage on all sequences in schema sensor, maintenance to installation_app',
  'grant select on all tables in schema public, sensor, maintenance to installation_reader',
  'grant update (acknowledged, acknowledged_by, acknowledged_at) on sensor.alerts to installation_reader',
  'revoke execute on function maintenance.next_due(character varying) from public',
  'grant execute on function maintenance.next_due(character varying) to installation_app',
];

const aggregate = (name: string, over: string, [bucket, by]: [string, string], values: string): string =>
  `create materialized view ${name} with (timescaledb.continuous) as
    select time_bucket('${bucket}', "time") as bucket, ${by}, ${values}, count(*) as readings
    from ${over} group by 1, ${by} with no data`;

const AGGREGATES = [
  ...[
    aggregate(
      'public.irrigation_hourly_summary',
      'public.irrigation_sensor_readings',
      ['1 hour', 'field_id'],
      'avg(water_level_cm) as average, max(water_level_cm) as highest',
    ),
    aggregate(
      'public.weather_hourly',
      'public.weather_readings',
      ['1 hour', 'station_id'],
      'avg(temperature) as temperature, sum(rainfall) as rainfall',
    ),
    aggregate(
      'public.weather_daily',
      'public.weather_readings',
      ['1 day', 'station_id'],
      'min(temperature) as lowest, max(temperature) as highest, sum(rainfall) as rainfall',
    ),
    aggregate(
      'public.hourly_flow_stats',
      'public.flow_measurements',
      ['1 hour', 'gate_id'],
      'avg(flow_rate_m3s) as average',
    ),
    aggregate(
      'public.daily_flow_stats',
      'public.flow_measurements',
      ['1 day', 'gate_id'],
      'avg(flow_rate_m3s) as average, max(flow_rate_m3s) as highest',
    ),
    aggregate(
      'public.water_level_hourly',
      'public.water_level_readings',
      ['1 hour', 'sensor_id'],
      'avg(level_cm) as average, min(level_cm) as lowest, max(level_cm) as highest',
    ),
    aggregate('aggregates.readings_5min', 'sensor.readings', ['5 minutes', 'sensor_id'], 'avg(value) as average'),
    aggregate(
      'public.awd_water_level_hourly',
      'public.awd_sensor_readings',
      ['1 hour', 'sensor_id'],
      'avg(water_level_cm) as average',
    ),
  ],
  'grant select on public.weather_daily, aggregates.readings_5min to installation_reader',
];

/** Their first run lies after any test. */
const LATER = `initial_start => now() + interval '7 days'`;

const refresh = (name: string, start: string, end: string): string =>
  `select add_continuous_aggregate_policy('${name}', interval '${start}', interval '${end}',
    schedule_interval => interval '1 hour', ${LATER})`;

const POLICIES = [
  ...['flow_measurements', 'irrigation_sensor_readings', 'water_level_readings', 'weather_readings'].map(
    (table) => `select add_compression_policy('public.${table}', interval '7 days', ${LATER})`,
  ),
  ...[
    ['public.environmental_conditions', '1 year'],
    ['public.flow_measurements', '1 year'],
    ['public.gate_operation_logs', '2 years'],
    ['public.irrigation_sensor_readings', '90 days'],
    ['public.weather_readings', '2 years'],
    ['sensor.readings', '5 years'],
  ].map(([table, after]) => `select add_retention_policy('${table}', interval '${after}', ${LATER})`),
  refresh('aggregates.readings_5min', '1 hour', '10 minutes'),
  refresh('public.irrigation_hourly_summary', '3 hours', '1 hour'),
  refresh('public.water_level_hourly', '3 hours', '1 hour'),
  refresh('public.weather_daily', '3 days', '1 day'),
  refresh('public.weather_hourly', '3 hours', '1 hour'),
];

const COMPRESS = `
  select compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass) from timescaledb_information.chunks
  where hypertable_name = $1 and range_end < now() - make_interval(days => $2)`;

async function fill(pool: pg.Pool, options: Required<InstallationOptions>): Promise<void> {
  const { timescaleDb, seed, scale, days } = options;
  for (const table of INSTALLED_TABLES) {
    const rows = Math.max(3, Math.round(table.rows * scale));
    await pool.query(insertSql(table, { rows, seed, days }));
    if (KEYLESS.includes(table.name)) await repeatSome(pool, table, rows);
    if (!timescaleDb || table.compressed !== true) continue;
    await pool.query(COMPRESS, [table.name.split('.')[1], COMPRESSED_DAYS]);
  }
}

/** A twentieth of the rows once more; of the levels as many again with another RSSI. */
async function repeatSome(pool: pg.Pool, { name, columns }: InstalledTable, rows: number): Promise<void> {
  const some = `select * from ${name} order by "time", sensor_id limit ${Math.ceil(rows / 20)}`;
  await pool.query(`insert into ${name} ${some}`);
  if (!columns.some((column) => column.startsWith('rssi '))) return;
  await pool.query(`insert into ${name} ("time", sensor_id, level_cm, rssi)
    select "time", sensor_id, level_cm, rssi - 7 from ${name} order by "time" desc, sensor_id limit ${Math.ceil(rows / 20)}`);
}

interface Amount {
  readonly rows: number;
  readonly seed: number;
  readonly days: number;
}

/** Values come from the row's number and the seed alone, times from today's date too. */
function insertSql({ name, columns }: InstalledTable, { rows, seed, days }: Amount): string {
  const given = columns.filter((column) => !column.includes('nextval('));
  const values = given.map((column, place) => valueSql(name, column, { rows, days, salt: seed * 100 + place }));
  const names = given.map((column) => column.split(' ', 1)[0]);
  return `insert into ${name} (${names.join(', ')}) select ${values.join(',\n')} from generate_series(1, ${rows}) as n`;
}

/** How many parents there are to choose from, whatever the scale. */
const SENSORS = 3;

function valueSql(
  table: string,
  column: string,
  { rows, days, salt }: { rows: number; days: number; salt: number },
): string {
  const [name = '', ...words] = column.split(' ');
  const type = words.join(' ');
  const random = (below: number): string => `(abs(hashint8extended(n, ${salt})) % ${below})`;
  const own = ['public.sensor_registry', 'sensor.sensors', 'public.weather_stations', 'public.sensor_calibrations'];
  if (/^(sensor|station)_id$/.test(name)) {
    const number = own.includes(table) ? 'n' : `(1 + ${random(SENSORS)})`;
    return `'AWD-' || lpad(to_hex(${number}), 4, '0')`;
  }
  if (table === 'public.weather_stations' && name === 'type') return `(array['synop', 'aws', 'airport'])[1 + n % 3]`;
  if (name === 'source') return `(array['tmd', 'aws'])[1 + n % 2]`;
  if (type.startsWith('timestamp')) {
    return `date_trunc('day', now() at time zone 'UTC') - interval '1 day' - n * (interval '${days} days' / ${rows})`;
  }
  const numeric = /^numeric\((\d+),(\d+)\)/.exec(type);
  if (numeric !== null) {
    const scale = Number(numeric[2]);
    return `${random(10 ** Math.min(Number(numeric[1]), 6))}::numeric / ${10 ** Math.max(scale, Number(numeric[1]) > 6 ? scale : 0)}`;
  }
  if (type.startsWith('double precision')) return `${random(100_000)} / 1000.0`;
  if (type.startsWith('jsonb')) return `jsonb_build_object('n', n, 'of', ${random(9)})`;
  if (type.startsWith('boolean')) return `${random(2)} = 0`;
  if (type.startsWith('uuid')) return `md5(${random(20)}::text)::uuid`;
  if (type.startsWith('text[]')) return `array['gate ' || ${random(5)}, null]`;
  if (/^(integer|smallint|bigint)/.test(type)) return `${random(200)} - 100`;
  return `'${name.replaceAll('"', '')} ' || ${random(50)}`;
}
