import { quoteIdentifier } from '../../db/identifiers.js';

/**
 * The triggers of tracked tables leave alone what sensorctl writes and enters itself: a setting of the transaction names its
 * tables, with the number of the transaction, so that one that was left behind counts nowhere else. Any role can set it:
 * it says who is sensorctl, and protects nothing.
 */

/** SQL, for the select list of a statement that begins a transaction: its own statement enters the tables of this parameter. */
export function skipTablesSql(parameter: string): string {
  return `set_config('sensorctl.writer', pg_current_xact_id()::text || ' ' || ${parameter}, true)`;
}

/** The value of that parameter. */
export function skippedTables(labels: readonly string[]): string {
  return labels.map((label) => `${quoteIdentifier(label)} `).join('');
}

/** Goes before what sensorctl writes on the secondary: there everything is its own. */
export const SKIP_ALL_TABLES = `select ${skipTablesSql("'* '")}`;
