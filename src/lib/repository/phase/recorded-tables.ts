import type { Question } from '../../db/ask-together.js';
import type { Queryable } from '../../db/database.js';

const READ = 'select table_name as name from sensorctl.migrated_table order by table_name';
const RECORD = 'select sensorctl.record_tables($1)';

/** The tables of the migration as they were at its last change of phase; none where no phase was recorded. */
export async function readRecordedTables(primary: Queryable): Promise<readonly string[]> {
  const { rows } = await primary.query<{ name: string }>(READ);
  return rows.map(({ name }) => name);
}

/** The same as a question among others. */
export const RECORDED_TABLES: Question<readonly string[]> = {
  text: READ,
  parse: (rows) => rows.map(({ name }) => name as string),
};

/** Takes the place of what was recorded before. */
export async function recordTables(primary: Queryable, names: readonly string[]): Promise<void> {
  await primary.query(RECORD, [names]);
}
