import type { Queryable } from '../../db/database.js';
import { OWN_SCHEMAS } from '../../db/search-path.js';
import { losesRowsOnConflict, readTimescaleDb } from './server-facts.js';
import { axisOf, keyOf, type Column, type Hypertable, type Parent, type Table, type UniqueKey } from './table.js';

const WITH_COLUMNS = "('r', 'p', 'v', 'm', 'f')";

/** SQL for the oid of the relation of this name (an expression) in the first of the role's own schemas that has one. */
export function findByPath(name: string, kinds = WITH_COLUMNS): string {
  return `(
    select relation.oid from unnest(${OWN_SCHEMAS}) with ordinality as own (schema, place)
    join pg_namespace as home on home.nspname = own.schema
    join pg_class as relation on relation.relnamespace = home.oid and relation.relname = ${name}
    where relation.relkind in ${kinds} order by own.place limit 1
  )`;
}

/** By its bare name as the search path finds it, or as `schema.table`. */
const FIND_WANTED = `
  select given.place, null::text as reason, coalesce(
    ${findByPath('given.name')},
    (
      select relation.oid from pg_namespace as home join pg_class as relation
        on relation.relnamespace = home.oid and relation.relname = substr(given.name, length(home.nspname) + 2)
      where starts_with(given.name, home.nspname || '.') and relation.relkind in ('r', 'p', 'v', 'm', 'f') limit 1
    )
  ) as oid
  from unnest($1::text[]) with ordinality as given (name, place)`;

const columnNames = (table: string, numbers: string): string => `
  (select coalesce(json_agg(named.attname order by part.place), '[]')
    from unnest(${numbers}) with ordinality as part (number, place)
    join pg_attribute as named on named.attrelid = ${table} and named.attnum = part.number)`;

/** Partial indexes, indexes on expressions, and invalid or deferrable ones keep no key for ON CONFLICT to rely on. */
const READ_UNIQUE_KEYS = `
  select json_agg(json_build_object(
    'columns', ${columnNames('c.oid', '(i.indkey::int2[])[0:i.indnkeyatts - 1]')}, 'primary', i.indisprimary
  ) order by i.indexrelid)
  from pg_index as i where i.indrelid = c.oid
    and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null`;

const READ_PARENTS = `
  select json_agg(json_build_object(
    'constraint', f.conname, 'columns', ${columnNames('f.conrelid', 'f.conkey')},
    'table', json_build_object('schema', parent_home.nspname, 'name', parent.relname),
    'parentColumns', ${columnNames('f.confrelid', 'f.confkey')}
  ) order by f.conname)
  from pg_constraint as f join pg_class as parent on parent.oid = f.confrelid
  join pg_namespace as parent_home on parent_home.oid = parent.relnamespace
  where f.conrelid = c.oid and f.contype = 'f'`;

/** A default that the parser made a constant is stored as one. */
const FILL = `
  case when a.attidentity <> '' then 'varying' when a.attgenerated <> '' then null else (
    select case when tree like '{CONST %' then 'constant' else 'varying' end
    from (select coalesce(
      (select adbin from pg_attrdef where adrelid = a.attrelid and adnum = a.attnum),
      (select typdefaultbin from pg_type where pg_type.oid = a.atttypid and typtype = 'd')
    )::text as tree) as filling where tree is not null
  ) end`;

const READ_COLUMNS = `
  select json_agg(json_build_object(
    'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'baseType', format_type(base.oid, null),
    'notNull', a.attnotnull, 'generated', case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' end,
    'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by default' end,
    'fill', ${FILL}, 'isDomain', base.oid <> a.atttypid,
    'portable', base.typtype = 'e' or (base.typnamespace = 'pg_catalog'::regnamespace and base.typname !~ '^_?reg'),
    'looseCollation', (
      select format('%I.%I', collation_home.nspname, loose.collname)
      from pg_collation as loose join pg_namespace as collation_home on collation_home.oid = loose.collnamespace
      where loose.oid = a.attcollation and not loose.collisdeterministic
    )
  ) order by a.attnum)
  from pg_attribute as a cross join lateral (
    with recursive domain (oid, below) as (
      select t.oid, t.typbasetype from pg_type as t where t.oid = a.atttypid
      union all select t.oid, t.typbasetype from domain join pg_type as t on t.oid = domain.below
    )
    select pg_type.* from domain join pg_type on pg_type.oid = domain.oid where domain.below = 0
  ) as base
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped`;

/** Before 2.23 the invalidation of a hypertable's aggregates is a trigger, which is silent where others are. */
const HAS_TRIGGERS = `
  exists (
    select from pg_trigger as t join pg_proc as called on called.oid = t.tgfoid
    join pg_namespace as called_home on called_home.oid = called.pronamespace
    where t.tgrelid = any (array(select c.oid union all select relid from pg_partition_tree(c.oid))) and not t.tgisinternal and t.tgenabled = 'O'
      and t.tgtype & 28 <> 0 and called_home.nspname <> 'sensorctl' and called_home.nspname !~ '^_timescaledb_'
      and t.tgname <> 'ts_insert_blocker'
  ) and not exists (select from pg_trigger as t where t.tgrelid = c.oid and t.tgname = 'ts_cagg_invalidation_trigger')`;

