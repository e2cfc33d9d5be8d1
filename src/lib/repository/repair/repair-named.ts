import type { Database } from '../../db/database.js';
import { listKeys, repairUpdated, type UpdatedRepair } from './repair-updated.js';
import type { Transfer } from './transfer.js';

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
  { transfer, named }: { readonly transfer: Transfer; readonly named: NamedRows },
): Promise<UpdatedRepair> {
  const gone = new Set(named.keys.filter((each) => each.gone).map(({ key }) => key));
  const options = { transfer, overwrite: true };
  if (!named.whole)
    return await repairUpdated(source, target, { ...options, gone, keys: named.keys.map(({ key }) => key) });
  const there = await listKeys(target.pool, transfer.compared, 'secondary');
  const keys = [...new Set([...(await listKeys(source.pool, transfer.compared, 'primary')), ...there])];
  return await repairUpdated(source, target, { ...options, keys, gone: new Set(there), keeps: true });
}
