import { quoteIdentifier } from '../../db/identifiers.js';
import { columnOf } from '../tables/table.js';
import { sideSql } from '../tables/table-pair.js';
import { READ_NEWEST_PARTS, type NewestPart } from '../write/newest-parts.js';
import type { Comparison } from './find-leaves.js';
import type { Suspect } from './look.js';
import { ask } from './sides.js';
import { keyColumns } from './slices.js';

/** When the secondary's row was written last, as the rule by which it is updated says; by the row's name. */
export interface RowClock {
  /** Of the columns that each write has. */
  readonly row: string | null;
  /** Of those that a write may leave out. */
  readonly remembered: string | null;
}

const HAS_MEMORY = { text: "select to_regclass('sensorctl.newest_part') is not null as exists" };

/** Of these rows, on the secondary. Two equal clocks: none of the values that they stand for was written in between. */
export async function readClocks(
  { sides: { secondary }, table }: Comparison,
  suspects: readonly Suspect[],
): Promise<ReadonlyMap<string, RowClock>> {
  const newestBy = table.known?.updated?.newestBy;
  if (newestBy === undefined || suspects.length === 0) return new Map();
  const types = keyColumns(table).map(({ name }) => columnOf(table.sides.secondary, name)?.baseType ?? 'text');
  const names = keyColumns(table).map(({ name }) => `stored.${quoteIdentifier(name)}`);
  const given = types.map((type, place) => `(listed.key::json ->> ${place})::${type}`);
  const text = `
    select listed.place::int - 1 as place, stored.${quoteIdentifier(newestBy)}::text as clock
    from unnest($1::text[]) with ordinality as listed (key, place)
    join ${sideSql(table, 'secondary')} as stored on (${names.join(', ')}) = (${given.join(', ')})`;
  const keys = suspects.map(({ key }) => JSON.stringify(key));
  const [rows, memory] = await Promise.all([
    ask<{ place: number; clock: string | null }>(secondary, { text, values: [keys] }),
    readMemory(secondary, table.name, keys),
  ]);
  const clocks = new Map(rows.map(({ place, clock }) => [place, clock]));
  return new Map(
    suspects.map(({ name, key }, place) => [
      name,
      { row: clocks.get(place) ?? null, remembered: memory.get(JSON.stringify(key)) ?? null },
    ]),
  );
}

/** By the key, the times of all parts. */
async function readMemory(
  secondary: Comparison['sides']['secondary'],
  table: string,
  keys: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const [found] = await ask<{ exists: boolean }>(secondary, HAS_MEMORY);
  if (found?.exists !== true) return new Map();
  const rows = await ask<NewestPart>(secondary, { text: READ_NEWEST_PARTS, values: [table, keys] });
  const times = new Map<string, string>();
  for (const { key, part, newest } of rows.toSorted((one, other) => (one.part < other.part ? -1 : 1))) {
    const name = JSON.stringify(JSON.parse(key));
    times.set(name, `${times.get(name) ?? ''}${part}=${newest} `);
  }
  return times;
}
