import type { Queryable } from '../../db/database.js';

/** What the rule by which rows are kept newest remembers of them. */
export interface NewestPart {
  /** A JSON list of texts. */
  readonly key: string;
  /** The columns of the part, as PostgreSQL's array text; so are their values. */
  readonly part: string;
  readonly newest: string;
  readonly content: string;
}

/** Parameters: the table's name, and keys as JSON lists of texts. */
export const READ_NEWEST_PARTS = `
  select array_to_json(key)::text as key, part::text, newest, content::text from sensorctl.newest_part
  where table_name = $1
    and key = any (select array(select json_array_elements_text(given::json)) from unnest($2::text[]) as given)`;

/**
 * What is there stays, unless $6 says that it is set to what is given: then nobody may be writing these rows.
 * Parameters: the table's name, and an array a field.
 */
const BRING_NEWEST_PARTS = `
  insert into sensorctl.newest_part as known (table_name, key, part, newest, content)
  select $1, array(select json_array_elements_text(key::json)), part::text[], newest, content::text[]
  from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as given (key, part, newest, content)
  order by 2
  on conflict (table_name, key, part) do update set newest = excluded.newest, content = excluded.content
  where $6 and (known.newest, known.content) is distinct from (excluded.newest, excluded.content)`;

/**
 * Brings what a side remembers of rows, by keys as JSON lists of texts, to the other; `overwrite` where nobody else writes
 * these rows.
 */
export async function bringNewestParts(
  source: Queryable,
  target: Queryable,
  { table, keys, overwrite }: { readonly table: string; readonly keys: readonly string[]; readonly overwrite: boolean },
): Promise<void> {
  const { rows } = await source.query<NewestPart & Record<string, unknown>>(READ_NEWEST_PARTS, [table, keys]);
  if (rows.length === 0) return;
  const column = (name: keyof NewestPart): string[] => rows.map((row) => row[name]);
  const columns = [column('key'), column('part'), column('newest'), column('content')];
  await target.query(BRING_NEWEST_PARTS, [table, ...columns, overwrite]);
}
