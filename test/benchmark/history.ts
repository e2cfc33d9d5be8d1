import pg from 'pg';

import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';

/** The first reading of the history, and one a second from there on. */
export const HISTORY_BEGIN = '2025-01-01T00:00:00Z';
const SENSORS = 500;
const PIECE_ROWS = 500_000;

const FILL = `
  insert into water_level_readings (time, sensor_id, location_lat, location_lng, level_cm, voltage, rssi, temperature, quality_score)
  select $1::timestamptz + n * interval '1 second', 'AWD-' || n % ${SENSORS}, 13.5 + (n % ${SENSORS}) * 0.001, 100.5,
    (n * 7919 % 3000) / 100.0, 3.3 + n % 90 / 100.0, -60 - n % 40, 25 + n % 70 / 10.0, 1.0
  from generate_series($2::bigint, $3::bigint - 1) as n`;

/** Fills the water-level table of a side with so many readings, the same ones on every side. */
export async function fillHistory(pool: pg.Pool, rows: number): Promise<void> {
  for (let from = 0; from < rows; from += PIECE_ROWS) {
    await pool.query(FILL, [HISTORY_BEGIN, from, Math.min(from + PIECE_ROWS, rows)]);
  }
  await pool.query('vacuum (analyze) water_level_readings');
  await pool.query('checkpoint');
}

/** A pool whose sessions use no parallel workers, so that a figure is that of one core. */
export function singleCorePool({ host, port, user, password }: PostgresServer): pg.Pool {
  const options = '-c max_parallel_workers_per_gather=0 -c TimeZone=UTC';
  const pool = new pg.Pool({ host, port, user, password, database: 'sensor_data', max: 2, options });
  pool.on('error', () => undefined); // the server may be stopped before its last connection is gone
  return pool;
}
