import type { KeyPreview, Obstacle, SidePreparation } from '../operations/init.js';
import type { ScriptStep } from '../operations/verify-schema/script.js';
import { KINDS } from '../repository/schema/schema-object.js';
import { adviseOn } from './advice.js';
import { oneLine } from './output.js';
import { counted } from './quantities.js';
import { renderTable } from './table.js';

const STEPS_SHOWN = 40;

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
  // Local comes first; whether it is prepared, verify-schema says.
  const isLocalAlone = sides.length === 1 && sides[0]?.side === 'local';
  const next = isLocalAlone ? `sensorctl init --side ec2${addKeys ? ' --add-keys' : ''}` : 'sensorctl verify-schema';
  const brought = sides.flatMap((side) => (side.brought === null ? [] : renderBrought(side.brought)));
  return [table, ...brought, ...obstacles, ...(obstacles.length === 0 ? [`Next: ${next}`] : [])].join('\n');
}

function renderBrought({ done, failed, leftOut }: NonNullable<SidePreparation['brought']>): string[] {
  return [
    done.length === 0 ? 'EC2 lacked nothing of local that can be brought.' : `Brought to EC2: ${countKinds(done)}.`,
    ...failed.map(({ what, problem }) => oneLine(`Not brought: ${what}: ${problem}`)),
    ...leftOut.map(({ what, reason, command }) =>
      oneLine(`Left out: ${what}: ${reason}${command === null ? '' : `; from local: ${command}`}`),
    ),
  ];
}

/** What would be carried out on EC2, in its order; how many of a kind where they are many. */
export function renderPlan(steps: readonly ScriptStep[]): string {
  if (steps.length > STEPS_SHOWN)
    return `To be carried out on EC2: ${countKinds(steps.map(({ what }) => what))}; sensorctl init --dry-run prints it`;
  return ['To be carried out on EC2:', ...steps.map(({ what }) => oneLine(`  ${what}`))].join('\n');
}

/** Each begins with its kind, up to the name: `table public.x`. */
function countKinds(whats: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const what of whats) {
    const kind =
      KINDS.toSorted((one, other) => other.length - one.length).find((each) => what.startsWith(`${each} `)) ?? 'change';
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts].map(([kind, count]) => `${kind} ${count}`).join(', ');
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
