import type { Queryable } from '../../db/database.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { UsageError } from '../../errors.js';
import { discoverTables, type Discovery } from '../../repository/tables/discover-tables.js';
import { readTables } from '../../repository/tables/read-tables.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import { pairDiscovered, selectTables, type Selected } from '../../repository/tables/select-tables.js';
import type { WantedTables } from './snapshot.js';

/** The tables that are compared, and those of local that are not, with the reason. */
export interface TablesToCompare {
  readonly wanted: WantedTables;
  readonly leftOut: readonly { readonly table: string; readonly reason: string }[];
}

const NOTHING: Discovery = { tables: [], notTaken: [] };

/**
 * The tables of the migration as local has them, the guide's first; of these the ones that are asked for, by name or
 * pattern. Throws a UsageError for a name that means nothing on local.
 */
export async function findWantedTables(
  local: Queryable,
  selection: TableSelection,
  only: readonly string[],
): Promise<TablesToCompare> {
  const here = await discoverTables(local);
  const selected = selectTables(pairDiscovered(here, NOTHING), selection, only);
  const labels = new Map(selected.chosen.map(({ name, primary }) => [name, primary?.name]));
  const others = only.length > 0 ? await findOthers(local, selected.unknown) : guidesOf(here, selected);
  const names = [...new Set([...others, ...labels.keys()])];
  const sorted = [
    ...ALL_TABLES.filter((name) => names.includes(name)),
    ...names.filter((name) => !ALL_TABLES.includes(name)),
  ];
  return {
    wanted: new Map(
      sorted.map((label) => {
        const name = labels.get(label);
        return [label, [...(name === undefined ? [] : [`${name.schema}.${name.name}`]), label]];
      }),
    ),
    leftOut: only.length > 0 ? [] : [...selected.leftOut, ...unloggedOf(here)],
  };
}

/** What is no table of the migration and was named all the same: a view, or one of the guide's that local lacks. */
async function findOthers(local: Queryable, unknown: readonly string[]): Promise<readonly string[]> {
  const found = await readTables(local, unknown);
  const missing = unknown.find((name) => !found.has(name) && !ALL_TABLES.includes(name));
  if (missing === undefined) return unknown;
  throw new UsageError(`local has no table ${missing}`, { code: 'table-not-on-local' });
}

/** All of them where local holds one, or nothing at all, but for those that the settings leave out. */
function guidesOf({ tables }: Discovery, { chosen, leftOut }: Selected): readonly string[] {
  const isGuides = tables.length === 0 || chosen.some(({ name }) => ALL_TABLES.includes(name));
  return isGuides ? ALL_TABLES.filter((name) => !leftOut.some(({ table }) => table === name)) : [];
}

/** Foreign tables are told with what another tool brings, partitions with their tables. */
function unloggedOf({ notTaken }: Discovery): TablesToCompare['leftOut'] {
  return notTaken
    .filter(({ isPartition, reason }) => !isPartition && reason.startsWith('unlogged'))
    .map(({ label, reason }) => ({ table: label, reason }));
}
