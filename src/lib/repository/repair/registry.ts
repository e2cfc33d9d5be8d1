import { readTableShapes } from '../tables/catalog.js';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import { assertDecides } from '../phase/fence.js';
import { REGISTRY, REGISTRY_OWN_COLUMNS } from '../tables/reading-tables.js';
import { tableSql, underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';

const SENSORS_AT_ONCE = 500;

const LIST_SENSORS = `select sensor_id from ${tableSql(REGISTRY)} order by sensor_id collate "C"`;
const LOCK_SENSORS = `select from ${tableSql(REGISTRY)} where sensor_id = any ($1) order by sensor_id for update`;
const READ_LOCATIONS = `
  select sensor_id, located_at::text, lat::text, lng::text from sensorctl.sensor_location where sensor_id = any ($1)`;

const MERGE_LOCATIONS = `
  insert into sensorctl.sensor_location as known (sensor_id, located_at, lat, lng)
  select sensor_id, located_at, lat, lng
  from unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[]) as given (sensor_id, located_at, lat, lng)
  order by sensor_id
  on conflict (sensor_id) do update set located_at = excluded.located_at, lat = excluded.lat, lng = excluded.lng
  where (excluded.located_at, excluded.lat, excluded.lng) > (known.located_at, known.lat, known.lng)`;

export interface RegistryRepair {
  readonly inserted: number;
  readonly corrected: number;
}

/**
 * Brings rows of sensor_registry to the target; with `overwrite`, differing ones become what the source holds. Live writes to a row
 * wait while it is locked on the target and read on the source: so what is read holds every update that the target has,
 * or may get later, and setting the row to it loses none. Rows that only the target has stay.
 */
export async function repairRegistry(
  source: Database,
  target: Database,
  { overwrite }: { overwrite: boolean },
): Promise<RegistryRepair> {
  const shapes = await Promise.all([source, target].map(({ pool }) => readTableShapes(pool, [REGISTRY])));
  const [from, to] = shapes.map((each) => each.get(REGISTRY));
  if (from === undefined || to === undefined) return { inserted: 0, corrected: 0 };
  const columns = [...from.columns].filter(([name]) => to.columns.has(name) && !REGISTRY_OWN_COLUMNS.includes(name));
  const sensors = await listSensors(source.pool);
  const totals = { inserted: 0, corrected: 0 };
  for (const chunk of chunksOf(sensors, SENSORS_AT_ONCE)) {
    const repaired = await repeatCollisions(() =>
      repairSensors(source, target, { columns: new Map(columns), sensors: chunk, overwrite }),
    );
    totals.inserted += repaired.inserted;
    totals.corrected += repaired.corrected;
  }
  return totals;
}

async function listSensors(source: Queryable): Promise<string[]> {
  const { rows } = await source.query<{ sensor_id: string }>(LIST_SENSORS);
  return rows.map((row) => row.sensor_id);
}

interface SensorRows {
  /** Column → type on the source. */
  readonly columns: ReadonlyMap<string, string>;
  readonly sensors: readonly string[];
  readonly overwrite: boolean;
}

async function repairSensors(
  source: Database,
  target: Database,
  { columns, sensors, overwrite }: SensorRows,
): Promise<RegistryRepair> {
  return await withTransaction(target.pool, async (client) => {
    const first = await readColumns(source.pool, columns, sensors);
    const inserted = await writeUnderOwnPath(client, underOwnPath(insertSql(columns)), first);
    if (!overwrite) return { inserted, corrected: 0 };
    await client.query(LOCK_SENSORS, [sensors]);
    await assertDecides(source);
    const values = await readColumns(source.pool, columns, sensors);
    const corrected = await writeUnderOwnPath(client, underOwnPath(updateSql(columns)), values);
    await client.query(MERGE_LOCATIONS, await readLocations(source.pool, sensors));
    return { inserted, corrected };
  });
}

/** A text array a column. */
async function readColumns(
  source: Queryable,
  columns: ReadonlyMap<string, string>,
  sensors: readonly string[],
): Promise<unknown[]> {
  const arrays = [...columns.keys()].map((name) => `array_agg(${quoteIdentifier(name)}::text)::text`);
  const text = `select json_build_array(${arrays.join(', ')})::text as arrays from ${tableSql(REGISTRY)} where sensor_id = any ($1)`;
  const { rows } = await source.query<{ arrays: string }>(text, [sensors]);
  return JSON.parse(rows[0]?.arrays ?? '[]') as unknown[];
}

async function readLocations(source: Queryable, sensors: readonly string[]): Promise<unknown[]> {
  const { rows } = await source.query<Record<'sensor_id' | 'located_at' | 'lat' | 'lng', string>>(READ_LOCATIONS, [
    sensors,
  ]);
  return (['sensor_id', 'located_at', 'lat', 'lng'] as const).map((name) => rows.map((row) => row[name]));
}

function insertSql(columns: ReadonlyMap<string, string>): string {
  const names = [...columns.keys()].map(quoteIdentifier).join(', ');
  return `insert into ${tableSql(REGISTRY)} (${names}) select ${names} from ${givenRows(columns)} as given order by sensor_id
    on conflict (sensor_id) do nothing`;
}

function updateSql(columns: ReadonlyMap<string, string>): string {
  const names = [...columns.keys()].filter((name) => name !== 'sensor_id').map(quoteIdentifier);
  const list = (qualifier: string): string => names.map((name) => `${qualifier}.${name}`).join(', ');
  return `update ${tableSql(REGISTRY)} as known set ${names.map((name) => `${name} = given.${name}`).join(', ')}
    from ${givenRows(columns)} as given
    where known.sensor_id = given.sensor_id and (${list('known')}) is distinct from (${list('given')})`;
}

/** The parameters, an array text a column, as rows with the source's types. */
function givenRows(columns: ReadonlyMap<string, string>): string {
  const names = [...columns.keys()].map(quoteIdentifier);
  const arrays = names.map((_, index) => `$${index + 1}::text[]`);
  const values = [...columns].map(([name, type]) => `${quoteIdentifier(name)}::${type} as ${quoteIdentifier(name)}`);
  return `(select ${values.join(', ')} from unnest(${arrays.join(', ')}) as texts (${names.join(', ')}))`;
}
