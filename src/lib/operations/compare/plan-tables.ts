import { READING_TABLES } from '../../domain/reading.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError, UsageError } from '../../errors.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import type { NotCompared } from './compare-report.js';
import { planNamedTables } from '../../repository/compare/plan-named-tables.js';
import type { ComparedSides } from '../../repository/compare/sides.js';
import { WHOLE_TABLES } from '../../repository/tables/reading-tables.js';

/**
 * Says how each table is compared. Without names: the tables that the consumer writes, as far as either side
 * has them; those that are compared whole come last, as they lag behind where the others do.
 * Throws where a table cannot be compared, naming every reason.
 */
export async function planTables(sides: ComparedSides, names: readonly string[] = []): Promise<TablePair[]> {
  const wanted = names.length > 0 ? names : [...READING_TABLES, ...WHOLE_TABLES];
  const plans = await planNamedTables(sides, wanted);
  const problems = plans.flatMap((plan) => (typeof plan === 'string' ? [plan] : []));
  if (problems.length > 0) {
    throw new UnreachableError(`these tables cannot be compared: ${problems.join('; ')}`, {
      code: 'schema-differs',
    });
  }
  const tables = plans.filter((plan): plan is TablePair => plan !== null && typeof plan !== 'string');
  const unknown = names.filter((name) => !tables.some((table) => table.name === name));
  if (unknown.length > 0) {
    throw new UsageError(`neither side has the table ${unknown.join(', ')}`, {
      code: 'tables-unknown',
    });
  }
  if (tables.length === 0) throw new UsageError('there is no table to compare', { code: 'no-tables' });
  return tables;
}

export function columnsNotCompared({ name, surplus }: TablePair, { secondary }: ComparedSides): NotCompared[] {
  if (surplus.length === 0) return [];
  return [{ table: name, columns: surplus, reason: `only ${sideTitle(secondary.side)} has them` }];
}
