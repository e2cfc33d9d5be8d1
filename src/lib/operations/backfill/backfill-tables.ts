import type { Database } from '../../db/database.js';
import { sideTitle } from '../../domain/side.js';
import {
  planTables,
  type NotHandled,
  type TablePlan,
  type WantedTables,
} from '../../repository/compare/plan-tables.js';
import type { PlannedUnit } from '../../repository/backfill/unit-store.js';
import { readMayReplicate } from '../../repository/tables/server-facts.js';
import { orderByParents, type TableOrder } from '../../repository/tables/order-tables.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import type { TableUnit } from './plan-units.js';

/** The tables of a backfill, the source their primary side, and the order in which they are written. */
export interface BackfillTables extends TablePlan {
  readonly order: TableOrder;
}

export async function findTables(
  { source, target }: { readonly source: Database; readonly target: Database },
  wanted: WantedTables,
): Promise<BackfillTables> {
  const plan = await planTables({ primary: source, secondary: target }, wanted);
  const order = orderByParents(plan.pairs.map(({ name, sides }) => ({ name, table: sides.secondary })));
  if (order.circles.size === 0 || (await readMayReplicate(target.pool))) return { ...plan, order };
  const notHandled = plan.pairs.flatMap(({ name }): NotHandled[] => {
    const circle = order.circles.get(name);
    if (circle === undefined) return [];
    const what =
      circle.length === 1 ? 'its rows refer to each other' : `foreign keys tie ${circle.join(', ')} in a circle`;
    const reason = `${what}, and the role may not set session_replication_role on ${sideTitle(target.side)}`;
    return [{ table: name, reason, advice: { code: 'replica-role', facts: { side: target.side } } }];
  });
  const pairs = plan.pairs.filter(({ name }) => !order.circles.has(name));
  return { ...plan, pairs, notHandled: [...plan.notHandled, ...notHandled], order };
}

/** Consumers update its rows: they are brought by their keys. */
export function isUpdated({ known }: TablePair): boolean {
  return known?.updated != null;
}

/**
 * Units of parents go before those of their children. Rows that only the target has are deleted the other way round: from
 * tables that others refer to by units of their own, once all else is done.
 */
export function placeUnits(
  units: readonly TableUnit[],
  { levels, parents }: TableOrder,
  prune: boolean,
): readonly PlannedUnit[] {
  const last = Math.max(0, ...levels.values());
  return units.flatMap((unit) => {
    const level = levels.get(unit.table) ?? 0;
    if (!prune || !parents.has(unit.table)) return [{ ...unit, level, prune }];
    return [
      { ...unit, level, prune: false },
      { ...unit, level: last + 1 + last - level, prune: true },
    ];
  });
}
