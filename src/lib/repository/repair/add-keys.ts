import { readTables } from '../tables/read-tables.js';
import { hasUniqueKey, tableSql, type Table } from '../tables/table.js';
import { readChunks } from '../timescaledb/chunks.js';
import type { Database } from '../../db/database.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { withTransaction } from '../../db/transaction.js';
import { READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { keepRowsSql } from '../ledger/quarantine.js';
import { READING_KEY } from '../tables/reading-tables.js';
import { PIN_AGAIN, underOwnPath } from '../../db/search-path.js';

/** What `addKey` did to one table. */
export interface KeyAddition {
  readonly table: ReadingTable;
  readonly duplicatesRemoved: number;
  readonly quarantined: number;
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
const RANK_ROWS = `
  create temporary table surplus on commit drop as
  select * from (
    select stored.tableoid as sensorctl_table, stored.ctid as sensorctl_row, %stored_key%,
      to_jsonb(stored.*) as sensorctl_content, row_number() over same_key as sensorctl_place,
      first_value(to_jsonb(stored.*)) over same_key as sensorctl_kept
    from %table% as stored
    join (${SHARED_KEYS}) as shared using (%key%)
    window same_key as (partition by %stored_key% order by stored.tableoid, stored.ctid)
  ) as ranked
  where sensorctl_place > 1`;

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
    from surplus where sensorctl_content is distinct from sensorctl_kept`;
  const reason = 'shares its key with another row, which was kept';
  return {
    rank: forKey(columns, RANK_ROWS),
    keep: keepRowsSql({ rows: differing, table, side: quoteLiteral(side), reason }),
    remove: forKey(columns, DELETE_SURPLUS),
  };
}

/** Takes seconds to hours on a large table: neither the server nor the client gives up. */
const NO_TIMEOUT = 'set local statement_timeout = 0';
const PATIENT = { query_timeout: 2 ** 31 - 1 };

/** The server ends the work, and lets the table go, soon after this process is gone; where the system can tell (Linux). */
const NOTICE_LOSS = `
  select set_config('client_connection_check_interval', '5s', true) where version() like '%linux%'`;

/**
 * Makes the reading tables that lack their unique key ready for dual write, each in one transaction, in which nobody
 * else can write to it: exact duplicates are removed, rows that share a key but differ go to the quarantine.
 */
export async function addKeys(database: Database): Promise<KeyAddition[]> {
  const tables = await readTables(database.pool, READING_TABLES);
  const additions: KeyAddition[] = [];
  for (const name of READING_TABLES) {
    const table = tables.get(name);
    if (table !== undefined && !hasUniqueKey(table, READING_KEY)) additions.push(await addKey(database, name, table));
  }
  return additions;
}

async function addKey(database: Database, name: ReadingTable, table: Table): Promise<KeyAddition> {
  const sql = tableSql(table);
  return await withTransaction(database.pool, async (client) => {
    const run = async (text: string): Promise<number> =>
      (await client.query({ text: forTable(sql, text), ...PATIENT })).rowCount ?? 0;
    await run(NO_TIMEOUT);
    await run(NOTICE_LOSS);
    await run('lock table %table% in share row exclusive mode');
    const chunks = table.hypertable === null ? [] : await readChunks(client, table.name);
    if (chunks.some((chunk) => chunk.compressed)) throw compressed(table, database);
    const { rank, keep, remove } = removeSurplus({ table: name, sql, key: READING_KEY, side: database.side });
    await run(rank);
    const quarantined = await run('select from surplus where sensorctl_content is distinct from sensorctl_kept');
    await run(keep);
    const deleted = await run(underOwnPath(remove));
    await run(PIN_AGAIN);
    await run(
      `create unique index ${quoteIdentifier(`${table.name.name}_key`)} on %table% (${READING_KEY.join(', ')})`,
    );
    return { table: name, duplicatesRemoved: deleted - quarantined, quarantined };
  });
}

function compressed(table: Table, { side }: Database): Error {
  const message = `${table.label} on ${sideTitle(side)} has compressed chunks, in which duplicates cannot be removed`;
  return new UnreachableError(message, {
    code: 'duplicates-compressed',
    facts: { table: table.label },
  });
}

function forTable(table: string, sql: string): string {
  return sql.replaceAll('%table%', table);
}

function forKey({ sql: table, key }: KeyColumns, sql: string): string {
  const names = key.map(quoteIdentifier);
  return forTable(table, sql)
    .replaceAll('%key%', names.join(', '))
    .replaceAll('%stored_key%', names.map((name) => `stored.${name}`).join(', '));
}
