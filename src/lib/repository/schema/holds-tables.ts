import type { Database } from '../../db/database.js';
import { HOMES, isOfNoExtension } from './catalog-sql.js';

/** Tables of the operator's, of whatever kind; not foreign ones, which hold no rows here. */
const READ_ANY = `
  select exists (
    select from pg_class as c join ${HOMES} as home on home.oid = relnamespace
    where relkind in ('r', 'p') and relpersistence <> 't' and ${isOfNoExtension('pg_class', 'c.oid')}
  ) as held`;

/** Whether a side holds any table besides sensorctl's own. */
export async function holdsTables({ pool }: Pick<Database, 'pool'>): Promise<boolean> {
  return (await pool.query<{ held: boolean }>(READ_ANY)).rows[0]?.held === true;
}
