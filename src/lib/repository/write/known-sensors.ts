import type { Queryable } from '../../db/database.js';
import { REGISTRY } from '../tables/reading-tables.js';
import { readTable } from '../tables/read-tables.js';
import { tableSql } from '../tables/table.js';

/** What the registry knows of some sensors. */
export interface KnownSensors {
  readonly known: number;
  /** A sensor of the registry, the one that was seen last; null where it is empty. */
  readonly example: string | null;
}

/** Counts which of the sensors the registry of a side holds. */
export async function readKnownSensors(side: Queryable, sensorIds: readonly string[]): Promise<KnownSensors> {
  const registry = await readTable(side, REGISTRY);
  if (registry === undefined) return { known: 0, example: null };
  const table = tableSql(registry);
  const { rows } = await side.query<{ known: string; example: string | null }>(
    `select (select count(*)::text from ${table} where sensor_id = any ($1)) as known,
      (select sensor_id::text from ${table} order by last_seen desc nulls last, sensor_id limit 1) as example`,
    [sensorIds],
  );
  const [row] = rows;
  return { known: Number(row?.known ?? 0), example: row?.example ?? null };
}
