import { readTableShapes, type TableShape } from '../../db/catalog.js';
import { READING_TABLES } from '../../domain/reading.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError, UsageError } from '../../errors.js';
import { planTable, type ComparedTable } from '../../repository/comparison/compared-table.js';
import { queryableOf, type ComparedSides } from '../../repository/comparison/sides.js';
import { READING_KEY, REGISTRY, REGISTRY_KEY, REGISTRY_OWN_COLUMNS } from '../../repository/reading-tables.js';
import type { NotCompared } from './report.js';

/** What tells rows apart whether or not a constraint says so. */
const KEYS = new Map<string, readonly string[]>([
  [REGISTRY, REGISTRY_KEY],
  ...READING_TABLES.map((table) => [table, READING_KEY] as const),
]);
const COMPARED_TABLES = [REGISTRY, ...READING_TABLES];

/**
 * Says how each table is compared. Without names: sensor_registry and the reading tables, as far as either side has them.
 * Throws where a table cannot be compared, naming every reason.
 */
export async function planTables(sides: ComparedSides, names: readonly string[] = []): Promise<ComparedTable[]> {
  const wanted = names.length > 0 ? names : COMPARED_TABLES;
  const [primary, secondary] = await Promise.all(
    [sides.primary, sides.secondary].map((side) => readTableShapes(queryableOf(side), wanted)),
  );
  const plans = wanted.map((name) =>
    planNamed(name, { primary: primary?.get(name), secondary: secondary?.get(name) }, sides),
  );
  const problems = plans.flatMap((plan) => (typeof plan === 'string' ? [plan] : []));
  if (problems.length > 0) {
    throw new UnreachableError(`these tables cannot be compared: ${problems.join('; ')}`, {
      next: 'sensorctl verify-schema',
    });
  }
  const tables = plans.filter((plan): plan is ComparedTable => plan !== null && typeof plan !== 'string');
  const unknown = names.filter((name) => !tables.some((table) => table.name === name));
  if (unknown.length > 0) {
    throw new UsageError(`neither side has the table ${unknown.join(', ')}`, {
      next: 'check the names given with --table',
    });
  }
  if (tables.length === 0) throw new UsageError('there is no table to compare', { next: 'sensorctl init' });
  return tables;
}

/** Null where neither side has the table; a text where it cannot be compared. */
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

export function columnsNotCompared({ name, surplus }: ComparedTable, { secondary }: ComparedSides): NotCompared[] {
  if (surplus.length === 0) return [];
  return [{ table: name, columns: surplus, reason: `only ${sideTitle(secondary.side)} has them` }];
}

export function isRegistry({ name }: ComparedTable): boolean {
  return name === REGISTRY;
}

/** Whether the ledger says what the secondary lacks of this table. */
export function isInLedger({ name }: ComparedTable): boolean {
  return COMPARED_TABLES.includes(name);
}
