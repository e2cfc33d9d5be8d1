import type { Queryable } from '../../db/database.js';
import { RELATION_RIGHTS } from '../../db/schema-rights.js';
import { labelSql, readTables } from './read-tables.js';
import type { Table } from './table.js';

/** A column, in its place in the table. */
export interface ColumnFacts {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly default: string | null;
  /** The expression of a generated column. */
  readonly generated: string | null;
  /** A generated column that is computed when read, which cannot be turned into a plain one. */
  readonly virtual: boolean;
  readonly identity: 'always' | 'by default' | null;
  /** Named where it is not the type's own. */
  readonly collation: string | null;
  /** False where the collation counts different texts as equal. */
  readonly deterministic: boolean;
}

export interface IndexFacts {
  readonly name: string;
  /** From ` USING ` on: the same for an index of another name or table. */
  readonly definition: string;
  readonly unique: boolean;
  /** The constraint that the index belongs to. */
  readonly constraint: string | null;
  readonly primary: boolean;
  /** Its key columns in order; null where it is partial or on an expression. */
  readonly columns: readonly string[] | null;
}

export interface ConstraintFacts {
  readonly name: string;
  readonly kind: 'check' | 'foreign key' | 'exclusion';
  readonly definition: string;
  readonly columns: readonly string[];
  /** The table and the columns that a foreign key refers to. */
  readonly parent: string | null;
  readonly parentColumns: readonly string[];
}

export interface TriggerFacts {
  readonly name: string;
  readonly definition: string;
  /** Changes when the text of the trigger's function does. */
  readonly source: string;
  /** Fires for a row before it is stored, and so can change it or leave it out. */
  readonly beforeRow: boolean;
  /** Made by TimescaleDB for a hypertable. */
  readonly ofTimescaleDb: boolean;
}

/** A table that inherits from another one, or is a partition of it. */
export interface ChildFacts {
  readonly name: string;
  /** Such as `FOR VALUES FROM … TO …`; null where it only inherits. */
  readonly bound: string | null;
}

/** Everything of one table that can make the two sides store different rows. */
export interface TableCatalog {
  readonly name: string;
  readonly table: Table;
  readonly kind: string;
  readonly unlogged: boolean;
  readonly owner: string;
  readonly rowSecurity: boolean;
  /** Row security holds for the role that is connected. */
  readonly rowSecurityActive: boolean;
  /** The rights of the connected role, of select, insert, update and delete. */
  readonly rights: readonly string[];
  /** Sequences that its defaults ask and that role may not, as a statement names them. */
  readonly closedSequences: readonly string[];
  readonly columns: readonly ColumnFacts[];
  readonly indexes: readonly IndexFacts[];
  readonly constraints: readonly ConstraintFacts[];
  /** The triggers; TimescaleDB's own are left out. */
  readonly triggers: readonly TriggerFacts[];
  /** The partitions; a hypertable has none here, since its chunks are TimescaleDB's business. */
  readonly children: readonly ChildFacts[];
  /** Rules on insert and update, by name. */
  readonly rules: readonly string[];
  /** Views that hold on to the type of a column. */
  readonly views: readonly { readonly column: string; readonly view: string }[];
}

const WANTED = `
  from unnest($1::oid[]) as wanted (oid) join pg_class c on c.oid = wanted.oid`;

const READ_TABLES = `
  select c.oid::int8 as "table",
    case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
      when 'm' then 'materialized view' when 'f' then 'foreign table' else c.relkind::text end as kind,
    c.relpersistence = 'u' as unlogged, pg_get_userbyid(c.relowner) as owner, c.relrowsecurity as "rowSecurity",
    row_security_active(c.oid) as "rowSecurityActive",
    ${RELATION_RIGHTS} as rights,
    array_to_json(array(
      select format('%I.%I', home.nspname, asked.relname) from pg_attrdef as d
      join pg_depend on classid = 'pg_attrdef'::regclass and objid = d.oid and refclassid = 'pg_class'::regclass
      join pg_class as asked on asked.oid = refobjid join pg_namespace as home on home.oid = asked.relnamespace
      where d.adrelid = c.oid 
        and case when asked.relkind = 'S' then not has_sequence_privilege(asked.oid, 'usage, update') else false end order by 1
    ))::text as "closedSequences"
  ${WANTED} order by c.relname`;

