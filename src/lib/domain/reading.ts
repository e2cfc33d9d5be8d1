import type { NewestBy } from './row.js';

/** The three tables that hold readings of the guide's telemetry. */
export const READING_TABLES = ['water_level_readings', 'moisture_readings', 'sensor_readings'] as const;

export type ReadingTable = (typeof READING_TABLES)[number];

export function isReadingTable(name: string): name is ReadingTable {
  return (READING_TABLES as readonly string[]).includes(name);
}

/** The key of a reading. */
export const READING_KEY = ['sensor_id', 'time'] as const;

/** The guide's table of sensors; EC2 may carry foreign keys from the readings to it. */
export const REGISTRY = 'sensor_registry';

/** A sensor was seen last when its newest reading was taken, and stands where the newest reading that had a place says. */
export const REGISTRY_RULE = {
  newestBy: 'last_seen',
  parts: [['location_lat', 'location_lng']],
} as const satisfies NewestBy;
