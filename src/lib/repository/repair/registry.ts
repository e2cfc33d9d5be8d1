import { readTable } from '../tables/read-tables.js';
import { columnOf, tableSql, type Column, type Table } from '../tables/table.js';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import { assertDecides } from '../phase/fence.js';
import { REGISTRY, REGISTRY_OWN_COLUMNS } from '../tables/reading-tables.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';

const SENSORS_AT_ONCE = 500;

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
  const [from, to] = await Promise.all([source, target].map(({ pool }) => readTable(pool, REGISTRY)));
  if (from === undefined || to === undefined) return { inserted: 0, corrected: 0 };
  const isBrought = ({ name }: Column): boolean =>
    columnOf(to, name) !== undefined && !REGISTRY_OWN_COLUMNS.includes(name);
  const columns = new Map(from.columns.filter(isBrought).map(({ name, type }) => [name, type]));
  const sensors = await listSensors(source.pool, from);
  const totals = { inserted: 0, corrected: 0 };
  for (const chunk of chunksOf(sensors, SENSORS_AT_ONCE)) {
    const repaired = await repeatCollisions(() =>
      repairSensors(source, target, { from, to, columns, sensors: chunk, overwrite }),
    );
    totals.inserted += repaired.inserted;
    totals.corrected += repaired.corrected;
  }
  return totals;
}

async function listSensors(source: Queryable, registry: Table): Promise<string[]> {
  const text = `select sensor_id from ${tableSql(registry)} order by sensor_id collate "C"`;
  const { rows } = await source.query<{ sensor_id: string }>(text);
  return rows.map((row) => row.sensor_id);
}

interface SensorRows {
  readonly from: Table;
  readonly to: Table;
  /** Column → type on the source. */
  readonly columns: ReadonlyMap<string, string>;
  readonly sensors: readonly string[];
  readonly overwrite: boolean;
}

async function repairSensors(
  source: Database,
  target: Database,
  { from, to, columns, sensors, overwrite }: SensorRows,
): Promise<RegistryRepair> {
  return await withTransaction(target.pool, async (client) => {
    const first = await readColumns(source.pool, { from, columns, sensors });
    const inserted = await writeUnderOwnPath(client, underOwnPath(insertSql(to, columns)), first);
    if (!overwrite) return { inserted, corrected: 0 };
    const lock = `select from ${tableSql(to)} where sensor_id = any ($1) order by sensor_id for update`;
    await client.query(lock, [sensors]);
    await assertDecides(source);
    const values = await readColumns(source.pool, { from, columns, sensors });
    const corrected = await writeUnderOwnPath(client, underOwnPath(updateSql(to, columns)), values);
    await client.query(MERGE_LOCATIONS, await readLocations(source.pool, sensors));
    return { inserted, corrected };
  });
}

/** A text array a column. */
async function readColumns(
  source: Queryable,
  { from, columns, sensors }: Pick<SensorRows, 'from' | 'columns' | 'sensors'>,
): Promise<unknown[]> {
  const arrays = [...columns.keys()].map((name) => `array_agg(${quoteIdentifier(name)}::text)::text`);
  const text = `select json_build_array(${arrays.join(', ')})::text as arrays from ${tableSql(from)} where sensor_id = any ($1)`;
  const { rows } = await source.query<{ arrays: string }>(text, [sensors]);
  return JSON.parse(rows[0]?.arrays ?? '[]') as unknown[];
}

async function readLocations(source: Queryable, sensors: readonly string[]): Promise<unknown[]> {
  const { rows } = await source.query<Record<'sensor_id' | 'located_at' | 'lat' | 'lng', string>>(READ_LOCATIONS, [
    sensors,
  ]);
  return (['sensor_id', 'located_at', 'lat', 'lng'] as const).map((name) => rows.map((row) => row[name]));
}

function insertSql(registry: Table, columns: ReadonlyMap<string, string>): string {
  const names = [...columns.keys()].map(quoteIdentifier).join(', ');
  return `insert into ${tableSql(registry)} (${names}) select ${names} from ${givenRows(columns)} as given order by sensor_id
    on conflict (sensor_id) do nothing`;
}

function updateSql(registry: Table, columns: ReadonlyMap<string, string>): string {
  const names = [...columns.keys()].filter((name) => name !== 'sensor_id').map(quoteIdentifier);
  const list = (qualifier: string): string => names.map((name) => `${qualifier}.${name}`).join(', ');
  return `update ${tableSql(registry)} as known set ${names.map((name) => `${name} = given.${name}`).join(', ')}
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