const READ_COLUMNS = `
  select c.oid::int8 as "table", a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "notNull",
    case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
    case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated, a.attgenerated = 'v' as virtual,
    case a.attidentity when 'a' then 'always' when 'd' then 'by default' end as identity,
    case when a.attcollation <> t.typcollation then l.collname end as collation,
    coalesce(l.collisdeterministic, true) as deterministic
  ${WANTED}
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  left join pg_collation l on l.oid = a.attcollation
  order by c.relname, a.attnum`;

const READ_INDEXES = `
  select c.oid::int8 as "table", n.relname as name, substring(pg_get_indexdef(i.indexrelid) from ' USING .*') as definition,
    i.indisunique as "unique", i.indisprimary as primary,
    (select conname from pg_constraint where conindid = i.indexrelid and contype in ('p', 'u')) as constraint,
    case when i.indpred is null and i.indexprs is null then array_to_json(array(
      select a.attname from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality as key (number, place)
      join pg_attribute a on a.attrelid = c.oid and a.attnum = key.number order by place
    ))::text end as columns
  ${WANTED} join pg_index i on i.indrelid = c.oid join pg_class n on n.oid = i.indexrelid
  where not i.indisexclusion order by c.relname, n.relname`;

const READ_CONSTRAINTS = `
  select c.oid::int8 as "table", k.conname as name, pg_get_constraintdef(k.oid) as definition,
    case when p.oid is not null then ${labelSql('p', 'home')} end as parent,
    case k.contype when 'c' then 'check' when 'f' then 'foreign key' else 'exclusion' end as kind,
    array_to_json(array(
      select a.attname from unnest(k.conkey) with ordinality as key (number, place)
      join pg_attribute a on a.attrelid = k.conrelid and a.attnum = key.number order by place
    ))::text as columns,
    array_to_json(array(
      select a.attname from unnest(k.confkey) with ordinality as key (number, place)
      join pg_attribute a on a.attrelid = k.confrelid and a.attnum = key.number order by place
    ))::text as "parentColumns"
  ${WANTED} join pg_constraint k on k.conrelid = c.oid and k.contype in ('c', 'f', 'x')
  left join pg_class p on p.oid = k.confrelid left join pg_namespace home on home.oid = p.relnamespace
  order by c.relname, k.conname`;

/** TimescaleDB's own are `ts_insert_blocker` and the invalidation of aggregates, gone from 2.23 on. */
const READ_TRIGGERS = `
  select c.oid::int8 as "table", t.tgname as name, pg_get_triggerdef(t.oid) as definition, md5(f.prosrc) as source,
    t.tgtype & 3 = 3 as "beforeRow",
    t.tgname = 'ts_insert_blocker' or s.nspname like '\\_timescaledb%' as "ofTimescaleDb"
  ${WANTED} join pg_trigger t on t.tgrelid = c.oid
  join pg_proc f on f.oid = t.tgfoid join pg_namespace s on s.oid = f.pronamespace
  where not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 20 <> 0 and s.nspname <> 'sensorctl'
  order by c.relname, t.tgname`;

const READ_CHILDREN = `
  select c.oid::int8 as "table", child.relname as name,
    case when child.relispartition then pg_get_expr(child.relpartbound, child.oid) end as bound
  ${WANTED} join pg_inherits on inhparent = c.oid join pg_class as child on child.oid = inhrelid
  order by c.relname, child.relname`;

