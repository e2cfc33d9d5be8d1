import type pg from 'pg';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { lockTargetSql } from '../../db/locks.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import type { Role, Side } from '../../domain/side.js';
import { keepRowsSql } from '../ledger/quarantine.js';
import { assertDecides } from '../phase/fence.js';
import { comparedValue } from '../compare/digest-method.js';
import { columnOf, hasUniqueKey, tableSql } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { BRING_NEWEST_PARTS, READ_NEWEST_PARTS, type NewestPart } from '../write/newest-parts.js';
import { silenceTriggers, SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import type { ParentRows } from './parent-rows.js';
import { findReferring } from './referring-tables.js';

const ROWS_AT_ONCE = 500;

/** `copied`, rows that the source holds, is the sum of the others. */
export interface UpdatedRepair {
  readonly copied: number;
  readonly inserted: number;
  /** Rows that were there, equal. */
  readonly skipped: number;
  readonly corrected: number;
}

export const NONE_UPDATED: UpdatedRepair = { copied: 0, inserted: 0, skipped: 0, corrected: 0 };

/** A key as a JSON array of texts. */
type Key = string;

/**
 * Brings a table whose rows are updated to the target: its primary side is the source, its secondary the target. With
 * `overwrite`, differing rows become what the source holds. Live writes to a row wait while it is locked on the target and
 * read on the source: so what is read holds every update that the target has, or may get later, and setting the row to it
 * loses none. Rows that only the target has stay. `keys`: JSON lists of texts; absent: of every row.
 */
export async function repairUpdated(
  source: Database,
  target: Database,
  { keys, ...options }: Omit<UpdatedRows, 'keys'> & { readonly keys?: readonly Key[] },
): Promise<UpdatedRepair> {
  const totals = { copied: 0, inserted: 0, skipped: 0, corrected: 0 };
  for (const part of chunksOf(keys ?? (await listKeys(source.pool, options.table, 'primary')), ROWS_AT_ONCE)) {
    const repaired = await repeatCollisions(() => repairRows(source, target, { ...options, keys: part }));
    totals.copied += repaired.copied;
    totals.inserted += repaired.inserted;
    totals.skipped += repaired.skipped;
    totals.corrected += repaired.corrected;
  }
  return totals;
}

/**
 * Adds rows that the target lacks, in its open transaction, as the source has them: parents of rows that are brought. No row
 * that is there is touched or locked, so that no live write waits.
 */
export async function insertAbsent(
  source: Queryable,
  target: pg.ClientBase,
  rows: Pick<UpdatedRows, 'table' | 'keys'>,
): Promise<void> {
  const { columns } = await readColumns(source, rows);
  await writeUnderOwnPath(target, underOwnPath(insertSql(rows.table)), columns);
  await bringMemory(source, target, { ...rows, overwrite: false });
}

/** The keys of all rows of a side, in an order that both sides share. */
export async function listKeys(source: Queryable, table: TablePair, role: Role): Promise<Key[]> {
  const texts = table.uniqueKey.map((name) => `${quoteIdentifier(name)}::text`);
  const { rows } = await source.query<{ key: Key }>(`
    select json_build_array(${texts.join(', ')})::text as key from ${sideSql(table, role)}
    order by ${texts.map((text) => `${text} collate "C"`).join(', ')}`);
  return rows.map(({ key }) => key);
}

interface UpdatedRows {
  readonly table: TablePair;
  readonly keys: readonly Key[];
  readonly overwrite: boolean;
  /** Of a table to which other programs write: see `lockTargetSql`. What its rows refer to goes before them. */
  readonly tracked?: TrackedRows;
  /** Those of the keys whose rows go from the target where the source has them no more. */
  readonly gone?: ReadonlySet<Key>;
  /** What goes is kept in the quarantine. */
  readonly keeps?: boolean;
}

/** Of a tracked table. */
export interface TrackedRows {
  readonly parents: readonly ParentRows[];
}

/** With the tables that its rows refer to, whose rows may be brought along, and others; in one order. */
export async function lockTracked(
  target: Queryable,
  table: string,
  { parents, referring = [] }: TrackedRows & { readonly referring?: readonly string[] },
): Promise<void> {
  const names = [...new Set([table, ...parents.map((parent) => parent.table.name), ...referring])].sort();
  for (const name of names) await target.query(`select ${lockTargetSql('$1')}`, [name]);
}

async function bringParents(
  source: Database,
  target: pg.ClientBase,
  { rows: { table, keys }, parent }: { readonly rows: UpdatedRows; readonly parent: ParentRows },
): Promise<void> {
  const columns = parent.columns.map(quoteIdentifier);
  const text = `select distinct json_build_array(${columns.map((name) => `${name}::text`).join(', ')})::text as key
    from ${sideSql(table, 'primary')} where num_nulls(${columns.join(', ')}) = 0 and ${isGiven(table, 'primary')}`;
  const { rows } = await source.pool.query<{ key: Key }>(text, [keys]);
  if (rows.length > 0)
    await insertAbsent(source.pool, target, { table: parent.table, keys: rows.map(({ key }) => key) });
}

async function repairRows(source: Database, target: Database, rows: UpdatedRows): Promise<UpdatedRepair> {
  const { table, keys, overwrite } = rows;
  return await withTransaction(target.pool, async (client) => {
    await client.query(SKIP_EVERY_TABLE);
    await silenceTriggers(client, table.sides.secondary);
    if (rows.tracked !== undefined || table.known === null) {
      // A delete may cascade: what refers to its row is sent before the lock, and found then, or after the commit.
      const deletes = rows.gone !== undefined && rows.gone.size > 0;
      const referring = deletes ? await findReferring(client, table.sides.secondary) : [];
      await lockTracked(client, table.name, { parents: rows.tracked?.parents ?? [], referring });
    }
    const removed = await removeGone(source, client, { rows, side: target.side });
    for (const parent of rows.tracked?.parents ?? []) await bringParents(source, client, { rows, parent });
    const first = await readColumns(source.pool, rows);
    const inserted = await writeUnderOwnPath(client, underOwnPath(insertSql(table)), first.columns);
    let corrected = 0;
    if (overwrite) {
      await client.query(lockSql(table), [keys]);
      await assertDecides(source);
      const values = await readColumns(source.pool, rows);
      const update = updateSql(table);
      if (update !== null) corrected = await writeUnderOwnPath(client, underOwnPath(update), values.columns);
    }
    await bringMemory(source.pool, client, rows);
    const skipped = Math.max(0, first.rows - inserted - corrected);
    return { copied: first.rows, inserted, skipped, corrected: corrected + removed };
  });
}

/**
 * Deletes first, so that no other unique constraint stands in the way of what is written. The source is asked once more: an
 * entry says that a row was deleted, not that it was never written again.
 */
async function removeGone(
  source: Database,
  target: pg.ClientBase,
  { rows: { table, keys, gone, keeps }, side }: { readonly rows: UpdatedRows; readonly side: Side },
): Promise<number> {
  const named = gone === undefined ? [] : keys.filter((key) => gone.has(key));
  if (named.length === 0) return 0;
  await assertDecides(source);
  const { rows: absent } = await source.pool.query<{ key: Key }>(findAbsentSql(table), [named]);
  if (absent.length === 0) return 0;
  const given = [absent.map(({ key }) => key)];
  if (keeps === true) await target.query(keepSql(table, side), given);
  const text = `delete from ${sideSql(table, 'secondary')} where ${isGiven(table, 'secondary')}`;
  return await writeUnderOwnPath(target, underOwnPath(text), given);
}

/** Those of the keys in $1 under which the source has no row. */
function findAbsentSql(table: TablePair): string {
  const { uniqueKey, sides } = table;
  const same = uniqueKey.map(
    (name, place) =>
      `stored.${quoteIdentifier(name)} = (wanted.key::json ->> ${place})::${columnOf(sides.primary, name)?.type ?? 'text'}`,
  );
  return `select wanted.key from unnest($1::text[]) as wanted (key)
    where not exists (select from ${sideSql(table, 'primary')} as stored where ${same.join(' and ')})`;
}

function keepSql(table: TablePair, side: Side): string {
  const rows = `select to_jsonb(stored.*) as content, null as sensor_id, null as "time"
    from ${sideSql(table, 'secondary')} as stored where ${isGiven(table, 'secondary')}`;
  const reason = 'a program took it from the primary, with its table';
  return keepRowsSql({ rows, table: table.name, side: quoteLiteral(side), reason });
}

/** A text array a column, and how many rows they hold. */
async function readColumns(
  source: Queryable,
  { table, keys }: Pick<UpdatedRows, 'table' | 'keys'>,
): Promise<{ columns: unknown[]; rows: number }> {
  const arrays = table.columns.map(({ name }) => `array_agg(${quoteIdentifier(name)}::text)::text`);
  const text = `select json_build_array(${arrays.join(', ')})::text as arrays, count(*)::int as rows
    from ${sideSql(table, 'primary')} where ${isGiven(table, 'primary')}`;
  const { rows } = await source.query<{ arrays: string; rows: number }>(text, [keys]);
  return { columns: JSON.parse(rows[0]?.arrays ?? '[]') as unknown[], rows: rows[0]?.rows ?? 0 };
}

/** Brings what the rule by which rows are kept newest remembers of them; `overwrite` where their rows are locked. */
async function bringMemory(
  source: Queryable,
  target: Queryable,
  { table, keys, overwrite }: UpdatedRows,
): Promise<void> {
  const { rows } = await source.query<NewestPart & Record<string, unknown>>(READ_NEWEST_PARTS, [table.name, keys]);
  if (rows.length === 0) return;
  const column = (name: keyof NewestPart): string[] => rows.map((row) => row[name]);
  const columns = [column('key'), column('part'), column('newest'), column('content')];
  await target.query(BRING_NEWEST_PARTS, [table.name, ...columns, overwrite]);
}

/** The rows of the keys in $1, as a side has their types. */
function isGiven({ uniqueKey: key, sides }: TablePair, role: Role): string {
  const values = key.map((name, place) => `(given.key ->> ${place})::${columnOf(sides[role], name)?.type ?? 'text'}`);
  return `(${key.map(quoteIdentifier).join(', ')}) in (
    select ${values.join(', ')} from unnest($1::text[]) as listed (key)
    cross join lateral (select listed.key::json as key) as given
  )`;
}

function lockSql(table: TablePair): string {
  const order = table.uniqueKey.map(quoteIdentifier).join(', ');
  return `select from ${sideSql(table, 'secondary')} where ${isGiven(table, 'secondary')} order by ${order} for update`;
}

/** The target computes generated columns itself, and takes the source's numbers of identity columns. */
function insertSql(table: TablePair): string {
  const names = writtenColumns(table)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');
  const key = table.uniqueKey.map(quoteIdentifier).join(', ');
  // Another row in the way, by another constraint, is a fault: it goes first, by an entry of its own.
  const arbiter = hasUniqueKey(table.sides.secondary, table.uniqueKey) ? `(${key})` : '';
  return `insert into ${tableSql(table.sides.secondary)} (${names}) overriding system value
    select ${names} from ${givenRows(table)} as given order by ${key} on conflict ${arbiter} do nothing`;
}

/** Null where a row has no values beside its key. */
function updateSql(table: TablePair): string | null {
  const { secondary } = table.sides;
  const columns = writtenColumns(table).filter(
    ({ name }) => !table.uniqueKey.includes(name) && columnOf(secondary, name)?.identity !== 'always',
  );
  if (columns.length === 0) return null;
  const list = (qualifier: string): string => columns.map((column) => comparedValue(column, qualifier)).join(', ');
  const same = table.uniqueKey.map(quoteIdentifier).map((name) => `known.${name} = given.${name}`);
  const set = columns.map(({ name }) => quoteIdentifier(name)).map((name) => `${name} = given.${name}`);
  return `update ${sideSql(table, 'secondary')} as known set ${set.join(', ')}
    from ${givenRows(table)} as given
    where ${same.join(' and ')} and (${list('known.')}) is distinct from (${list('given.')})`;
}

/** Those that the target does not compute itself. */
export function writtenColumns({ columns, sides: { secondary } }: TablePair): TablePair['columns'] {
  return columns.filter(({ name }) => columnOf(secondary, name)?.generated == null);
}

/** The parameters, an array text a column, as rows with the source's types. */
export function givenRows({ columns, sides }: TablePair): string {
  const names = columns.map(({ name }) => quoteIdentifier(name));
  const arrays = names.map((_, place) => `$${place + 1}::text[]`);
  const values = columns.map(({ name }) => {
    const column = quoteIdentifier(name);
    return `${column}::${columnOf(sides.primary, name)?.type ?? 'text'} as ${column}`;
  });
  return `(select ${values.join(', ')} from unnest(${arrays.join(', ')}) as texts (${names.join(', ')}))`;
}
