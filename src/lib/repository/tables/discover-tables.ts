import type { Queryable } from '../../db/database.js';
import { queryAll } from '../../db/transaction.js';
import { readTablesSql, tableOf, type TableRow } from './read-tables.js';
import { losesRowsOnConflict, readTimescaleDb } from './server-facts.js';
import type { Table, TableName } from './table.js';

/** Something that holds data and is no table of the migration. */
export interface NotTaken {
  readonly label: string;
  readonly name: TableName;
  readonly reason: string;
  /** Its rows are those of a table that is taken. */
  readonly isPartition: boolean;
}

/** The tables of a database, and whatever else holds data. */
export interface Discovery {
  /** In order of schema and name. */
  readonly tables: readonly Table[];
  readonly notTaken: readonly NotTaken[];
}

/** Neither the server's own schemas, nor sensorctl's, nor TimescaleDB's. */
const IS_OPERATORS = `
  home.nspname !~ '^pg_' and home.nspname not in ('information_schema', 'sensorctl', 'timescaledb_information',
    'timescaledb_experimental') and home.nspname !~ '^_timescaledb_'
  and not exists (
    select from pg_depend as owned
    where owned.classid = 'pg_class'::regclass and owned.objid = relation.oid and owned.deptype = 'e'
  )`;

/** SQL for the oids of the operator's relations of a kind (as pg_class has it). */
export const operatorsSql = (kind: 'S' | 'm'): string => `
  select relation.oid from pg_class as relation join pg_namespace as home on home.oid = relation.relnamespace
  where relation.relkind = '${kind}' and relation.relpersistence <> 't' and ${IS_OPERATORS}`;

/** A partition belongs to its parent, and so does a chunk. An heir without a bound is a table of its own. */
const WANTED = `
  select row_number() over (order by home.nspname, relation.relname) as place, relation.oid,
    case when parent.is_root then 'a part of ' || parent.name
      when relation.relkind = 'f' then 'a foreign table: its rows are on another server'
      when relation.relpersistence = 'u' then 'unlogged: a crash empties it' end as reason
  from pg_class as relation join pg_namespace as home on home.oid = relation.relnamespace
  left join lateral (
    select bool_or(relation.relispartition or hyper.name is not null) as is_root,
      min(format('%s.%s', above_home.nspname, above.relname)) as name
    from pg_inherits join pg_class as above on above.oid = inhparent
    join pg_namespace as above_home on above_home.oid = above.relnamespace
    left join hyper on hyper.schema = above_home.nspname and hyper.name = above.relname
    where inhrelid = relation.oid
  ) as parent on true
  where relation.relkind in ('r', 'p', 'f') and relation.relpersistence <> 't' and ${IS_OPERATORS}`;

const COUNT_OTHERS = `
  select (select count(*) from pg_largeobject_metadata)::int as "largeObjects",
    (select count(*) from pg_class where relpersistence = 't' and relkind in ('r', 'p') and relname !~ '^sensorctl_')::int
      as temporary`;

const A_PART = 'a part of ';

/** The one reader of which tables there are: every one that a migration has to know, and what else holds data, with the reason why not. */
export async function discoverTables(database: Queryable): Promise<Discovery> {
  const { installed } = await readTimescaleDb(database);
  const [found, others] = await queryAll(database, [readTablesSql(WANTED, installed !== null), COUNT_OTHERS]);
  const rows = (found?.rows ?? []) as TableRow[];
  const losesRows = installed !== null && losesRowsOnConflict(installed);
  const notTaken = rows.flatMap(({ label, schema, name, reason }): NotTaken[] =>
    reason === null ? [] : [{ label, name: { schema, name }, reason, isPartition: reason.startsWith(A_PART) }],
  );
  return {
    tables: rows.filter(({ reason }) => reason === null).map((row) => tableOf(row, { losesRows, axis: null })),
    notTaken: [...notTaken, ...otherData(others?.rows[0] as OtherData | undefined)],
  };
}

interface OtherData {
  readonly largeObjects: number;
  readonly temporary: number;
}

function otherData(counts: OtherData | undefined): NotTaken[] {
  const of = (label: string, count: number, reason: string): NotTaken[] =>
    count === 0 ? [] : [{ label, name: { schema: '', name: label }, reason, isPartition: false }];
  return [
    ...of('large objects', counts?.largeObjects ?? 0, `${counts?.largeObjects} of them: pg_dump brings these`),
    ...of('temporary tables', counts?.temporary ?? 0, 'they end with their sessions'),
  ];
}