const READ_RULES = `
  select c.oid::int8 as "table", r.rulename as name ${WANTED}
  join pg_rewrite r on r.ev_class = c.oid and r.rulename <> '_RETURN' and r.ev_type in ('2', '3') and r.ev_enabled <> 'D'
  order by c.relname, r.rulename`;

const READ_VIEWS = `
  select distinct c.oid::int8 as "table", a.attname as column, v.relname as view ${WANTED}
  join pg_depend d on d.refobjid = c.oid and d.refclassid = 'pg_class'::regclass and d.classid = 'pg_rewrite'::regclass
  join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class and v.oid <> c.oid
  join pg_namespace s on s.oid = v.relnamespace and s.nspname not like '\\_timescaledb%'
  join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
  order by 1, 2, 3`;

type Row<Facts> = Facts & { readonly table: number };
type Lists = 'rights' | 'closedSequences' | 'columns' | 'parentColumns';
/** Lists come as JSON text. */
type Encoded<Facts> = {
  readonly [Name in keyof Facts]: Name extends Lists ? string | Extract<Facts[Name], null> : Facts[Name];
};
type TableRow = Pick<
  TableCatalog,
  'kind' | 'unlogged' | 'owner' | 'rowSecurity' | 'rowSecurityActive' | 'rights' | 'closedSequences'
>;

/** Reads the tables of these names, as `readTables` finds them; those that do not exist are absent from the answer. */
export async function readTableCatalogs(
  database: Queryable,
  names: readonly string[],
): Promise<ReadonlyMap<string, TableCatalog>> {
  const found = await readTables(database, names);
  const oids = [...found.values()].map(({ oid }) => oid);
  const withoutChunks = [...found.values()].filter(({ hypertable }) => hypertable === null).map(({ oid }) => oid);
  const read = async <Facts>(sql: string, wanted: readonly number[] = oids): Promise<Row<Facts>[]> =>
    (await database.query<Row<Facts> & Record<string, unknown>>(sql, [wanted])).rows;
  const [tables, columns, indexes, constraints, triggers, rules, views, children] = await Promise.all([
    read<Encoded<TableRow>>(READ_TABLES),
    read<ColumnFacts>(READ_COLUMNS),
    read<Encoded<IndexFacts>>(READ_INDEXES),
    read<Encoded<ConstraintFacts>>(READ_CONSTRAINTS),
    read<TriggerFacts>(READ_TRIGGERS),
    read<{ name: string }>(READ_RULES),
    read<{ column: string; view: string }>(READ_VIEWS),
    read<ChildFacts>(READ_CHILDREN, withoutChunks),
  ]);
  const catalogOf = (table: Table): TableCatalog[] =>
    of(table, tables).map(({ rights, closedSequences, ...facts }) => ({
      ...facts,
      name: table.label,
      table,
      rights: parseList(rights),
      closedSequences: parseList(closedSequences),
      columns: of(table, columns),
      indexes: of(table, indexes).map((index) => ({ ...index, columns: parseOptionalList(index.columns) })),
      constraints: of(table, constraints).map((constraint) => ({
        ...constraint,
        columns: parseList(constraint.columns),
        parentColumns: parseList(constraint.parentColumns),
      })),
      triggers: of(table, triggers).filter(({ ofTimescaleDb }) => table.hypertable === null || !ofTimescaleDb),
      children: of(table, children),
      rules: of(table, rules).map(({ name }) => name),
      views: of(table, views),
    }));
  return new Map([...found].flatMap(([name, table]) => catalogOf(table).map((catalog) => [name, catalog] as const)));
}

function of<Facts>({ oid }: Table, rows: readonly Row<Facts>[]): Row<Facts>[] {
  return rows.filter((row) => row.table === oid);
}

function parseList(text: string): string[] {
  return JSON.parse(text) as string[];
}

function parseOptionalList(text: string | null): string[] | null {
  return text === null ? null : parseList(text);
}
