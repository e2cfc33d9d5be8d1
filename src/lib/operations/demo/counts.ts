import type { Database } from '../../db/database.js';
import { READING_TABLES } from '../../domain/reading.js';
import { summarizeLedger } from '../../repository/ledger/ledger.js';
import { readTables } from '../../repository/tables/read-tables.js';
import { tableSql } from '../../repository/tables/table.js';

export interface TableCounts {
  readonly table: string;
  readonly rows: number;
  /** UTC text of the newest reading; null in an empty table. */
  readonly newest: string | null;
}

/** What one side of the sandbox holds. */
export interface SideCounts {
  readonly tables: readonly TableCounts[];
  /** Readings in all tables. */
  readonly rows: number;
  /** Readings of the ledger by state. */
  readonly ledger: { readonly pending: number; readonly missed: number; readonly refused: number };
  readonly quarantine: number;
}

const COUNT_QUARANTINE = 'select count(*) as rows from sensorctl.quarantine';

/** Counts whole tables: for the sandbox, whose tables are small. */
export async function readSideCounts({ pool }: Database): Promise<SideCounts> {
  const found = await readTables(pool, READING_TABLES);
  const tables = await Promise.all(
    [...found].map(async ([name, table]) => {
      const sql = `select count(*) as rows, max(time)::text as newest from ${tableSql(table)}`;
      const { rows } = await pool.query<{ rows: number; newest: string | null }>(sql);
      return { table: name, rows: rows[0]?.rows ?? 0, newest: rows[0]?.newest ?? null };
    }),
  );
  const ledger = { pending: 0, missed: 0, refused: 0 };
  for (const { state, readings } of await summarizeLedger(pool)) ledger[state] += readings;
  const quarantined = await pool.query<{ rows: number }>(COUNT_QUARANTINE);
  const rows = tables.reduce((sum, each) => sum + each.rows, 0);
  return { tables, rows, ledger, quarantine: quarantined.rows[0]?.rows ?? 0 };
}
