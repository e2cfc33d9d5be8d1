import { hasUniqueKey, readTableShapes, type TableShape } from '../tables/catalog.js';
import type { Database, Queryable } from '../../db/database.js';
import { planRewriteCheck } from '../tables/rewritten-tables.js';
import type { Statement } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { planTable, type ComparedTable } from '../tables/compared-table.js';
import { READING_KEY, REGISTRY } from '../tables/reading-tables.js';
import { readWriteSettings } from '../timescaledb/compressed-chunks.js';
import { quoteLiteral } from '../../db/identifiers.js';
import { tableOidSql } from '../../db/search-path.js';

/** What keeps a row from being stored twice on the target. */
export type Guard =
  /** Its unique key (sensor_id, time). */
  | 'key'
  /** Nothing but a look whether the key is absent; the source has the unique key. */
  | 'absence'
  /** Neither side has the key: rows are counted as members of a multiset. */
  | 'count';

/** How rows of a table travel from one side to the other. */
export interface Transfer {
  readonly table: string;
  readonly compared: ComparedTable;
  /** Column → type on the source: what is staged has these, so that nothing is rounded before it was compared. */
  readonly columns: ReadonlyMap<string, string>;
  readonly guard: Guard;
  /** The target's table is a hypertable, whose chunks may be compressed. */
  readonly hypertable: boolean;
  /** The target has a foreign key to sensor_registry. */
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

const HAS_PARENT = `
  select exists (
    select from pg_constraint
    where contype = 'f' and conrelid = ${tableOidSql('$1')} and confrelid = ${tableOidSql(quoteLiteral(REGISTRY))}
  ) as exists`;

/** Plans how a reading table is copied; throws where the two sides do not allow it. */
export async function planTransfer(source: Database, target: Database, table: string): Promise<Transfer> {
  const [from, to] = await Promise.all(
    [source, target].map(async ({ pool }) => (await readTableShapes(pool, [table])).get(table)),
  );
  if (from === undefined) throw impossible(table, `is missing on ${sideTitle(source.side)}`);
  if (to === undefined) throw impossible(table, `is missing on ${sideTitle(target.side)}`);
  if (to.losesRows)
    throw impossible(
      table,
      `is compressed on ${sideTitle(target.side)} by a TimescaleDB before 2.18.1, which would lose rows`,
    );
  const compared = planTable({ primary: from, secondary: to, except: [], key: READING_KEY });
  if (!('columns' in compared)) throw impossible(table, compared.join(', '));
  const columns = new Map(compared.columns.map(({ name }) => [name, from.columns.get(name) ?? 'text']));
  const alike = compared.columns.every(({ name }) => from.columns.get(name) === to.columns.get(name));
  const [needsParents, writeSettings, rewriteCheck] = await Promise.all([
    hasParent(target.pool, table),
    readWriteSettings(target),
    planRewriteCheck(source, [table]),
  ]);
  const { hypertable } = to;
  const guard = guardOf(from, to);
  return { table, compared, columns, guard, hypertable, needsParents, alike, writeSettings, rewriteCheck };
}

async function hasParent(target: Queryable, table: string): Promise<boolean> {
  return (await target.query<{ exists: boolean }>(HAS_PARENT, [table])).rows[0]?.exists === true;
}

function guardOf(source: TableShape, target: TableShape): Guard {
  if (hasUniqueKey(target, READING_KEY)) return 'key';
  return hasUniqueKey(source, READING_KEY) ? 'absence' : 'count';
}

function impossible(table: string, problem: string): ImpossibleTransferError {
  return new ImpossibleTransferError(`${table} cannot be copied: ${problem}`, { code: 'schema-differs' });
}
