import type pg from 'pg';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import type { Role } from '../../domain/side.js';
import { assertDecides } from '../phase/fence.js';
import { comparedValue } from '../compare/digest-method.js';
import { columnOf, tableSql } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { lockTable } from '../ledger/markers.js';
import { BRING_NEWEST_PARTS, READ_NEWEST_PARTS, type NewestPart } from '../write/newest-parts.js';
import { SKIP_EVERY_TABLE } from '../writers/own-writes.js';

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
  for (const part of chunksOf(keys ?? (await listKeys(source.pool, options.table)), ROWS_AT_ONCE)) {
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

async function listKeys(source: Queryable, table: TablePair): Promise<Key[]> {
  const texts = table.uniqueKey.map((name) => `${quoteIdentifier(name)}::text`);
  const { rows } = await source.query<{ key: Key }>(`
    select json_build_array(${texts.join(', ')})::text as key from ${sideSql(table, 'primary')}
    order by ${texts.map((text) => `${text} collate "C"`).join(', ')}`);
  return rows.map(({ key }) => key);
}

interface UpdatedRows {
  readonly table: TablePair;
  readonly keys: readonly Key[];
  readonly overwrite: boolean;
}

async function repairRows(source: Database, target: Database, rows: UpdatedRows): Promise<UpdatedRepair> {
  const { table, keys, overwrite } = rows;
  return await withTransaction(target.pool, async (client) => {
    await client.query(SKIP_EVERY_TABLE);
    if (table.known === null) {
      const { text, values = [] } = lockTable(table.name);
      await client.query(text, [...values]);
    }
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
    return { copied: first.rows, inserted, skipped: Math.max(0, first.rows - inserted - corrected), corrected };
  });
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
  return `insert into ${tableSql(table.sides.secondary)} (${names}) overriding system value
    select ${names} from ${givenRows(table)} as given order by ${key} on conflict do nothing`;
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

function writtenColumns({ columns, sides: { secondary } }: TablePair): TablePair['columns'] {
  return columns.filter(({ name }) => columnOf(secondary, name)?.generated == null);
}

/** The parameters, an array text a column, as rows with the source's types. */
function givenRows({ columns, sides }: TablePair): string {
  const names = columns.map(({ name }) => quoteIdentifier(name));
  const arrays = names.map((_, place) => `$${place + 1}::text[]`);
  const values = columns.map(({ name }) => {
    const column = quoteIdentifier(name);
    return `${column}::${columnOf(sides.primary, name)?.type ?? 'text'} as ${column}`;
  });
  return `(select ${values.join(', ')} from unnest(${arrays.join(', ')}) as texts (${names.join(', ')}))`;
}
