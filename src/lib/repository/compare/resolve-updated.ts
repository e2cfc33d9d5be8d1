import type { Queryable } from '../../db/database.js';
import { READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import { SENSOR_TYPE } from '../write/batch-sql.js';
import { readNewestEntry } from '../ledger/ledger.js';
import type { Comparison, Leaf } from './find-leaves.js';
import type { MissingClass } from './ledger-cover.js';
import { leavesOf, look, type Suspect } from './look.js';
import { RetryBudget } from './retry-budget.js';
import { resolveLeaves, type Difference, type ResolveOptions } from './resolve.js';
import { ask, queryableOf } from './sides.js';
import { readTables } from '../tables/read-tables.js';
import { tableSql, type Table } from '../tables/table.js';
import type { TablePair } from '../tables/table-pair.js';

/*
 * A row of a table that the consumer updates changes with every batch, so one that differs may do so because its update is on the way. It is
 * looked at at least twice, and again while a row is worth waiting for and the retry budget lasts. A look finds of each row that
 * - it is extra, or differs in a column that no batch writes: lost, whatever the ledger says;
 * - no wrong value of it rests: the secondary shows others than at the look before, or one that a reading may have brought
 *   back. Its updates arrive: pending, and nobody waits;
 * - a wrong value rests. The entries of the first look that are still there say why: pending, which is waited for, a known
 *   gap, or nothing: lost.
 * Without a ledger nothing explains a difference: what still differs when the budget is used up is lost.
 */

/** What each batch keeps current: on the secondary these may lag behind by what the ledger holds. */
const LIVE_COLUMNS = new Set(['sensor_type', 'last_seen', 'location_lat', 'location_lng']);
/** Those of them that may become again what they were. */
const RETURNING_COLUMNS = new Set(['sensor_type', 'location_lat', 'location_lng']);

/** The primary's tables that hold what the registry is made of. */
type ReadingTables = ReadonlyMap<ReadingTable, Table>;

/** Of these sensors, the oldest entry of each kind in which they have a reading. */
const explainSensorsSql = (tables: ReadingTables): string =>
  [...tables]
    .map(
      ([name, table]) => `
  select oldest.entry_id as "entryId", kind.missed, sensor.sensor_id as "sensorId"
  from unnest($1::text[]) as sensor (sensor_id) cross join (values (true), (false)) as kind (missed)
  cross join lateral (
    select entry.entry_id from sensorctl.ledger_state as entry cross join unnest(entry.times) as span (range)
    where entry.table_name = '${name}' and kind.missed = (entry.state <> 'pending')
      and (entry.sensor_id is null or entry.sensor_id = sensor.sensor_id)
      and exists (
        select from ${tableSql(table)} as reading
        where reading.sensor_id = sensor.sensor_id and reading.time >= lower(span.range) and reading.time < upper(span.range)
      )
    order by entry.entry_id limit 1
  ) as oldest`,
    )
    .join(' union all ');

/** By what the primary's registry goes: any value that comes to the secondary later is of a reading that is no older. */
const readSinceSql = (registry: Table): string => `
  select sensor.sensor_id as "sensorId", sensor.last_seen::timestamptz::text as "lastSeen",
    place.located_at::text as "locatedAt"
  from ${tableSql(registry)} as sensor left join sensorctl.sensor_location as place on place.sensor_id = sensor.sensor_id
  where sensor.sensor_id = any ($1)`;

/** The places of those values that a reading has which is no older. Parameters: sensors, columns, values, and since when. */
const findValuesSql = (tables: ReadingTables): string => `
  select value.place::int - 1 as place
  from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
    with ordinality as value (sensor, name, text, since, place)
  where ${[...tables].map(hasValue).join(' or ')}`;

function hasValue([name, table]: readonly [ReadingTable, Table]): string {
  return `exists (
    select from ${tableSql(table)} as reading where reading.sensor_id = value.sensor and reading.time >= value.since
      and case value.name
        when 'location_lat' then reading.location_lat = value.text::float8
        when 'location_lng' then reading.location_lng = value.text::float8
        when 'sensor_type' then ${SENSOR_TYPE[name]} = value.text
      end
  )`;
}

interface Explanation {
  readonly entryId: number;
  readonly missed: boolean;
  readonly sensorId: string;
}

interface Since {
  readonly sensorId: string;
  /** The time of the primary's newest reading, and of its newest one with a location, when it was looked at. */
  readonly lastSeen: string | null;
  readonly locatedAt: string | null;
}

interface Looked {
  readonly suspects: readonly Suspect[];
  readonly explanations: readonly Explanation[];
  readonly since: readonly Since[];
  readonly newestEntry: number;
}

/** What the secondary holds and the primary does not, by its place. */
type WrongValues = ReadonlyMap<string, string | null>;

/** How the rows of a table that differ are looked at again: as rows that are only added, or that are updated. */
export function resolverOf({ known }: TablePair): typeof resolveLeaves {
  return known?.newestBy == null ? resolveLeaves : resolveUpdated;
}

/**
 * What `resolveLeaves` does for rows that are only added, for those that the consumer updates: a live column counts as different only when the secondary
 * holds the same wrong value at every look, although all the entries settled that were there at the first. Until then its
 * update is on its way (`pending`) or known to be lacking (`known gap`), and the row counts as missing it.
 */
async function resolveUpdated(
  comparison: Comparison,
  leaves: readonly Leaf[],
  { settleMs, stop, ledger }: ResolveOptions,
): Promise<Difference[]> {
  const budget = new RetryBudget(settleMs, stop);
  const tables = await readReadingTables(comparison);
  const lookAt = (at: readonly Leaf[]): Promise<Looked> =>
    look(comparison, at, (snapshot, suspects) => explainSensors(comparison, snapshot, { suspects, ledger, tables }), [
      ...tables.values(),
    ]);
  const first = await lookAt(leaves);
  let { suspects } = first;
  let resting: WrongValues = new Map(suspects.flatMap(valuesOf));
  while (suspects.length > 0) {
    await budget.pause();
    const names = new Set(suspects.map(({ name }) => name));
    const again = await lookAt(leavesOf(suspects));
    suspects = again.suspects.filter(({ name }) => names.has(name));
    resting = stillHeld(resting, suspects);
    if (ledger) resting = await withoutReturned(comparison, resting, { suspects, since: first.since, tables });
    const explanations = again.explanations.filter(({ entryId }) => entryId <= first.newestEntry);
    const judged = suspects.map((suspect) => judge(suspect, ledger ? resting : null, explanations));
    const settled = ledger && judged.every(({ waits }) => !waits);
    if (settled || budget.exhausted) return judged.map(({ difference }) => difference);
  }
  return [];
}

async function readReadingTables({ sides }: Comparison): Promise<ReadingTables> {
  const found = await readTables(queryableOf(sides.primary), READING_TABLES);
  return new Map(
    READING_TABLES.flatMap((name) => [found.get(name) ?? []].flat().map((table) => [name, table] as const)),
  );
}

async function explainSensors(
  { sides, table }: Comparison,
  snapshot: Queryable,
  { suspects, ledger, tables }: { suspects: readonly Suspect[]; ledger: boolean; tables: ReadingTables },
): Promise<Looked> {
  if (!ledger || suspects.length === 0) return { suspects, explanations: [], since: [], newestEntry: 0 };
  const sensors = [...new Set(suspects.map(({ key }) => key[0]))];
  const explained = await snapshot.query<Explanation & Record<string, unknown>>(explainSensorsSql(tables), [sensors]);
  const since = await snapshot.query<Since & Record<string, unknown>>(readSinceSql(table.sides.primary), [sensors]);
  const newestEntry = await readNewestEntry(sides.primary.pool);
  return { suspects, explanations: explained.rows, since: since.rows, newestEntry };
}

function valuesOf({ name, kind, columns }: Suspect): (readonly [string, string | null])[] {
  if (kind !== 'different') return [[`${name} ${kind}`, null]];
  return columns.map((column) => [`${name} ${column.name}`, column.secondary]);
}

function stillHeld(before: WrongValues, suspects: readonly Suspect[]): WrongValues {
  const now = suspects.flatMap(valuesOf);
  return new Map(now.filter(([place, value]) => before.has(place) && before.get(place) === value));
}

/** Leaves out what the secondary may have lost and got again between two looks: sensors go to and fro. */
async function withoutReturned(
  { sides }: Comparison,
  values: WrongValues,
  { suspects, since, tables }: { suspects: readonly Suspect[]; since: readonly Since[]; tables: ReadingTables },
): Promise<WrongValues> {
  const sinceOf = new Map(since.map((each) => [each.sensorId, each]));
  const held = suspects
    .flatMap(({ name, key, columns }) =>
      columns.map((column) => ({ place: `${name} ${column.name}`, sensor: key[0] ?? '', column })),
    )
    .filter(({ place, column }) => values.has(place) && RETURNING_COLUMNS.has(column.name));
  if (held.length === 0) return values;
  const found = await ask<{ place: number }>(sides.primary, {
    text: findValuesSql(tables),
    values: [
      held.map(({ sensor }) => sensor),
      held.map(({ column }) => column.name),
      held.map(({ column }) => column.secondary),
      held.map(({ sensor, column }) => sinceOf.get(sensor)?.[column.name === 'sensor_type' ? 'lastSeen' : 'locatedAt']),
    ],
  });
  const returned = new Set(found.map(({ place }) => held[place]?.place));
  return new Map([...values].filter(([place]) => !returned.has(place)));
}

/** Without a ledger (`resting` null) nothing explains a difference. `waits`: a later look may tell more. */
function judge(
  suspect: Suspect,
  resting: WrongValues | null,
  explanations: readonly Explanation[],
): { difference: Difference; waits: boolean } {
  const { kind, columns, key } = suspect;
  const lost = { difference: { ...suspect, class: null }, waits: false };
  if (kind === 'extra' || columns.some(({ name }) => !LIVE_COLUMNS.has(name))) return lost;
  const places = valuesOf(suspect).map(([place]) => place);
  const rests = resting === null || places.some((place) => resting.has(place));
  const found = rests ? classOf(explanations.filter(({ sensorId }) => sensorId === key[0])) : 'pending';
  if (found === 'unexplained' && kind === 'different') return lost;
  return { difference: { ...suspect, kind: 'missing', class: found }, waits: rests && found === 'pending' };
}

function classOf(explanations: readonly Explanation[]): MissingClass {
  if (explanations.some(({ missed }) => missed)) return 'known gap';
  return explanations.length > 0 ? 'pending' : 'unexplained';
}
