import type { Queryable } from '../../db/database.js';
import { readMayReplicate } from '../tables/server-facts.js';
import type { Table } from '../tables/table.js';
import { readTracked } from '../tables/written-tables.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';

/**
 * The triggers of tracked tables leave alone what sensorctl writes and enters itself: a setting of the transaction names its
 * tables, with the number of the transaction, so that one that was left behind counts nowhere else. Any role can set it:
 * it says who is sensorctl, and protects nothing. What the operator's own triggers write beside it, to other tables, is
 * entered like what any program writes.
 */
const takeSql = (tables: string): string =>
  `set_config('sensorctl.writer', pg_current_xact_id()::text || ' ' || ${tables}, true)`;

/** The secondary is written by sensorctl alone, and has no ledger: there it skips every table. */
const EVERY_TABLE = takeSql("'* '");

/** Goes before what sensorctl writes on the secondary, in its transaction. */
export const SKIP_EVERY_TABLE = `select ${EVERY_TABLE}`;

/** Goes first where the operator's triggers are to be silent: what they wrote on the primary is brought like other rows. */
export const IN_REPLICA_ROLE = 'set local session_replication_role = replica';

/** Whether the triggers of a table are to be silent for what is written to it on the secondary: it is tracked, and the role may say so. */
export async function areSilent(target: Queryable, { label, hasTriggers }: Table): Promise<boolean> {
  if (!hasTriggers) return false;
  const [tracked, mayReplicate] = await Promise.all([readTracked(target), readMayReplicate(target)]);
  return mayReplicate && tracked.has(label);
}

/** The same in a statement whose `with` holds what writes: a condition that is looked at before anything of it is read. */
export const EVERY_TABLE_SKIPPED = `(${EVERY_TABLE} is not null)`;

/** Likewise for tables that a statement on the primary enters itself, as the ledger names them, where `enters` holds. */
export function tablesSkippedSql(tables: readonly string[], enters: string): string {
  const names = quoteLiteral(tables.map((table) => `${quoteIdentifier(table)} `).join(''));
  return `(${takeSql(`case when ${enters} then ${names} else '' end`)} is not null)`;
}
