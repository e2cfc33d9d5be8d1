import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import type { Side } from '../../domain/side.js';
import { isBefore } from '../tables/server-facts.js';
import { tableSql, type Table, type TableName } from '../tables/table.js';
import type { TrackedRelation } from './tracked-relations.js';

/** The purpose of a trigger of ours; its name in the catalogs is `sensorctl_` followed by it. */
type Purpose = 'gate' | 'inserted' | 'updated' | 'deleted' | 'row' | 'truncated' | 'limit';

/** A trigger that a relation of a tracked table is to have. */
export interface PlannedTrigger {
  readonly relation: TableName;
  readonly name: string;
  /** Its function in the schema sensorctl, and what that is called with. */
  readonly function: string;
  readonly arguments: readonly string[];
  readonly statement: string;
}

/** How one kind of change is entered: once a statement from transition tables, or once a row. */
type Entry = 'statement' | 'row';

/** The first version whose chunks take transition tables without losing rows, failing later, or crashing the server. */
const TRANSITIONS_SINCE = [2, 26, 4] as const;

/** Types whose values `times` of the ledger can hold. */
const TIME_TYPES: ReadonlySet<string> = new Set(['timestamp with time zone', 'timestamp without time zone', 'date']);

const OLD = 'old table as sensorctl_old';
const NEW = 'new table as sensorctl_new';

/** Every trigger that a relation needs so that all writers to it are covered. `timescaleDb` is the version in use. */
export function planTriggers(
  table: Table,
  relation: TrackedRelation,
  { side, timescaleDb }: { readonly side: Side; readonly timescaleDb: string | null },
): PlannedTrigger[] {
  const entries = entriesOf(table, relation, timescaleDb);
  const named = argumentsOf(table, relation);
  const place = table.hypertable === null ? 'table' : 'chunk';
  const skip = `when (${skipCondition(table.label)})`;
  const plan = (purpose: Purpose, when: string, execute: string, given: readonly string[]): PlannedTrigger => {
    const name = `sensorctl_${purpose}`;
    const call = `sensorctl.${execute}(${given.map(quoteLiteral).join(', ')})`;
    const condition = purpose === 'limit' ? '' : skip;
    const on = `${quoteIdentifier(name)} ${when.replace('%', () => tableSql(relation))}`;
    const statement = `create trigger ${on} ${condition} execute function ${call}`;
    return { relation: relation.name, name, function: execute, arguments: given, statement };
  };
  const transition = (purpose: Purpose, event: string, tables: string): PlannedTrigger => {
    const when = `after ${event} on % referencing ${tables} for each statement`;
    return plan(purpose, when, `enter_${purpose}`, [...named, numberOf(table.axis, relation)]);
  };
  const rows = (['insert', 'update', 'delete'] as const).filter((event) => entries[event] === 'row');
  return [
    plan('gate', 'before insert or update or delete or truncate on % for each statement', 'pass_gate', [side]),
    ...(entries.insert === 'statement' ? [transition('inserted', 'insert', NEW)] : []),
    ...(entries.update === 'statement' ? [transition('updated', 'update', `${OLD} ${NEW}`)] : []),
    ...(entries.delete === 'statement' ? [transition('deleted', 'delete', OLD)] : []),
    ...(rows.length === 0
      ? []
      : [plan('row', `after ${rows.join(' or ')} on % for each row`, 'enter_row', [...named, place])]),
    plan('truncated', 'after truncate on % for each statement', 'enter_truncated', [table.label]),
    ...(place === 'chunk'
      ? [plan('limit', 'before delete on % for each statement', 'lift_decompression_limit', [])]
      : []),
  ];
}

/**
 * A hypertable takes no transition table for deletes beside compression, and none at all where a column was dropped. In a
 * family of inheritance those of the parent hold what is the children's, and a child's see nothing that goes by the parent.
 */
function entriesOf(
  { hypertable }: Table,
  { droppedColumns, inherits }: TrackedRelation,
  timescaleDb: string | null,
): Readonly<Record<'insert' | 'update' | 'delete', Entry>> {
  if (hypertable !== null) {
    const isSafe = timescaleDb !== null && !isBefore(timescaleDb, ...TRANSITIONS_SINCE) && !droppedColumns;
    return isSafe
      ? { insert: 'statement', update: 'statement', delete: 'row' }
      : { insert: 'row', update: 'row', delete: 'row' };
  }
  return inherits
    ? { insert: 'statement', update: 'row', delete: 'row' }
    : { insert: 'statement', update: 'statement', delete: 'statement' };
}

/** How the functions know a table: its name in the ledger, and the numbers of the columns by which they name rows. */
function argumentsOf({ label, key, axis }: Table, { numbers }: TrackedRelation): string[] {
  const names = key ?? (axis === null ? [] : [axis.column]);
  const found = names.map((name) => numbers.get(name));
  return [label, key === null ? 'place' : 'key', `{${found.join(',')}}`];
}

function numberOf(axis: Table['axis'], { numbers }: TrackedRelation): string {
  return axis !== null && TIME_TYPES.has(axis.type) ? String(numbers.get(axis.column) ?? 0) : '0';
}

/** The setting by which a transaction of sensorctl says which tables its own statement enters. */
const SETTING = "current_setting('sensorctl.writer', true)";

/** False in a transaction of sensorctl, for the tables that it has named there; it counts in that transaction alone. */
function skipCondition(label: string): string {
  const names = (word: string): string => `position(${quoteLiteral(` ${word} `)} in ${SETTING}) > 0`;
  return `not coalesce(starts_with(${SETTING}, pg_current_xact_id_if_assigned()::text || ' ')
    and (${names(quoteIdentifier(label))} or ${names('*')}), false)`;
}