const HYPERTABLES = `
  select h.hypertable_schema as schema, h.hypertable_name as name,
    json_build_object('column', d.column_name, 'compressed', h.compression_enabled) as facts
  from timescaledb_information.hypertables as h
  join timescaledb_information.dimensions as d using (hypertable_schema, hypertable_name)
  where d.dimension_number = 1`;
const NO_HYPERTABLES = 'select null::name as schema, null::name as name, null::json as facts where false';

/** SQL for the name of a relation without schema where the role's search path finds it, else with it. */
export function labelSql(relation: string, home: string, kinds = WITH_COLUMNS): string {
  return `case when ${findByPath(`${relation}.relname`, kinds)} = ${relation}.oid then ${relation}.relname::text
    else ${home}.nspname || '.' || ${relation}.relname end`;
}

/** `wanted`, a query, answers oid and place of what is read, and null or the reason why nothing more is read of it. */
export const readTablesSql = (wanted: string, timescaleDb: boolean): string => `
  with hyper as materialized (${timescaleDb ? HYPERTABLES : NO_HYPERTABLES})
  select wanted.place::int - 1 as place, wanted.reason, c.oid::int8 as oid, s.nspname as schema, c.relname as name,
    ${labelSql('c', 's')} as label, coalesce(${findByPath('c.relname')} = c.oid, false) as "isOnPath",
    case c.relkind when 'r' then 'plain' when 'p' then 'partitioned' when 'v' then 'view'
      when 'm' then 'materialized view' else 'foreign table' end as kind,
    case when reason is null then (${READ_COLUMNS})::text end as columns,
    case when reason is null then (${READ_UNIQUE_KEYS})::text end as "uniqueKeys",
    case when reason is null then (${READ_PARENTS})::text end as parents,
    hyper.facts::text as hypertable, c.relkind = 'r' and c.relhassubclass and hyper.name is null as "hasHeirs",
    ${HAS_TRIGGERS} as "hasTriggers", c.relrowsecurity and row_security_active(c.oid) as "hidesRows"
  from (${wanted}) as wanted
  join pg_class as c on c.oid = wanted.oid join pg_namespace as s on s.oid = c.relnamespace
  left join hyper on hyper.schema = s.nspname and hyper.name = c.relname
  order by wanted.place`;

export interface TableRow extends Record<string, unknown> {
  readonly place: number;
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly label: string;
  readonly isOnPath: boolean;
  readonly reason: string | null;
  readonly hasHeirs: boolean;
  readonly hasTriggers: boolean;
  readonly hidesRows: boolean;
  readonly kind: Exclude<Table['kind'], 'hypertable'>;
  readonly columns: string | null;
  readonly uniqueKeys: string | null;
  readonly parents: string | null;
  readonly hypertable: string | null;
}

/**
 * The one reader of tables: what the catalogs say of those of these names, bare as the role's search path finds them or
 * with their schema. Answers them by the names that were asked for; those that do not exist are absent. `axes` names the
 * column along which a table is cut where the catalogs do not say.
 */
export async function readTables(
  database: Queryable,
  names: readonly string[],
  axes: ReadonlyMap<string, string> = new Map(),
): Promise<ReadonlyMap<string, Table>> {
  const { installed } = await readTimescaleDb(database);
  const { rows } = await database.query<TableRow>(readTablesSql(FIND_WANTED, installed !== null), [names]);
  const losesRows = installed !== null && losesRowsOnConflict(installed);
  return new Map(
    rows.map((row) => {
      const asked = names[row.place] ?? row.label;
      return [asked, tableOf(row, { losesRows, axis: axes.get(asked) ?? null })];
    }),
  );
}

/** The names of those of these tables whose rows TimescaleDB can lose: compression may be switched on at any time. */
export async function findLosingTables(database: Queryable, names: readonly string[]): Promise<string[]> {
  const { installed } = await readTimescaleDb(database);
  if (installed === null || !losesRowsOnConflict(installed)) return [];
  const tables = await readTables(database, names);
  return [...tables].filter(([, { hypertable }]) => hypertable?.losesRows === true).map(([name]) => name);
}

/** One of them; undefined where it does not exist. */
export async function readTable(database: Queryable, name: string): Promise<Table | undefined> {
  return (await readTables(database, [name])).get(name);
}

export function tableOf(row: TableRow, { losesRows, axis }: { losesRows: boolean; axis: string | null }): Table {
  const { oid, schema, name, label, isOnPath, hasHeirs, hasTriggers, hidesRows } = row;
  const columns = parseList<Column>(row.columns);
  const uniqueKeys = parseList<UniqueKey>(row.uniqueKeys);
  const found = row.hypertable === null ? null : (JSON.parse(row.hypertable) as Omit<Hypertable, 'losesRows'>);
  const hypertable = found === null ? null : { ...found, losesRows: losesRows && found.compressed };
  const key = keyOf({ columns, uniqueKeys });
  return {
    ...{ name: { schema, name }, label, isOnPath, oid, hasHeirs, hasTriggers, hidesRows },
    kind: hypertable === null ? row.kind : 'hypertable',
    columns,
    uniqueKeys,
    key,
    axis: axisOf({ columns, key, hypertable }, axis),
    parents: parseList<Parent>(row.parents),
    hypertable,
  };
}

function parseList<Item>(json: string | null): Item[] {
  return json === null ? [] : (JSON.parse(json) as Item[]);
}
