import type { SideRemoval } from '../operations/remove.js';
import type { SideTracking, TrackedTable } from '../operations/track.js';
import { oneLine } from './output.js';
import { renderTable } from './table.js';

export function renderTracking(sides: readonly SideTracking[], { dryRun }: { dryRun: boolean }): string {
  const names = [...new Set(sides.flatMap(({ tables }) => tables.map(({ table }) => table)))];
  const rows = names.map((name) => [name, ...sides.map(({ tables }) => describeTable(tables, name, dryRun))]);
  const next = dryRun
    ? 'sensorctl init --track'
    : 'sensorctl compare --all    # what was written before is proven by it';
  const columns = ['table', ...sides.map(({ side }) => `on ${side}`)];
  return [renderTable(columns, rows), ...sayChanges(sides), `Next: ${next}`].join('\n');
}

function describeTable(tables: readonly TrackedTable[], name: string, dryRun: boolean): string {
  const found = tables.find(({ table }) => table === name);
  if (found === undefined) return '';
  const action = dryRun && found.action !== 'kept' ? `to be ${found.action}` : found.action;
  return [action, ...found.problems].join('; ');
}

/** A line for each kind of change, with the tables that it is said of on every side, or on one. */
function sayChanges(sides: readonly SideTracking[]): string[] {
  const tablesOf = new Map<string, Set<string>>();
  const lines = sides.map(({ side, tables }) =>
    tables.flatMap(({ table, changes }) => changes.map((change) => ({ side, table, change }))),
  );
  const isOnEach = (table: string, change: string): boolean =>
    lines.every((found) => found.some((each) => each.table === table && each.change === change));
  for (const { side, table, change } of lines.flat()) {
    const where = isOnEach(table, change) ? change : `on ${side} ${change}`;
    tablesOf.set(where, (tablesOf.get(where) ?? new Set()).add(table));
  }
  return [...tablesOf].map(([change, tables]) => oneLine(`${[...tables].join(', ')}: ${change}.`));
}

export function renderRemoval(sides: readonly SideRemoval[], { dryRun }: { dryRun: boolean }): string {
  const resting = sides.flatMap(({ side, resting: found }) => found.map(({ what }) => `On ${side}: ${what}.`));
  const removed = sides.map(({ side, tables, bookkeeping }) => {
    const triggers = tables.length === 0 ? 'no triggers' : `triggers of ${tables.join(', ')}`;
    return `${side}: ${bookkeeping ? `the schema sensorctl and ${triggers} removed` : 'nothing removed'}`;
  });
  const isRemoved = sides.some(({ bookkeeping }) => bookkeeping);
  const next = isRemoved ? [] : [`Next: ${nextOfRemoval(sides.flatMap(({ resting: found }) => found))}`];
  if (dryRun) return [...resting, 'Nothing was removed.', ...next].map(oneLine).join('\n');
  return [...resting, ...removed, ...next].map(oneLine).join('\n');
}

/** What is running first, then what can be settled; a phase that is recorded nobody can. */
function nextOfRemoval(resting: SideRemoval['resting']): string {
  const kinds = new Set(resting.map(({ kind }) => kind));
  const abandon = 'gives it up for good: sensorctl init --remove --abandon';
  if (kinds.has('consumer')) return 'stop the consumers; then sensorctl init --remove';
  if (resting.some(({ isRunning }) => isRunning))
    return 'sensorctl backfill    # switches paused policies on again; what else is running ends by itself';
  if (kinds.has('entries') || kinds.has('backfill'))
    return `sensorctl backfill    # settles entries; one that is not finished goes on with its own command; what ${abandon}`;
  if (kinds.has('records')) return `sensorctl quarantine list    # retry or discard them; what ${abandon}`;
  if (kinds.has('phase')) return 'sensorctl init --remove --abandon    # gives the phase up for good';
  return 'sensorctl init --remove';
}
