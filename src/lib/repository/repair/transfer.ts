import type { ParentRows } from './parent-rows.js';
import type { Database } from '../../db/database.js';
import type { Statement } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { KNOWN_AXES, KNOWN_TABLES } from '../tables/reading-tables.js';
import { readTables } from '../tables/read-tables.js';
import { planRewriteCheck } from '../tables/rewritten-tables.js';
import { columnOf, hasUniqueKey, type Column, type Parent, type Table } from '../tables/table.js';
import { pairTables, type TablePair } from '../tables/table-pair.js';
import { areSilent } from '../writers/own-writes.js';
import { isRecordedAsTracked } from '../writers/tracking.js';
import { readWriteSettings } from '../timescaledb/compressed-chunks.js';

/** The means by which a row is not stored twice on the target. */
export type Guard =
  /** Its unique key. */
  | 'key'
  /** Nothing but a look whether the key is absent; the source has the unique key. */
  | 'absence'
  /** Neither side has the key: rows are counted as members of a multiset. */
  | 'count';

/** How rows of a table travel from one side to the other. */
export interface Transfer {
  readonly table: string;
  readonly compared: TablePair;
  /**
   * Column → type on the source: what is staged has these, so that nothing is rounded before it was compared. With those
   * that nobody compares, so that a row that is new has them too.
   */
  readonly columns: ReadonlyMap<string, string>;
  /** Those of them that the target does not compute itself. */
  readonly written: readonly string[];
  /** The target numbers one of them, unless it is told not to. */
  readonly hasIdentity: boolean;
  readonly guard: Guard;
  /** What tells rows apart on the target: by its unique key, or by the columns that are taken for one; empty: the whole row. */
  readonly key: readonly string[];
  /** Other programs may delete its rows and change them on the source, and the ledger says so. */
  readonly tracked: boolean;
  /** The tables that the target's foreign keys refer to: rows that are brought need their parents there. */
  readonly parents: readonly ParentRows[];
  /** Both sides have the same column types: rows may go straight into the table. */
  readonly alike: boolean;
  /** Written in replica role: its triggers are to be silent, or its foreign keys refer in a circle, or to the table itself. */
  readonly replica: boolean;
  /** And their binary form means the same on both. */
  readonly binary: boolean;
  /** The settings of a transaction of the target that writes among existing rows. */
  readonly writeSettings: readonly Statement[];
  /** The question of a transaction of the source once it has read, for `assertNotRewritten`. */
  readonly rewriteCheck: Statement;
}

/** A table that cannot be copied until a person has mended its schema; other tables can. */
export class ImpossibleTransferError extends UnreachableError {}

/** The target took a row, and does not hold it as it was written. */
export class UnequalRowError extends UnreachableError {}

/** The same with other columns for the key: those by which the ledger names rows. */
export function byKey(transfer: Transfer, key: readonly string[]): Transfer {
  const { compared } = transfer;
  const guard = hasUniqueKey(compared.sides.secondary, key) ? 'key' : 'absence';
  return { ...transfer, compared: { ...compared, uniqueKey: key }, key, guard };
}

/**
 * Other programs may change its rows on the source: whoever brings them holds the target, see `lockTargetSql`. Of a table
 * that only consumers write no row changes that is not locked.
 */
export function mayChange({ tracked, compared }: Pick<Transfer, 'tracked' | 'compared'>): boolean {
  return tracked || compared.known === null;
}

/** Plans how a table that the consumer writes is copied; throws where the two sides do not allow it. */
export async function planTransfer(source: Database, target: Database, table: string): Promise<Transfer> {
  const [from, to] = await Promise.all(
    [source, target].map(async ({ pool }) => (await readTables(pool, [table], KNOWN_AXES)).get(table)),
  );
  if (from === undefined) throw impossible(table, `is missing on ${sideTitle(source.side)}`);
  if (to === undefined) throw impossible(table, `is missing on ${sideTitle(target.side)}`);
  const compared = pairTables({ primary: from, secondary: to, known: KNOWN_TABLES.get(table) });
  if (!('columns' in compared)) throw impossible(table, compared.join(', '));
  return await planTransferOf(source, target, compared);
}

/** Plans how a table is copied whose primary side is the source; throws where the target would lose rows. */
export async function planTransferOf(
  source: Database,
  target: Database,
  compared: TablePair,
  replica = false,
): Promise<Transfer> {
  const { name: table, sides } = compared;
  const { primary: from, secondary: to } = sides;
  if (to.hypertable?.losesRows === true)
    throw impossible(
      table,
      `is compressed on ${sideTitle(target.side)} by a TimescaleDB before 2.18.1, which would lose rows`,
    );
  const names = [
    ...compared.columns.map(({ name }) => name),
    ...compared.excepted.filter((name) => isWritable(to, name)),
  ];
  const isAlike = (name: string): boolean => columnOf(from, name)?.type === columnOf(to, name)?.type;
  const isPortable = (name: string): boolean =>
    columnOf(from, name)?.portable === true && columnOf(to, name)?.portable === true;
  const [writeSettings, rewriteCheck, parents, tracked, silent] = await Promise.all([
    readWriteSettings(target),
    planRewriteCheck(source, [from]),
    planParents(source, target, to),
    isRecordedAsTracked(source.pool, table),
    areSilent(target.pool, to),
  ]);
  const guard = guardOf(compared);
  const written = names.filter((name) => isWritable(to, name));
  const alike = names.every(isAlike);
  return {
    ...{ table, compared, guard, tracked, parents, written, alike, writeSettings, rewriteCheck },
    columns: new Map(names.map((name) => [name, stagedType(columnOf(from, name))])),
    hasIdentity: written.some((name) => columnOf(to, name)?.identity != null),
    key: compared.uniqueKey,
    replica: replica || silent,
    binary: alike && names.every(isPortable),
  };
}

function isWritable(target: Table, name: string): boolean {
  const column = columnOf(target, name);
  return column !== undefined && column.generated == null;
}

/** A domain would refuse what the target has to name. */
function stagedType(column: Column | undefined): string {
  return (column?.isDomain === true ? column.baseType : column?.type) ?? 'text';
}

/** Plans for parents that both sides have; without one on the source, the target itself names the row that lacks its parent. */
async function planParents(source: Database, target: Database, { parents, oid }: Table): Promise<ParentRows[]> {
  const nameOf = ({ table: { schema, name } }: Parent): string => `${schema}.${name}`;
  const names = [...new Set(parents.map(nameOf))];
  if (names.length === 0) return [];
  const [from, to] = await Promise.all([source, target].map(({ pool }) => readTables(pool, names)));
  return parents.flatMap((parent) => {
    const [primary, secondary] = [from?.get(nameOf(parent)), to?.get(nameOf(parent))];
    if (primary === undefined || secondary === undefined || secondary.oid === oid) return [];
    const pair = pairTables({ primary, secondary, known: KNOWN_TABLES.get(primary.label) });
    if (!('columns' in pair)) return [];
    return { columns: parent.columns, table: { ...pair, key: parent.parentColumns, uniqueKey: parent.parentColumns } };
  });
}

function guardOf({ sides, uniqueKey: key }: TablePair): Guard {
  if (key.length === 0) return 'count';
  if (hasUniqueKey(sides.secondary, key)) return 'key';
  return hasUniqueKey(sides.primary, key) ? 'absence' : 'count';
}

function impossible(table: string, problem: string): ImpossibleTransferError {
  return new ImpossibleTransferError(`${table} cannot be copied: ${problem}`, { code: 'schema-differs' });
}
