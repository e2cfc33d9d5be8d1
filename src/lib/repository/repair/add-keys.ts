import { SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import { readTables } from '../tables/read-tables.js';
import { hasUniqueKey, tableSql, type Table } from '../tables/table.js';
import { readChunks } from '../timescaledb/chunks.js';
import type { Database, Queryable } from '../../db/database.js';
import { readOnly } from '../../db/read-only.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { shownText } from '../../db/large-values.js';
import { withTransaction } from '../../db/transaction.js';
import { READING_KEY, READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import { keepRowsSql } from '../ledger/quarantine.js';
import { PIN_AGAIN, underOwnPath } from '../../db/search-path.js';

/** The outcome of `addKey` for one table: each removed row is a duplicate of a row or a record, or has a record. */
export interface KeyAddition {
  readonly table: ReadingTable;
  readonly duplicatesRemoved: number;
  /** Records of the quarantine. */
  readonly quarantined: number;
}

/** A table whose key could not be added, since no row can be removed from its compressed chunks. */
export interface CompressedTable {
  readonly table: ReadingTable;
  /** How output names it. */
  readonly label: string;
}

export interface KeyAdditions {
  readonly added: readonly KeyAddition[];
  readonly compressed: readonly CompressedTable[];
}

/** Which rows of a table share a key, and how they differ; the numbers are those of adding the key. */
export interface SharedKeys extends KeyAddition {
  /** Keys that more than one row has. */
  readonly keys: number;
  /** Its compressed chunks would have to be decompressed first. */
  readonly compressed: boolean;
  /** How many of the rows that would go to the quarantine differ in a column from the row that would stay. */
  readonly columns: readonly { readonly column: string; readonly rows: number }[];
  /** The first of those rows: its key, and in each column that differs what is kept, and what the row itself holds. */
  readonly examples: readonly {
    readonly key: Readonly<Record<string, string | null>>;
    readonly columns: Readonly<Record<string, { readonly kept: string | null; readonly moved: string | null }>>;
  }[];
}

/** Where the rows of a table share a key, all but one of them go: by which columns, and what they are told by. */
interface KeyColumns {
  readonly table: string;
  /** The table in a statement. */
  readonly sql: string;
  readonly key: readonly string[];
  readonly side: Side;
}

const SHARED_KEYS = 'select %key% from %table% group by %key% having count(*) > 1';

/**
 * Of the rows that share a key the one stored first stays: it is the one that a unique key would have let in. The key may
 * have any names, so that the other columns have names of our own; and a whole row is `stored.*`, for `stored` alone may
 * be a column.
 */
const RANKED = `
  select * from (
    select stored.tableoid as sensorctl_table, %row% as sensorctl_row, %stored_key%,
      to_jsonb(stored.*) as sensorctl_content, row_number() over same_key as sensorctl_place,
      first_value(to_jsonb(stored.*)) over same_key as sensorctl_kept
    from %table% as stored
    join (${SHARED_KEYS}) as shared using (%key%)
    window same_key as (partition by %stored_key% order by stored.tableoid, %row%)
  ) as ranked
  where sensorctl_place > 1`;

const RANK_ROWS = `
  create temporary table surplus on commit drop as ${RANKED}`;

const DIFFERS = 'sensorctl_content is distinct from sensorctl_kept';
/** Rows that are equal share a record. */
const COUNT_RECORDS = `select count(distinct sensorctl_content::text)::int as records from surplus where ${DIFFERS}`;

const EXAMPLE = `
  select json_build_object(
    'key', (select json_object_agg(part.name, differing.sensorctl_content ->> part.name) from unnest($1::text[]) as part (name)),
    'columns', (
      select json_object_agg(value.key, json_build_object('kept', ${shownText('(differing.sensorctl_kept ->> value.key)')},
        'moved', ${shownText('value.value')}))
      from jsonb_each_text(differing.sensorctl_content) as value
      where value.value is distinct from differing.sensorctl_kept ->> value.key
    )
  ) as example from differing order by %key%, sensorctl_place limit $2`;

/** Parameters: the names of the key's columns, and how many examples. */
const FIND_SHARED = `
  with surplus as materialized (${RANKED}), differing as materialized (select * from surplus where ${DIFFERS})
  select (select count(*) from (select distinct %key% from surplus) as shared)::int as keys,
    (select count(*) from surplus)::int as rows, (${COUNT_RECORDS}) as records,
    (select coalesce(json_agg(json_build_object('column', changed.name, 'rows', changed.rows) order by rows desc, name), '[]')
      from (
        select value.key as name, count(*) as rows from differing
        cross join lateral jsonb_each(differing.sensorctl_content) as value
        where value.value is distinct from differing.sensorctl_kept -> value.key group by value.key
      ) as changed)::text as columns,
    (select coalesce(json_agg(shown.example), '[]') from (${EXAMPLE}) as shown)::text as examples`;

const DELETE_SURPLUS = `
  delete from %table% as stored using surplus
  where stored.tableoid = surplus.sensorctl_table and stored.ctid = surplus.sensorctl_row`;

/**
 * The statements that leave one row a key, for one transaction that has the table for itself: those that are equal in
 * all columns are deleted, those that differ go to the quarantine. They leave the temporary table `surplus` behind.
 */
export function removeSurplus(columns: KeyColumns): { rank: string; keep: string; remove: string } {
  const { table, key, side } = columns;
  const textOf = (column: string): string => (key.includes(column) ? quoteIdentifier(column) : 'null');
  const differing = `select sensorctl_content as content, ${textOf('sensor_id')} as sensor_id, ${textOf('time')} as "time"
    from surplus where ${DIFFERS}`;
  const reason = 'shares its key with another row, which was kept';
  return {
    rank: forKey(columns, forRows(RANK_ROWS, false)),
    keep: keepRowsSql({ rows: differing, table, side: quoteLiteral(side), reason }),
    remove: forKey(columns, DELETE_SURPLUS),
  };
}

/** Rows that are shown of a table. */
const EXAMPLES = 10;

/** Takes seconds to hours on a large table: neither the server nor the client gives up. */
const NO_TIMEOUT = 'set local statement_timeout = 0';
const PATIENT = { query_timeout: 2 ** 31 - 1 };

/** The server ends the work, and lets the table go, soon after this process is gone; where the system can tell (Linux). */
const NOTICE_LOSS = `
  select set_config('client_connection_check_interval', '5s', true) where version() like '%linux%'`;

/**
 * Makes the reading tables that lack their unique key ready for dual write, each in one transaction, in which nobody
 * else can write to it: exact duplicates are removed, rows that share a key but differ go to the quarantine. A table with
 * compressed chunks is left as it is, and named.
 */
export async function addKeys(database: Database): Promise<KeyAdditions> {
  const added: KeyAddition[] = [];
  const compressed: CompressedTable[] = [];
  for (const [name, table] of await findKeyless(database)) {
    const addition = await addKey(database, name, table);
    if (addition === null) compressed.push({ table: name, label: table.label });
    else added.push(addition);
  }
  return { added, compressed };
}

/** Finds, for each table without its key, the rows that `addKeys` would remove; changes nothing, and waits for nobody. */
export async function findSharedKeys(database: Database): Promise<SharedKeys[]> {
  const keyless = await findKeyless(database);
  return await readOnly(database, async (client) => {
    await client.query(NO_TIMEOUT);
    const found: SharedKeys[] = [];
    for (const [name, table] of keyless) found.push(await readSharedKeys(client, { name, table, side: database.side }));
    return found;
  });
}

async function findKeyless({ pool }: Database): Promise<(readonly [ReadingTable, Table])[]> {
  const tables = await readTables(pool, READING_TABLES);
  return READING_TABLES.flatMap((name) => {
    const table = tables.get(name);
    return table === undefined || hasUniqueKey(table, READING_KEY) ? [] : [[name, table] as const];
  });
}

async function readSharedKeys(
  client: Queryable,
  { name, table, side }: { name: ReadingTable; table: Table; side: Side },
): Promise<SharedKeys> {
  const compressed = await isCompressed(client, table);
  const text = forKey({ table: name, sql: tableSql(table), key: READING_KEY, side }, forRows(FIND_SHARED, compressed));
  const query = { text, values: [READING_KEY, EXAMPLES], ...PATIENT };
  const [row] = (await client.query<SharedRow>(query)).rows;
  if (row === undefined) throw new TypeError('a count without a row');
  return {
    table: name,
    keys: row.keys,
    duplicatesRemoved: row.rows - row.records,
    quarantined: row.records,
    compressed,
    columns: JSON.parse(row.columns) as SharedKeys['columns'],
    examples: JSON.parse(row.examples) as SharedKeys['examples'],
  };
}

interface SharedRow extends Record<string, unknown> {
  readonly keys: number;
  readonly rows: number;
  readonly records: number;
  readonly columns: string;
  readonly examples: string;
}

async function isCompressed(client: Queryable, { name, hypertable }: Table): Promise<boolean> {
  return hypertable !== null && (await readChunks(client, name)).some(({ compressed }) => compressed);
}

/** Null where the table has compressed chunks. */
async function addKey(database: Database, name: ReadingTable, table: Table): Promise<KeyAddition | null> {
  const sql = tableSql(table);
  return await withTransaction(database.pool, async (client) => {
    const run = async (text: string): Promise<number> =>
      (await client.query({ text: forTable(sql, text), ...PATIENT })).rowCount ?? 0;
    await run(NO_TIMEOUT);
    await run(NOTICE_LOSS);
    await run(SKIP_EVERY_TABLE);
    await run('lock table %table% in share row exclusive mode');
    if (await isCompressed(client, table)) return null;
    const { rank, keep, remove } = removeSurplus({ table: name, sql, key: READING_KEY, side: database.side });
    await run(rank);
    const counted = await client.query<{ records: number }>({ text: COUNT_RECORDS, ...PATIENT });
    const quarantined = counted.rows[0]?.records ?? 0;
    await run(keep);
    const deleted = await run(underOwnPath(remove));
    await run(PIN_AGAIN);
    await run(
      `create unique index ${quoteIdentifier(`${table.name.name}_key`)} on %table% (${READING_KEY.join(', ')})`,
    );
    return { table: name, duplicatesRemoved: deleted - quarantined, quarantined };
  });
}

function forTable(table: string, sql: string): string {
  return sql.replaceAll('%table%', table);
}

/** Rows of compressed chunks have no ctid: which of them stays turns out once they are decompressed; the counts are the same. */
function forRows(sql: string, compressed: boolean): string {
  return sql.replaceAll('%row%', compressed ? 'stored.tableoid' : 'stored.ctid');
}

function forKey({ sql: table, key }: KeyColumns, sql: string): string {
  const names = key.map(quoteIdentifier);
  return forTable(table, sql)
    .replaceAll('%key%', names.join(', '))
    .replaceAll('%stored_key%', names.map((name) => `stored.${name}`).join(', '));
}
