import type { KeyPreview, Obstacle, SidePreparation } from '../operations/init.js';
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

export function renderPreparation(sides: readonly SidePreparation[], { addKeys }: { addKeys: boolean }): string {
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
  const next =
    sides.length === 2 ? 'sensorctl verify-schema' : `sensorctl init --side ${missing}${addKeys ? ' --add-keys' : ''}`;
  return [table, ...obstacles, ...(obstacles.length === 0 ? [`Next: ${next}`] : [])].join('\n');
}

/** Which rows share a key, what would become of them, and how they differ. */
export function renderKeyPreview(sides: readonly KeyPreview[]): string {
  const sections = sides.flatMap(({ side, tables }) => {
    if (tables.length === 0) return [`${side}: no reading table lacks its key.`];
    return tables.flatMap((found) => [
      `${side}: ${found.table}: ${counted(found.keys, 'key')} shared; ${counted(found.duplicatesRemoved, 'duplicate')} would be removed, ${counted(found.quarantined, 'row')} moved to the quarantine`,
      ...(found.compressed ? ['  It has compressed chunks: nothing can be removed until they are decompressed.'] : []),
      ...(found.columns.length === 0
        ? []
        : [`  They differ in: ${found.columns.map(({ column, rows }) => `${column} (${rows})`).join(', ')}`]),
      ...found.examples.map(renderExample),
    ]);
  });
  const next = sides.some(({ tables }) => tables.length > 0)
    ? `sensorctl init${sides.length === 1 ? ` --side ${sides[0]?.side ?? 'local'}` : ''} --add-keys    # does it`
    : 'sensorctl init';
  return [...sections.map(oneLine), `Next: ${next}`].join('\n');
}

function renderExample({ key, columns }: KeyPreview['tables'][number]['examples'][number]): string {
  const name = Object.values(key)
    .map((value) => value ?? 'null')
    .join(' ');
  const values = Object.entries(columns).map(
    ([column, { kept, moved }]) => `${column} is ${kept ?? 'null'} where it stays, ${moved ?? 'null'} where it goes`,
  );
  return `  ${name}: ${values.join('; ')}`;
}
