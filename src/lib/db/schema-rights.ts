import type { Queryable } from './database.js';

/** The rights of the connected role in a schema. */
export interface SchemaRights {
  readonly usage: boolean;
  /** Each table and view of the schema: what of select, insert, update, delete is allowed. */
  readonly relations: ReadonlyMap<string, readonly string[]>;
  /** The functions of the schema that the role may call. */
  readonly functions: readonly string[];
}

const READ_USAGE = `select has_schema_privilege(oid, 'usage') as usage from pg_namespace where nspname = $1`;

/** SQL for the rights among select, insert, update and delete that the role has on the relation `c`, as JSON text. */
export const RELATION_RIGHTS = `array_to_json(array(
    select word from unnest(array['select', 'insert', 'update', 'delete']) as word where has_table_privilege(c.oid, word)
  ))::text`;

const READ_RELATIONS = `
  select c.relname as name, ${RELATION_RIGHTS} as rights
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind in ('r', 'v')`;

const READ_FUNCTIONS = `
  select proname as name from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
  where nspname = $1 and has_function_privilege(pg_proc.oid, 'execute')`;

/** Null where there is no such schema. */
export async function readSchemaRights(database: Queryable, schema: string): Promise<SchemaRights | null> {
  const [found, relations, functions] = await Promise.all([
    database.query<{ usage: boolean }>(READ_USAGE, [schema]),
    database.query<{ name: string; rights: string }>(READ_RELATIONS, [schema]),
    database.query<{ name: string }>(READ_FUNCTIONS, [schema]),
  ]);
  const [facts] = found.rows;
  if (facts === undefined) return null;
  return {
    ...facts,
    functions: functions.rows.map(({ name }) => name),
    relations: new Map(relations.rows.map(({ name, rights }) => [name, JSON.parse(rights) as string[]])),
  };
}
