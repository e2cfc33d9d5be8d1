import type { Obstacle, SidePreparation } from '../operations/init.js';
import { adviseOn } from './advice.js';
import { oneLine } from './output.js';
import { counted } from './quantities.js';
import { renderTable } from './table.js';

type PrintedObstacle = Omit<Obstacle, 'advice'> & { readonly next: string };

/** What `init --json` prints of a side: what it found and did, with the next step for each obstacle. */
export type PrintedPreparation = Omit<SidePreparation, 'obstacles'> & {
  readonly obstacles: readonly PrintedObstacle[];
};

export function printPreparation(prepared: SidePreparation): PrintedPreparation {
  const obstacles = prepared.obstacles.map(({ advice, ...obstacle }) => ({ ...obstacle, next: adviseOn(advice) }));
  return { ...prepared, obstacles };
}

export function renderPreparation(sides: readonly SidePreparation[]): string {
  const tables = sides.flatMap(({ side, tables: prepared, keysAdded }) =>
    prepared.map(({ table, action, hypertable }) => {
      const added = keysAdded.find((key) => key.table === table);
      const key = added
        ? `key added, ${counted(added.duplicatesRemoved, 'duplicate')} removed, ${added.quarantined} quarantined`
        : '';
      return [side, table, action, hypertable ? 'hypertable' : 'table', key];
    }),
  );
  const bookkeeping = sides.map(({ side, bookkeeping: { from, to }, timescaleDb }) => {
    const change = from === to ? 'kept' : from === 0 ? 'created' : `upgraded from ${from}`;
    return [side, 'sensorctl (bookkeeping)', change, `version ${to}`, `TimescaleDB ${timescaleDb ?? 'not in use'}`];
  });
  const obstacles = sides.flatMap(({ side, obstacles: found }) =>
    found.map(
      ({ table, problem, advice }) =>
        `In the way on ${side}: ${oneLine(`${table} ${problem}`)}.\n  Next: ${oneLine(adviseOn(advice))}`,
    ),
  );
  const table = renderTable(['side', 'table', 'action', 'kind', 'note'], [...bookkeeping, ...tables]);
  const missing = sides[0]?.side === 'local' ? 'ec2' : 'local';
  const next = sides.length === 2 ? 'sensorctl verify-schema' : `sensorctl init --side ${missing}`;
  return [table, ...obstacles, ...(obstacles.length === 0 ? [`Next: ${next}`] : [])].join('\n');
}
