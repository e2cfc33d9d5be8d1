import { readTableShapes, type TableShape } from '../tables/catalog.js';
import { READING_TABLES } from '../../domain/reading.js';
import { sideTitle } from '../../domain/side.js';
import { READING_KEY, REGISTRY, REGISTRY_KEY, REGISTRY_OWN_COLUMNS } from '../tables/reading-tables.js';
import { planTable, type ComparedTable } from '../tables/compared-table.js';
import { queryableOf, type ComparedSides } from './sides.js';

/** What tells rows apart whether or not a constraint says so. */
const KEYS = new Map<string, readonly string[]>([
  [REGISTRY, REGISTRY_KEY],
  ...READING_TABLES.map((table) => [table, READING_KEY] as const),
]);

/**
 * Says how each table is compared, in the order of the names: null where neither side has it, a text where it cannot be
 * compared.
 */
export async function planNamedTables(
  sides: ComparedSides,
  names: readonly string[],
): Promise<(ComparedTable | string | null)[]> {
  const [primary, secondary] = await Promise.all(
    [sides.primary, sides.secondary].map((side) => readTableShapes(queryableOf(side), names)),
  );
  return names.map((name) => planNamed(name, { primary: primary?.get(name), secondary: secondary?.get(name) }, sides));
}

function planNamed(
  name: string,
  { primary, secondary }: { primary: TableShape | undefined; secondary: TableShape | undefined },
  sides: ComparedSides,
): ComparedTable | string | null {
  if (primary === undefined && secondary === undefined) return null;
  if (primary === undefined) return `${name} is missing on ${sideTitle(sides.primary.side)}`;
  if (secondary === undefined) return `${name} is missing on ${sideTitle(sides.secondary.side)}`;
  const plan = planTable({
    primary,
    secondary,
    except: name === REGISTRY ? REGISTRY_OWN_COLUMNS : [],
    key: KEYS.get(name) ?? [],
  });
  return 'columns' in plan ? plan : `${name}: ${plan.join(', ')}`;
}
