import type { Database, Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';
import { repeatCollisions, withTransaction } from '../../db/transaction.js';
import { chunksOf } from '../../domain/chunks.js';
import type { Role } from '../../domain/side.js';
import { assertDecides } from '../phase/fence.js';
import { columnOf } from '../tables/table.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { MERGE_RULE_MEMORY, READ_RULE_MEMORY, RULE_MEMORY_COLUMNS } from '../write/batch-sql.js';

const ROWS_AT_ONCE = 500;

export interface UpdatedRepair {
  readonly inserted: number;
  readonly corrected: number;
}

/** A key as a JSON array of texts. */
type Key = string;

/**
 * Brings a table whose rows are updated to the target: its primary side is the source, its secondary the target. With
 * `overwrite`, differing rows become what the source holds. Live writes to a row wait while it is locked on the target and
 * read on the source: so what is read holds every update that the target has, or may get later, and setting the row to it
 * loses none. Rows that only the target has stay.
 */
export async function repairUpdated(
  source: Database,
  target: Database,
  { table, overwrite }: { readonly table: TablePair; readonly overwrite: boolean },
): Promise<UpdatedRepair> {
  const totals = { inserted: 0, corrected: 0 };
  for (const keys of chunksOf(await listKeys(source.pool, table), ROWS_AT_ONCE)) {
    const repaired = await repeatCollisions(() => repairRows(source, target, { table, keys, overwrite }));
    totals.inserted += repaired.inserted;
    totals.corrected += repaired.corrected;
  }
  return totals;
}

async function listKeys(source: Queryable, table: TablePair): Promise<Key[]> {
  const texts = table.key.map((name) => `${quoteIdentifier(name)}::text`);
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
    const first = await readColumns(source.pool, rows);
    const inserted = await writeUnderOwnPath(client, underOwnPath(insertSql(table)), first);
    if (!overwrite) return { inserted, corrected: 0 };
    await client.query(lockSql(table), [keys]);
    await assertDecides(source);
    const values = await readColumns(source.pool, rows);
    const corrected = await writeUnderOwnPath(client, underOwnPath(updateSql(table)), values);
    if (table.known?.newestBy != null) await client.query(MERGE_RULE_MEMORY, await readMemory(source.pool, keys));
    return { inserted, corrected };
  });
}

/** A text array a column. */
async function readColumns(
  source: Queryable,
  { table, keys }: Pick<UpdatedRows, 'table' | 'keys'>,
): Promise<unknown[]> {
  const arrays = table.columns.map(({ name }) => `array_agg(${quoteIdentifier(name)}::text)::text`);
  const text = `select json_build_array(${arrays.join(', ')})::text as arrays
    from ${sideSql(table, 'primary')} where ${isGiven(table, 'primary')}`;
  const { rows } = await source.query<{ arrays: string }>(text, [keys]);
  return JSON.parse(rows[0]?.arrays ?? '[]') as unknown[];
}

/** What the rule by which the rows are updated remembers of them. */
async function readMemory(source: Queryable, keys: readonly Key[]): Promise<unknown[]> {
  const sensors = keys.map((key) => (JSON.parse(key) as string[])[0]);
  const { rows } = await source.query<Record<(typeof RULE_MEMORY_COLUMNS)[number], string>>(READ_RULE_MEMORY, [
    sensors,
  ]);
  return RULE_MEMORY_COLUMNS.map((name) => rows.map((row) => row[name]));
}

/** The rows of the keys in $1, as a side has their types. */
function isGiven({ key, sides }: TablePair, role: Role): string {
  const values = key.map((name, place) => `(given.key ->> ${place})::${columnOf(sides[role], name)?.type ?? 'text'}`);
  return `(${key.map(quoteIdentifier).join(', ')}) in (
    select ${values.join(', ')} from unnest($1::text[]) as listed (key)
    cross join lateral (select listed.key::json as key) as given
  )`;
}

function lockSql(table: TablePair): string {
  const order = table.key.map(quoteIdentifier).join(', ');
  return `select from ${sideSql(table, 'secondary')} where ${isGiven(table, 'secondary')} order by ${order} for update`;
}

function insertSql(table: TablePair): string {
  const names = table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const key = table.key.map(quoteIdentifier).join(', ');
  return `insert into ${sideSql(table, 'secondary')} (${names}) select ${names} from ${givenRows(table)} as given
    order by ${key} on conflict (${key}) do nothing`;
}

function updateSql(table: TablePair): string {
  const names = table.columns.filter(({ name }) => !table.key.includes(name)).map(({ name }) => quoteIdentifier(name));
  const list = (qualifier: string): string => names.map((name) => `${qualifier}.${name}`).join(', ');
  const same = table.key.map(quoteIdentifier).map((name) => `known.${name} = given.${name}`);
  return `update ${sideSql(table, 'secondary')} as known set ${names.map((name) => `${name} = given.${name}`).join(', ')}
    from ${givenRows(table)} as given
    where ${same.join(' and ')} and (${list('known')}) is distinct from (${list('given')})`;
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
