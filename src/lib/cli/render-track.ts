import type { SideRemoval } from '../operations/remove.js';
import type { SideTracking } from '../operations/track.js';
import { oneLine } from './output.js';
import { renderTable } from './table.js';

export function renderTracking(sides: readonly SideTracking[], { dryRun }: { dryRun: boolean }): string {
  const rows = sides.flatMap(({ side, tables }) =>
    tables.map(({ table, action, problems }) => [
      side,
      table,
      dryRun && action !== 'kept' ? `to be ${action}` : action,
      problems.join('; '),
    ]),
  );
  const changes = sides.flatMap(({ side, tables }) =>
    tables.flatMap(({ table, changes: found }) => found.map((change) => `On ${side}: ${table}: ${change}.`)),
  );
  const next = dryRun
    ? 'sensorctl init --track'
    : 'sensorctl compare --all    # what was written before is proven by it';
  return [renderTable(['side', 'table', 'tracking', 'was'], rows), ...changes.map(oneLine), `Next: ${next}`].join('\n');
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
