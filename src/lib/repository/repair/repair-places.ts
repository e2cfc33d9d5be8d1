import type pg from 'pg';
import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { lockTargetSql } from '../../db/locks.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import { CHECK_AT_ONCE, queryAll, repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import type { Role } from '../../domain/side.js';
import { assertDecides } from '../phase/fence.js';
import { columnOf, tableSql } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { IN_REPLICA_ROLE, SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import type { NamedRows } from './repair-named.js';
import { ImpossibleTransferError, type Transfer } from './transfer.js';
import { givenRows, writtenColumns } from './insert-absent.js';
import { NONE_UPDATED, sumOf, type UpdatedRepair } from './repair-updated.js';

const PLACES_AT_ONCE = 200;
/** Rows of a table without key and axis that are compared at once; all of them travel. */
const ROWS_AT_MOST = 500_000;

/** Rows that are equal, by their text, and how many there are. */
type Multiset = ReadonlyMap<string, number>;

const NO_ROWS: Multiset = new Map();

/** Places on the axis, as JSON lists of one text; null: the whole table. */
type Places = readonly string[] | null;

/**
 * Makes a tracked table without a key on the target what it is on the source, at places on its axis or as a whole: rows are
 * members of a multiset. Nothing is deleted at a place of which no entry says that rows may be gone.
 */
export async function repairPlaces(
  source: Database,
  target: Database,
  { transfer, named }: { readonly transfer: Transfer; readonly named: NamedRows },
): Promise<UpdatedRepair> {
  const repair = (places: Places, deletes: boolean): Promise<UpdatedRepair> =>
    repeatCollisions(() => repairAt(source, target, { transfer, places, deletes }));
  if (named.whole || transfer.compared.axis === null) return await repair(null, true);
  let total = NONE_UPDATED;
  for (const gone of [true, false]) {
    const keys = named.keys.filter((each) => each.gone === gone).map(({ key }) => key);
    for (const places of chunksOf(keys, PLACES_AT_ONCE)) {
      total = sumOf(total, await repair(places, gone));
    }
  }
  return total;
}

interface PlacedRows {
  readonly transfer: Transfer;
  readonly places: Places;
  readonly deletes: boolean;
}

async function repairAt(source: Database, target: Database, rows: PlacedRows): Promise<UpdatedRepair> {
  const { compared: table } = rows.transfer;
  return await withTransaction(target.pool, async (client) => {
    const role = rows.transfer.replica ? [IN_REPLICA_ROLE] : [];
    await queryAll(client, [...role, SKIP_EVERY_TABLE, CHECK_AT_ONCE]);
    if (rows.deletes) for (const { text } of rows.transfer.writeSettings) await client.query(text);
    await client.query(`select ${lockTargetSql('$1')}`, [table.name]);
    await assertDecides(source);
    // The source is read once the target is held: what comes later is in a later entry.
    const [wanted, found] = [await readRows(source.pool, rows, 'primary'), await readRows(client, rows, 'secondary')];
    const surplus = rows.deletes ? without(found, wanted) : NO_ROWS;
    await deleteRows(client, rows, surplus);
    const inserted = sizeOf(without(wanted, found));
    const left = [...found].filter(([content]) => !surplus.has(content));
    await insertRows(client, table, without(wanted, new Map(left)));
    const copied = sizeOf(wanted);
    return { copied, inserted, skipped: copied - inserted, corrected: sizeOf(surplus) };
  });
}

function contentSql({ columns }: TablePair): string {
  return `array_to_json(array[${columns.map(({ name }) => `stored.${quoteIdentifier(name)}::text`).join(', ')}]::text[])::text`;
}

/** $1: the places, where there are any, as an array of the axis' type: TimescaleDB leaves out the chunks that hold none. */
function isPlaced({ axis, sides }: TablePair, places: Places, role: Role): string {
  if (places === null || axis === null) return '$1::text[] is null';
  const column = `stored.${quoteIdentifier(axis.column)}`;
  const isListed = `${column} = any($1::${columnOf(sides[role], axis.column)?.type ?? 'text'}[])`;
  return textsOf(places)?.includes(null) === true ? `(${isListed} or ${column} is null)` : isListed;
}

function textsOf(places: Places): (string | null)[] | null {
  return places?.map((place) => (JSON.parse(place) as (string | null)[])[0] ?? null) ?? null;
}

async function readRows(session: Queryable, { transfer, places }: PlacedRows, role: Role): Promise<Multiset> {
  const { compared: table } = transfer;
  const text = `select content, count(*)::int as rows from (
      select ${contentSql(table)} as content from ${sideSql(table, role)} as stored
      where ${isPlaced(table, places, role)} limit ${ROWS_AT_MOST + 1}
    ) as rows group by content`;
  const { rows } = await session.query<{ content: string; rows: number }>(text, [textsOf(places)]);
  if (rows.reduce((sum, each) => sum + each.rows, 0) > ROWS_AT_MOST) {
    throw new ImpossibleTransferError(
      `${table.name} cannot be repaired as a whole: it has no key, and more than ${ROWS_AT_MOST} rows`,
      { code: 'schema-differs' },
    );
  }
  return new Map(rows.map(({ content, rows: count }) => [content, count]));
}

function sizeOf(rows: Multiset): number {
  return [...rows.values()].reduce((sum, count) => sum + count, 0);
}

function without(one: Multiset, other: Multiset): Multiset {
  const rest = [...one].map(([content, count]) => [content, count - (other.get(content) ?? 0)] as const);
  return new Map(rest.filter(([, count]) => count > 0));
}

/** All that are equal to these, however many: rows of a compressed chunk have no place by which one could be told. */
async function deleteRows(client: pg.ClientBase, { transfer, places }: PlacedRows, surplus: Multiset): Promise<void> {
  if (surplus.size === 0) return;
  const { compared: table } = transfer;
  const text = `delete from ${sideSql(table, 'secondary')} as stored
    where ${isPlaced(table, places, 'secondary')} and ${contentSql(table)} = any($2::text[])`;
  await writeUnderOwnPath(client, underOwnPath(text), [textsOf(places), [...surplus.keys()]]);
}

async function insertRows(client: pg.ClientBase, table: TablePair, lacking: Multiset): Promise<void> {
  const rows = [...lacking].flatMap(([content, count]) =>
    Array.from({ length: count }, () => JSON.parse(content) as (string | null)[]),
  );
  if (rows.length === 0) return;
  const names = writtenColumns(table)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');
  const text = `insert into ${tableSql(table.sides.secondary)} (${names}) overriding system value select ${names} from ${givenRows(table)} as given`;
  const columns = table.columns.map((_, place) => rows.map((row) => row[place]));
  await writeUnderOwnPath(client, underOwnPath(text), columns);
}
