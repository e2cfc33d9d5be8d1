import type { Database } from '../../db/database.js';
import type { TablePair } from '../tables/table-pair.js';
import { listKeys, repairUpdated, type TrackedRows, type UpdatedRepair } from './repair-updated.js';

/** A row that entries of the ledger name; `gone`: that it may be no more. */
export interface NamedKey {
  readonly key: string;
  readonly gone: boolean;
}

export interface NamedRows {
  readonly keys: readonly NamedKey[];
  /** Any row of the table may be another one, or gone. */
  readonly whole: boolean;
}

/** Brings the rows that entries name by their keys, and takes off the target those that the source has no more. */
export async function repairNamed(
  source: Database,
  target: Database,
  {
    table,
    named,
    tracked,
  }: { readonly table: TablePair; readonly named: NamedRows; readonly tracked: TrackedRows | undefined },
): Promise<UpdatedRepair> {
  const gone = new Set(named.keys.filter((each) => each.gone).map(({ key }) => key));
  const options = { table, ...(tracked === undefined ? {} : { tracked }), overwrite: true };
  if (!named.whole)
    return await repairUpdated(source, target, { ...options, gone, keys: named.keys.map(({ key }) => key) });
  const there = await listKeys(target.pool, table, 'secondary');
  const keys = [...new Set([...(await listKeys(source.pool, table, 'primary')), ...there])];
  return await repairUpdated(source, target, { ...options, keys, gone: new Set(there), keeps: true });
}
