import type { Database } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import { counted, listOf } from '../../domain/words.js';
import { sideTitle } from '../../domain/side.js';
import {
  readMaterializedViews,
  refreshSql,
  refreshViews,
  type MaterializedView,
} from '../../repository/cutover/materialized-views.js';
import type { Measured } from './cutover-report.js';

/** Says which materialized views a switch would refresh on the side that becomes the primary; none of them stops it. */
export async function measureViews(to: Database): Promise<Measured> {
  const views = await readMaterializedViews(to.pool);
  if (views.length === 0) return { passed: true, detail: `${sideTitle(to.side)} has no materialized views` };
  const [own, others] = [views.filter(({ mayRefresh }) => mayRefresh), views.filter(({ mayRefresh }) => !mayRefresh)];
  const foreign = others.map(({ label, owner }) => `${label} (of ${owner})`);
  const left = others.length === 0 ? '' : `; left to their owners: ${listOf(foreign)}`;
  const detail = `${counted(own.length, 'materialized view')} of ${sideTitle(to.side)} refreshed after the switch${left}`;
  return { passed: true, detail };
}

export interface RefreshHooks {
  readonly stop: AbortSignal;
  /** Called with each view that stays as it was, and why. */
  readonly onFailed: (view: { readonly label: string; readonly statement: string }, reason: string) => void;
  readonly onProgress: (detail: string) => void;
}

/** Refreshes the materialized views of the new primary, one after the other; does not throw. Answers what was done. */
export async function refreshAfterSwitch(to: Database, { stop, onFailed, onProgress }: RefreshHooks): Promise<string> {
  try {
    const views = await readMaterializedViews(to.pool);
    const failed: string[] = [];
    let done = 0;
    const onRefreshed = (view: MaterializedView, error: unknown): void => {
      done += 1;
      onProgress(`${done} of ${views.length}`);
      if (error === null) return;
      failed.push(`${view.label}: ${describeFault(error)}`);
      onFailed({ label: view.label, statement: `${refreshSql(view)};` }, describeFault(error));
    };
    if (views.length > 0) await refreshViews(to, views, { stop, onRefreshed });
    const left = views.slice(done).map(({ label }) => label);
    return [
      `${counted(done - failed.length, 'materialized view')} refreshed`,
      ...(failed.length === 0 ? [] : [`not refreshed: ${listOf(failed)}`]),
      ...(left.length === 0 ? [] : [`left: ${listOf(left)}`]),
    ].join('; ');
  } catch (error) {
    return `materialized views were not refreshed: ${describeFault(error)}`;
  }
}
