import type pg from 'pg';
import { copyBetween } from '../../db/copy.js';
import { withSession, type Database, type Queryable } from '../../db/database.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { lockTargetSql } from '../../db/locks.js';
import { PIN_AGAIN, underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import { inTransaction, queryAll, repeatCollisions } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import { sideTitle, type Role } from '../../domain/side.js';
import { keepRowsSql } from '../ledger/quarantine.js';
import { assertDecides } from '../phase/fence.js';
import { assertNotRewritten, repeatRewritten } from '../tables/rewritten-tables.js';
import type { Table } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { bringNewestParts } from '../write/newest-parts.js';
import { bringParents } from './bring-rows.js';
import { isGiven } from './insert-absent.js';
import { namedKeysSql, portionOfKeys, type Portion } from './portion.js';
import { findReferring } from './referring-tables.js';
import {
  canCorrect,
  clearStagingSql,
  copyFromSql,
  copyToSql,
  correctDifferingSql,
  findUnequalSql,
  insertStagedSql,
  writeSettingsOf,
} from './staging-sql.js';
import { mayChange, UnequalRowError, type Transfer } from './transfer.js';

/** Rows in one transaction of the target: sends to the table wait meanwhile. */
const ROWS_AT_ONCE = 5_000;
/** Where each row is locked by itself. */
const LOCKED_AT_ONCE = 500;

/** `copied`, rows that the source holds, is the sum of the others. */
export interface UpdatedRepair {
  readonly copied: number;
  readonly inserted: number;
  /** Rows that were there, equal. */
  readonly skipped: number;
  /** Also those that were deleted. */
  readonly corrected: number;
}

export const NONE_UPDATED: UpdatedRepair = { copied: 0, inserted: 0, skipped: 0, corrected: 0 };

/** A key as a JSON array of texts. */
type Key = string;

interface UpdatedRows {
  /** Its key is what the keys are of: see `byKey`. */
  readonly transfer: Transfer;
  readonly keys: readonly Key[];
  /** Differing rows become what the source holds. */
  readonly overwrite: boolean;
  /** Those of the keys whose rows go from the target where the source has them no more. */
  readonly gone?: ReadonlySet<Key>;
  /** What goes is kept in the quarantine. */
  readonly keeps?: boolean;
}

/**
 * Brings rows that are updated to the target by their keys, many at once through the staging table. The source is read in a
 * snapshot that began once nothing else writes the table on the target, so that no value is older than what is there. Rows
 * that only the target has stay, unless they are gone. `keys`: JSON lists of texts; absent: of every row. Throws where the
 * target does not hold in the end what the source holds.
 */
export async function repairUpdated(
  source: Database,
  target: Database,
  { keys, ...options }: Omit<UpdatedRows, 'keys'> & { readonly keys?: readonly Key[] },
): Promise<UpdatedRepair> {
  const { transfer } = options;
  let total = NONE_UPDATED;
  const all = keys ?? (await listKeys(source.pool, transfer.compared, 'primary'));
  for (const part of chunksOf(all, mayChange(transfer) ? ROWS_AT_ONCE : LOCKED_AT_ONCE)) {
    const repaired = await repeatCollisions(() => repairPart(source, target, { ...options, keys: part }));
    total = sumOf(total, repaired);
  }
  return total;
}

export function sumOf(one: UpdatedRepair, other: UpdatedRepair): UpdatedRepair {
  return {
    copied: one.copied + other.copied,
    inserted: one.inserted + other.inserted,
    skipped: one.skipped + other.skipped,
    corrected: one.corrected + other.corrected,
  };
}

/** The keys of all rows of a side, in an order that both sides share. */
export async function listKeys(source: Queryable, table: TablePair, role: Role): Promise<Key[]> {
  const texts = table.uniqueKey.map((name) => `${quoteIdentifier(name)}::text`);
  const { rows } = await source.query<{ key: Key }>(`
    select json_build_array(${texts.join(', ')})::text as key from ${sideSql(table, role)}
    order by ${texts.map((text) => `${text} collate "C"`).join(', ')}`);
  return rows.map(({ key }) => key);
}

/**
 * SQL that waits for all that writes a table on the target, and the tables that its rows refer to, whose rows may be brought
 * along, and others; in one order.
 */
export function lockTrackedSql(
  { table, parents }: Pick<Transfer, 'table' | 'parents'>,
  others: readonly string[] = [],
): string[] {
  const names = [...new Set([table, ...parents.map((parent) => parent.table.name), ...others])].sort();
  return names.map((name) => `select ${lockTargetSql(quoteLiteral(name))}`);
}

async function repairPart(source: Database, target: Database, rows: UpdatedRows): Promise<UpdatedRepair> {
  const { transfer, keys, gone, overwrite } = rows;
  // A delete may cascade: what refers to its row is sent before the lock, and found then, or after the commit.
  const deletes = gone !== undefined && gone.size > 0;
  const referring = deletes ? await findReferring(target.pool, transfer.compared.sides.secondary) : [];
  const inTarget = async (to: pg.Client): Promise<UpdatedRepair> =>
    await withSession(source, async (from) => {
      let attempts = 0;
      const bringOnce = async (part: UpdatedRows): Promise<UpdatedRepair> => {
        if ((attempts += 1) > 1) await to.query(clearStagingSql(transfer));
        return await bringPart({ source, target, from, to, rows: part });
      };
      const byIndex = byIndexSql(transfer.compared.sides.primary);
      const bring = (part: UpdatedRows): Promise<UpdatedRepair> =>
        repeatRewritten(from, () => inTransaction(from, () => bringOnce(part), 'repeatable read', byIndex));
      if (mayChange(transfer) || !overwrite) return await bring(rows);
      // Live writes to a row wait while it is locked: what is read then holds every update that the target has.
      const { inserted } = await bring({ ...rows, overwrite: false });
      await to.query(lockSql(transfer.compared, keys));
      const brought = await bring(rows);
      return { ...brought, inserted, skipped: Math.max(0, brought.skipped - inserted) };
    });
  return await withSession(target, (to) =>
    inTransaction(to, () => inTarget(to), 'read committed', beginSql(transfer, referring)),
  );
}

/** What the target's transaction begins with. Constraints that are deferred stay so: rows may refer to each other. */
function beginSql(transfer: Transfer, referring: readonly string[]): string[] {
  const byIndex = transfer.guard === 'key' ? byIndexSql(transfer.compared.sides.secondary) : [];
  const locks = mayChange(transfer) ? lockTrackedSql(transfer, referring) : [];
  return [...writeSettingsOf(transfer), ...byIndex, ...locks];
}

interface Bringing {
  readonly source: Database;
  readonly target: Database;
  /** In a transaction of its own, whose snapshot begins now. */
  readonly from: pg.Client;
  /** In a transaction that holds what it writes. */
  readonly to: pg.Client;
  readonly rows: UpdatedRows;
}

async function bringPart(bringing: Bringing): Promise<UpdatedRepair> {
  const { source, from, to, rows } = bringing;
  const { transfer, keys, gone, overwrite } = rows;
  const portion = portionOfKeys(transfer, keys);
  const statements = { to: copyToSql(transfer, portion), from: copyFromSql(transfer, 'staging') };
  const copied = await copyBetween(from, to, statements);
  const named = gone === undefined ? [] : keys.filter((key) => gone.has(key));
  const absent = await findAbsent(from, transfer.compared, named);
  await assertNotRewritten(from, source, transfer.rewriteCheck);
  // What only adds rows changes none that another primary holds: a program's stray rows go so to the new one.
  if (overwrite || named.length > 0) await assertDecides(source);
  const removed = await removeGone(bringing, absent);
  const written = copied === 0 ? NONE_UPDATED : await writeStaged(bringing, portion, copied);
  await bringNewestParts(from, to, { table: transfer.table, keys, overwrite });
  return { ...written, corrected: written.corrected + removed };
}

/**
 * Keys of few rows of a table that may be large: its index finds them, whatever the planner guesses of tables that nobody
 * analyzed. Not where chunks are compressed: each key would have the same batches decompressed once more.
 */
function byIndexSql({ hypertable }: Pick<Table, 'hypertable'>): string[] {
  if (hypertable?.compressed === true) return [];
  return ['set local enable_hashjoin = off', 'set local enable_mergejoin = off'];
}

/** Each deletion rests on a look: an entry says that a row was deleted, not that it was never written again. */
async function findAbsent(from: Queryable, table: TablePair, keys: readonly Key[]): Promise<Key[]> {
  if (keys.length === 0) return [];
  const { uniqueKey, sides } = table;
  const same = uniqueKey.map((name, place) => `stored.${quoteIdentifier(name)} = named.part_${place}`);
  const { rows } = await from.query<{ key: Key }>(`
    select named.key from ${namedKeysSql(sides.primary, uniqueKey, keys)}
    where not exists (select from ${sideSql(table, 'primary')} as stored where ${same.join(' and ')})`);
  return rows.map(({ key }) => key);
}

/** Goes first, so that no other unique constraint stands in the way of what is written. */
async function removeGone({ target, to, rows }: Bringing, keys: readonly Key[]): Promise<number> {
  if (keys.length === 0) return 0;
  const { compared } = rows.transfer;
  if (rows.keeps === true) await to.query(keepSql(compared, keys), [target.side]);
  const text = `delete from ${sideSql(compared, 'secondary')} where ${isGiven(compared, 'secondary', keys)}`;
  return await writeUnderOwnPath(to, underOwnPath(text));
}

/** What is corrected makes room for what is inserted: a value that is unique may have gone from one row to another. */
async function writeStaged(
  { from, to, target, rows }: Bringing,
  portion: Portion,
  copied: number,
): Promise<UpdatedRepair> {
  const { transfer, overwrite } = rows;
  await bringParents({ source: from, target: to, transfer });
  const corrects = overwrite && canCorrect(transfer);
  const correct = corrects ? [underOwnPath(correctDifferingSql(transfer, portion)), PIN_AGAIN] : [];
  const insert = [underOwnPath(insertStagedSql(transfer, { portion, part: false })), PIN_AGAIN];
  const verify = overwrite ? [`${findUnequalSql(transfer, portion)} limit 1`] : [];
  const results = await queryAll(to, [...correct, ...insert, ...verify]);
  if (overwrite && results.at(-1)?.rows.length !== 0)
    throw new UnequalRowError(`${sideTitle(target.side)} does not hold rows of ${transfer.table} as they were written`);
  const corrected = corrects ? (results[0]?.rowCount ?? 0) : 0;
  const inserted = results[correct.length]?.rowCount ?? 0;
  return { copied, inserted, corrected, skipped: Math.max(0, copied - inserted - corrected) };
}

/** Parameter: the side. */
function keepSql(table: TablePair, keys: readonly Key[]): string {
  const rows = `select to_jsonb(stored.*) as content, null as sensor_id, null as "time"
    from ${sideSql(table, 'secondary')} as stored where ${isGiven(table, 'secondary', keys)}`;
  const reason = 'a program took it from the primary, with its table';
  return keepRowsSql({ rows, table: table.name, side: '$1', reason });
}

function lockSql(table: TablePair, keys: readonly Key[]): string {
  const order = table.uniqueKey.map(quoteIdentifier).join(', ');
  return `select from ${sideSql(table, 'secondary')} where ${isGiven(table, 'secondary', keys)} order by ${order} for update`;
}
