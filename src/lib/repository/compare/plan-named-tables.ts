import { readTables } from '../tables/read-tables.js';
import { KNOWN_AXES, KNOWN_TABLES } from '../tables/reading-tables.js';
import type { Table } from '../tables/table.js';
import { pairTables, type TablePair } from '../tables/table-pair.js';
import { sideTitle } from '../../domain/side.js';
import { queryableOf, type ComparedSides } from './sides.js';

/**
 * Says how each table is compared, in the order of the names: null where neither side has it, a text where it cannot be
 * compared.
 */
export async function planNamedTables(
  sides: ComparedSides,
  names: readonly string[],
): Promise<(TablePair | string | null)[]> {
  const [primary, secondary] = await Promise.all(
    [sides.primary, sides.secondary].map((side) => readTables(queryableOf(side), names, KNOWN_AXES)),
  );
  return names.map((name) => planNamed(name, { primary: primary?.get(name), secondary: secondary?.get(name) }, sides));
}

function planNamed(
  name: string,
  { primary, secondary }: { primary: Table | undefined; secondary: Table | undefined },
  sides: ComparedSides,
): TablePair | string | null {
  if (primary === undefined && secondary === undefined) return null;
  if (primary === undefined) return `${name} is missing on ${sideTitle(sides.primary.side)}`;
  if (secondary === undefined) return `${name} is missing on ${sideTitle(sides.secondary.side)}`;
  const pair = pairTables({ primary, secondary, known: KNOWN_TABLES.get(name) });
  return 'columns' in pair ? pair : `${name}: ${pair.join(', ')}`;
}
