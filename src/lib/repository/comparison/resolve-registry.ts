import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { READING_TABLES } from '../../domain/reading.js';
import { readNewestEntry } from '../ledger.js';
import type { Comparison, Leaf } from './find-leaves.js';
import type { MissingClass } from './ledger-cover.js';
import { look, type Suspect } from './look.js';
import type { Difference, ResolveOptions } from './resolve.js';

/** What each batch keeps current: on the secondary these may lag behind by what the ledger holds. */
const LIVE_COLUMNS = new Set(['sensor_type', 'last_seen', 'location_lat', 'location_lng']);

/** Of these sensors, the oldest entry of each kind in which they have a reading. */
const EXPLAIN_SENSORS = READING_TABLES.map(
  (table) => `
  select oldest.entry_id as "entryId", kind.missed, sensor.sensor_id as "sensorId"
  from unnest($1::text[]) as sensor (sensor_id) cross join (values (true), (false)) as kind (missed)
  cross join lateral (
    select entry_id from sensorctl.ledger_state as entry cross join unnest(times) as range
    where table_name = '${table}' and kind.missed = (state <> 'pending')
      and (entry.sensor_id is null or entry.sensor_id = sensor.sensor_id)
      and exists (
        select from ${quoteIdentifier(table)} as reading
        where reading.sensor_id = sensor.sensor_id and reading.time >= lower(range) and reading.time < upper(range)
      )
    order by entry_id limit 1
  ) as oldest`,
).join(' union all ');

interface Explanation {
  readonly entryId: number;
  readonly missed: boolean;
  readonly sensorId: string;
}

interface Looked {
  readonly suspects: readonly Suspect[];
  readonly explanations: readonly Explanation[];
  readonly newestEntry: number;
}

/** A value of the secondary's registry that differed, and since when it has been this one. */
interface Sighting {
  readonly value: string | null;
  readonly newestEntry: number;
  readonly looks: number;
}

/**
 * The same for sensor_registry, whose rows change with every batch: a live column counts as different only once the
 * secondary has held the same wrong value since all the entries settled that were there when it was first seen. Until
 * then its update is on its way (`pending`) or known to be lacking (`known gap`), and the row counts as missing it.
 */
export async function resolveRegistry(
  comparison: Comparison,
  leaves: readonly Leaf[],
  { patience, ledger }: ResolveOptions,
): Promise<Difference[]> {
  const lookAt = (at: readonly Leaf[]): Promise<Looked> =>
    look(comparison, at, (snapshot, suspects) => explainSensors(comparison, snapshot, { suspects, ledger }));
  const first = await lookAt(leaves);
  let { suspects } = first;
  let sightings = sightAgain(new Map(), suspects, first.newestEntry);
  while (suspects.length > 0) {
    await patience.pause();
    const names = new Set(suspects.map(({ name }) => name));
    const again = await lookAt(leavesOf(suspects));
    suspects = again.suspects.filter(({ name }) => names.has(name));
    sightings = sightAgain(sightings, suspects, again.newestEntry);
    const differences = suspects.map((suspect) => judge(suspect, again, ledger ? sightings : null));
    const settled = ledger && differences.every(({ class: found }) => found !== 'pending');
    if (settled || patience.exhausted) return differences;
  }
  return [];
}

async function explainSensors(
  { sides }: Comparison,
  snapshot: Queryable,
  { suspects, ledger }: { suspects: readonly Suspect[]; ledger: boolean },
): Promise<Looked> {
  if (!ledger || suspects.length === 0) return { suspects, explanations: [], newestEntry: 0 };
  const sensors = [...new Set(suspects.map(({ key }) => key[0]))];
  const { rows } = await snapshot.query<Explanation & Record<string, unknown>>(EXPLAIN_SENSORS, [sensors]);
  return { suspects, explanations: rows, newestEntry: await readNewestEntry(sides.primary.pool) };
}

function leavesOf(suspects: readonly Suspect[]): Leaf[] {
  return [...new Set(suspects.map(({ leaf }) => leaf))];
}

/** The values that differ now; those that the secondary held before keep the time of their first sight. */
function sightAgain(
  before: ReadonlyMap<string, Sighting>,
  suspects: readonly Suspect[],
  newestEntry: number,
): Map<string, Sighting> {
  const sightings = new Map<string, Sighting>();
  for (const suspect of suspects) {
    for (const [place, value] of valuesOf(suspect)) {
      const seen = before.get(place);
      const first = seen?.value === value ? { ...seen, looks: seen.looks + 1 } : { value, newestEntry, looks: 1 };
      sightings.set(place, first);
    }
  }
  return sightings;
}

function valuesOf({ name, kind, columns }: Suspect): (readonly [string, string | null])[] {
  if (kind !== 'different') return [[`${name} ${kind}`, null]];
  return columns.map((column) => [`${name} ${column.name}`, column.secondary]);
}

/** Without a ledger (`sightings` null) nothing explains a difference. */
function judge(suspect: Suspect, looked: Looked, sightings: ReadonlyMap<string, Sighting> | null): Difference {
  const { kind, columns, key } = suspect;
  if (kind === 'extra' || columns.some(({ name }) => !LIVE_COLUMNS.has(name))) return { ...suspect, class: null };
  const explanations = looked.explanations.filter(({ sensorId }) => sensorId === key[0]);
  const classes = valuesOf(suspect).map(([place]) => classOf(sightings?.get(place), explanations));
  const worst = (['unexplained', 'known gap'] as const).find((found) => classes.includes(found)) ?? 'pending';
  if (worst === 'unexplained' && kind === 'different') return { ...suspect, class: null };
  return { ...suspect, kind: 'missing', class: worst };
}

function classOf(sighting: Sighting | undefined, explanations: readonly Explanation[]): MissingClass {
  if (sighting === undefined) return 'unexplained';
  const { newestEntry, looks } = sighting;
  const since = explanations.filter(({ entryId }) => entryId <= newestEntry);
  if (since.some(({ missed }) => missed)) return 'known gap';
  return since.length > 0 || looks === 1 ? 'pending' : 'unexplained';
}
