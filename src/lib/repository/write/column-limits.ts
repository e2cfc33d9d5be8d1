import { READING_COLUMNS, type ColumnValue, type Reading } from '../../domain/reading.js';

const NUMERIC = /^numeric\((\d+),(\d+)\)/;
const INTEGER_LIMIT = 2 ** 31;
const SENSOR_ID_LENGTH = 255;

/**
 * Whether a reading fits the columns as sensorctl creates them. Only a guess at what a database will refuse, for an
 * existing table may be narrower or wider: the database decides.
 */
export function fitsColumns({ table, sensorId, values }: Reading): boolean {
  if (sensorId.length > SENSOR_ID_LENGTH) return false;
  return Object.entries(READING_COLUMNS[table]).every(([column, type]) => fitsType(values[column] ?? null, type));
}

function fitsType(value: ColumnValue, type: string): boolean {
  if (value === null) return !type.endsWith('not null');
  if (type.startsWith('integer')) return Math.abs(Number(value)) < INTEGER_LIMIT;
  const [, precision, scale] = NUMERIC.exec(type) ?? [];
  return precision === undefined || Math.abs(Number(value)) < numericLimit(Number(precision), Number(scale));
}

/** PostgreSQL rounds to the scale first: from here on a number has a digit too many. */
function numericLimit(precision: number, scale: number): number {
  return 10 ** (precision - scale) - 0.5 * 10 ** -scale;
}
