import type { Database } from '../../db/database.js';
import type { Statement } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { KNOWN_AXES, KNOWN_TABLES, REGISTRY } from '../tables/reading-tables.js';
import { readTables } from '../tables/read-tables.js';
import { planRewriteCheck } from '../tables/rewritten-tables.js';
import { columnOf, hasUniqueKey, type Table } from '../tables/table.js';
import { pairTables, type TablePair } from '../tables/table-pair.js';
import { readWriteSettings } from '../timescaledb/compressed-chunks.js';

/** What keeps a row from being stored twice on the target. */
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
  /** Column → type on the source: what is staged has these, so that nothing is rounded before it was compared. */
  readonly columns: ReadonlyMap<string, string>;
  readonly guard: Guard;
  /** The target's sensor_registry. */
  readonly registry: Table;
  /** The target has a foreign key to it. */
  readonly needsParents: boolean;
  /** Both sides have the same column types: rows travel in binary, and may go straight into the table. */
  readonly alike: boolean;
  /** What a transaction of the target sets before it writes among rows that are there. */
  readonly writeSettings: readonly Statement[];
  /** What a transaction of the source asks once it has read: for `assertNotRewritten`. */
  readonly rewriteCheck: Statement;
}

/** A table that cannot be copied until a person has mended its schema; other tables can. */
export class ImpossibleTransferError extends UnreachableError {}

/** Plans how a reading table is copied; throws where the two sides do not allow it. */
export async function planTransfer(source: Database, target: Database, table: string): Promise<Transfer> {
  const [from, { to, registry }] = await Promise.all([
    readTables(source.pool, [table], KNOWN_AXES).then((tables) => tables.get(table)),
    readTables(target.pool, [table, REGISTRY], KNOWN_AXES).then((tables) => ({
      to: tables.get(table),
      registry: tables.get(REGISTRY),
    })),
  ]);
  if (from === undefined) throw impossible(table, `is missing on ${sideTitle(source.side)}`);
  if (to === undefined) throw impossible(table, `is missing on ${sideTitle(target.side)}`);
  if (registry === undefined) throw impossible(table, `${REGISTRY} is missing on ${sideTitle(target.side)}`);
  if (to.hypertable?.losesRows === true)
    throw impossible(
      table,
      `is compressed on ${sideTitle(target.side)} by a TimescaleDB before 2.18.1, which would lose rows`,
    );
  const compared = pairTables({ primary: from, secondary: to, known: KNOWN_TABLES.get(table) });
  if (!('columns' in compared)) throw impossible(table, compared.join(', '));
  const typeOn = (side: Table, name: string): string => columnOf(side, name)?.type ?? 'text';
  const columns = new Map(compared.columns.map(({ name }) => [name, typeOn(from, name)]));
  const alike = compared.columns.every(({ name }) => typeOn(from, name) === typeOn(to, name));
  const [writeSettings, rewriteCheck] = await Promise.all([
    readWriteSettings(target),
    planRewriteCheck(source, [from]),
  ]);
  const guard = guardOf(compared);
  const needsParents = to.parents.some(
    (parent) => parent.table.schema === registry.name.schema && parent.table.name === registry.name.name,
  );
  return { table, compared, columns, guard, registry, needsParents, alike, writeSettings, rewriteCheck };
}

function guardOf({ sides, key }: TablePair): Guard {
  if (hasUniqueKey(sides.secondary, key)) return 'key';
  return hasUniqueKey(sides.primary, key) ? 'absence' : 'count';
}

function impossible(table: string, problem: string): ImpossibleTransferError {
  return new ImpossibleTransferError(`${table} cannot be copied: ${problem}`, { code: 'schema-differs' });
}
