/** The three tables that hold readings of the guide's telemetry. */
export const READING_TABLES = ['water_level_readings', 'moisture_readings', 'sensor_readings'] as const;

export type ReadingTable = (typeof READING_TABLES)[number];

export function isReadingTable(name: string): name is ReadingTable {
  return (READING_TABLES as readonly string[]).includes(name);
}
