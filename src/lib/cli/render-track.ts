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
  if (dryRun) return [...resting, 'Nothing was removed.', 'Next: sensorctl init --remove'].map(oneLine).join('\n');
  const isRemoved = sides.some(({ bookkeeping }) => bookkeeping);
  const isRunning = sides.some(({ resting: found }) => found.some((each) => each.isRunning));
  const advice = isRunning
    ? 'end what is running first: stop the consumers; sensorctl backfill switches paused policies on again'
    : 'settle it (sensorctl backfill, sensorctl quarantine list), or give it up for good: sensorctl init --remove --abandon';
  const next = isRemoved || resting.length === 0 ? [] : [`Next: ${advice}`];
  return [...resting, ...removed, ...next].map(oneLine).join('\n');
}
