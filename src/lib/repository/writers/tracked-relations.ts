import type { Queryable } from '../../db/database.js';
import type { Table, TableName } from '../tables/table.js';

/** A relation that is to have triggers: a table itself, or a partition of it. */
export interface TrackedRelation {
  /** The oid of its table, which it may be itself. */
  readonly table: number;
  readonly oid: number;
  readonly name: TableName;
  /** By the names of its columns. */
  readonly numbers: ReadonlyMap<string, number>;
  readonly droppedColumns: boolean;
  /** It has children or parents of plain inheritance. */
  readonly inherits: boolean;
}

/** Partitions on another server have no triggers of ours. */
const READ_RELATIONS = `
  select wanted.oid::int8 as "table", c.oid::int8 as oid, s.nspname as schema, c.relname as name,
    (select json_agg(json_build_array(attname, attnum)) from pg_attribute
      where attrelid = c.oid and attnum > 0 and not attisdropped)::text as numbers,
    exists (select from pg_attribute where attrelid = c.oid and attisdropped) as "droppedColumns",
    c.relkind = 'r' and not c.relispartition
      and exists (select from pg_inherits where inhrelid = c.oid or inhparent = c.oid) as inherits
  from unnest($1::oid[]) as wanted (oid)
  cross join lateral (select wanted.oid union select relid from pg_partition_tree(wanted.oid)) as part (oid)
  join pg_class as c on c.oid = part.oid join pg_namespace as s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p') order by wanted.oid, c.oid`;

interface RelationRow extends Record<string, unknown>, Omit<TrackedRelation, 'name' | 'numbers'> {
  readonly schema: string;
  readonly name: string;
  readonly numbers: string;
}

/** The relations of these tables. */
export async function readTrackedRelations(database: Queryable, tables: readonly Table[]): Promise<TrackedRelation[]> {
  const { rows } = await database.query<RelationRow>(READ_RELATIONS, [tables.map(({ oid }) => oid)]);
  return rows.map(({ schema, name, numbers, ...facts }) => ({
    ...facts,
    name: { schema, name },
    numbers: new Map(JSON.parse(numbers) as [string, number][]),
  }));
}
