import type { Queryable } from '../../db/database.js';
import { labelSql } from '../tables/read-tables.js';
import type { Table } from '../tables/table.js';

const FIND_REFERRING = `
  with recursive family (oid) as (
    select $1::oid union select conrelid from pg_constraint join family on confrelid = family.oid where contype = 'f'
  )
  select ${labelSql('c', 's')} as label
  from family join pg_class as c using (oid) join pg_namespace as s on s.oid = c.relnamespace`;

/** The tables whose rows a delete may take along or change by foreign keys, as the ledger names them; the table itself too. */
export async function findReferring(target: Queryable, { oid }: Pick<Table, 'oid'>): Promise<string[]> {
  const { rows } = await target.query<{ label: string }>(FIND_REFERRING, [oid]);
  return rows.map(({ label }) => label);
}
