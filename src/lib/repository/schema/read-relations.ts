import type { Queryable } from '../../db/database.js';
import { isOfNoExtension, optionsSql, readRows, relations, type ObjectRow, type Surroundings } from './catalog-sql.js';

const SEQUENCE_OPTIONS = `
  format('%s increment by %s minvalue %s maxvalue %s start with %s cache %s%s', '', seqincrement, seqmin, seqmax, seqstart, seqcache,
    case when seqcycle then ' cycle' end)`;

const sequences = (around: Surroundings): string => `
  select 'sequence' as kind, 'pg_class:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format('create %ssequence %s as %s', case when relpersistence = 'u' then 'unlogged ' end, full_name, format_type(seqtypid, null))
      || ${SEQUENCE_OPTIONS} as statement,
    format('as %s', format_type(seqtypid, null)) || ${SEQUENCE_OPTIONS} as meaning,
    null as drop
  from ${relations(around)} as c join pg_sequence on seqrelid = c.oid
  where not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'i')`;

const sequenceOwners = (around: Surroundings): string => `
  select 'sequence owner' as kind, 'owned:' || c.oid as address, c.full_name as identity, c.nspname as schema, c.relname as name,
    format('alter sequence %s owned by %s.%I', c.full_name, t.full_name, attname) as statement,
    format('%s.%I', t.full_name, attname) as meaning,
    json_build_array('pg_class:' || c.oid, 'pg_class:' || t.oid)::text as needs
  from ${relations(around)} as c
  join pg_depend as d on d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass and d.deptype = 'a'
  join ${relations(around)} as t on t.oid = d.refobjid
  join pg_attribute on attrelid = t.oid and attnum = d.refobjsubid
  where c.relkind = 'S'`;

/** A child that is made with its parents is made of what is its own. */
const INHERITS = `(not c.relispartition and exists (
  select from pg_attribute as own where own.attrelid = c.oid and own.attnum > 0 and not own.attisdropped and not own.attislocal))`;

const GENERATED_ABOVE = `(${INHERITS} and exists (select from pg_inherits join pg_attribute as above on above.attrelid = inhparent
  where inhrelid = c.oid and above.attname = pg_attribute.attname and above.attgenerated <> ''))`;

const GENERATED = `
  case when attgenerated <> '' and not ${GENERATED_ABOVE} then format(' generated always as (%s) %s', pg_get_expr(adbin, adrelid),
    case attgenerated when 's' then 'stored' else 'virtual' end) end`;

const COLUMNS = `(
  select string_agg(format(E'\\n  %I %s%s%s%s', attname, format_type(atttypid, atttypmod),
      (select format(' collate %I.%I', place.nspname, collname) from pg_collation as l join pg_namespace as place on place.oid = collnamespace
        where l.oid = attcollation and l.oid <> typcollation),
      ${GENERATED}, case when attnotnull then ' not null' end), ',' order by attnum)
  from pg_attribute join pg_type on pg_type.oid = atttypid left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where attrelid = c.oid and attnum > 0 and not attisdropped and (attislocal or c.relispartition))`;

const TYPED = `(
  select string_agg(format(E'\\n  %I with options not null', attname), ',' order by attnum) from pg_attribute
  where attrelid = c.oid and attnum > 0 and not attisdropped and attnotnull)`;

const PARENTS = `(
  select string_agg(format('%I.%I', place.nspname, parent.relname), ', ' order by inhseqno) from pg_inherits
  join pg_class as parent on parent.oid = inhparent join pg_namespace as place on place.oid = parent.relnamespace
  where inhrelid = c.oid and ${INHERITS})`;

const OPTIONS = `nullif(concat_ws(', ', ${optionsSql('c.reloptions')}, (
  select ${optionsSql("array(select 'toast.' || item from unnest(reloptions) as item)")} from pg_class where pg_class.oid = c.reltoastrelid)), '')`;

/** Partitions are made as tables of their own, and attached once they have their keys and indexes. */
const tables = (around: Surroundings): string => `
  select 'table' as kind, 'pg_class:' || c.oid as address, full_name as identity, c.nspname as schema, c.relname as name,
    format('create %stable %s%s%s%s%s%s', case when relpersistence = 'u' then 'unlogged ' end, full_name,
      case when reloftype <> 0 then ' of ' || format_type(reloftype, null) || coalesce(' (' || ${TYPED} || E'\\n)', '')
        else ' (' || coalesce(${COLUMNS} || E'\\n', '') || ')' end,
      ' inherits (' || ${PARENTS} || ')', ' partition by ' || pg_get_partkeydef(c.oid),
      (select format(' using %I', amname) from pg_am where pg_am.oid = relam and amname <> 'heap'),
      ' with (' || ${OPTIONS} || ')') as statement
  from ${relations(around)} as c where relkind in ('r', 'p')`;

/** Of a child whose columns are all its own, in whatever order. */
const inheritances = (around: Surroundings): string => `
  select 'inheritance' as kind, format('inheritance:%s:%s', c.oid, p.oid) as address, format('%s from %s', c.full_name, p.full_name) as identity,
    c.nspname as schema, c.relname as name, format('alter table %s inherit %s', c.full_name, p.full_name) as statement,
    json_build_array('pg_class:' || c.oid, 'pg_class:' || p.oid)::text as needs
  from ${relations(around)} as c join pg_inherits on inhrelid = c.oid join ${relations(around)} as p on p.oid = inhparent
  where c.relkind in ('r', 'p') and not c.relispartition and not ${INHERITS} order by c.oid, inhseqno`;

const column = (
  kind: string,
  address: string,
  identity: string,
  statement: string,
  more: string,
  from: string,
): string => `
  select '${kind}' as kind, ${address} as address, format(${identity}) as identity, c.nspname as schema, c.relname as name,
    ${statement} as statement, ${more} as meaning, json_build_array('pg_class:' || c.oid)::text as needs
  ${from}`;

const OF_COLUMNS = (around: Surroundings): string => `
  from ${relations(around)} as c join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped`;

/** Apart from the table: the functions and sequences in them may rest on tables themselves. */
const defaults = (around: Surroundings): string =>
  column(
    'default',
    "'pg_attrdef:' || d.oid",
    "'%I of %s', attname, full_name",
    `format('alter table only %s alter column %I set default %s', full_name, attname, pg_get_expr(adbin, adrelid))`,
    'null',
    `${OF_COLUMNS(around)} join pg_attrdef as d on adrelid = c.oid and adnum = attnum
      where attgenerated = '' and relkind in ('r', 'p', 'v')`,
  ).replaceAll('alter table only', around.timescaleDb === null ? 'alter table only' : 'alter table');

const identities = (around: Surroundings): string =>
  column(
    'identity',
    "'identity:' || q.oid",
    "'%I of %s', attname, c.full_name",
    `format('alter table %s alter column %I add generated %s as identity (sequence name %s%s)', c.full_name, attname,
      case attidentity when 'a' then 'always' else 'by default' end, q.full_name, ${SEQUENCE_OPTIONS})`,
    'null',
    `${OF_COLUMNS(around)}
      join pg_depend on refclassid = 'pg_class'::regclass and refobjid = c.oid and refobjsubid = attnum and classid = 'pg_class'::regclass and deptype = 'i'
      join (select pg_class.oid, format('%I.%I', place.nspname, pg_class.relname) as full_name from pg_class
        join pg_namespace as place on place.oid = relnamespace where relkind = 'S') as q on q.oid = objid
      join pg_sequence on seqrelid = q.oid
      where attidentity <> ''`,
  );

const setting = (name: string, value: string, condition: string, around: Surroundings): string =>
  column(
    'column setting',
    `'${name}:' || c.oid || ':' || attnum`,
    `'${name} of %I of %s', attname, full_name`,
    `format('alter %s %s alter column %I set %s', case relkind when 'm' then 'materialized view' when 'i' then 'index' else 'table' end, full_name, attname, ${value})`,
    value,
    `${OF_COLUMNS(around)} join pg_type as t on t.oid = atttypid where relkind in ('r', 'p', 'm') and ${condition}`,
  );

const settings = (around: Surroundings): string[] => [
  setting(
    'storage',
    `'storage ' || case attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end`,
    'attstorage <> typstorage',
    around,
  ),
  setting(
    'compression',
    `'compression ' || case attcompression when 'p' then 'pglz' else 'lz4' end`,
    `attcompression <> ''`,
    around,
  ),
  setting('statistics', `'statistics ' || attstattarget`, 'attstattarget >= 0', around),
  setting(
    'options',
    `'(' || ${optionsSql('attoptions')} || ')'`,
    "exists (select from unnest(attoptions) as item where item not like 'pg\\_attver=%')",
    around,
  ),
];

const partitions = (around: Surroundings): string => `
  select 'partition' as kind, 'partition:' || c.oid as address, c.full_name as identity, c.nspname as schema, c.relname as name,
    format('alter table only %s attach partition %s %s', p.full_name, c.full_name, pg_get_expr(c.relpartbound, c.oid)) as statement,
    format('of %s %s', p.full_name, pg_get_expr(c.relpartbound, c.oid)) as meaning,
    json_build_object('schema', p.nspname, 'name', p.relname)::text as parent,
    json_build_array('pg_class:' || c.oid, 'pg_class:' || p.oid)::text as needs
  from ${relations(around)} as c join pg_inherits on inhrelid = c.oid join ${relations(around)} as p on p.oid = inhparent
  where c.relispartition and c.relkind in ('r', 'p')`;

const tableSettings = (around: Surroundings): string => `
  select 'table setting' as kind, word || ':' || c.oid as address, format('%s of %s', word, full_name) as identity,
    c.nspname as schema, c.relname as name, format('alter table %s %s', full_name, value) as statement, value as meaning,
    json_build_array('pg_class:' || c.oid, 'pg_class:' || i.indexrelid)::text as needs
  from ${relations(around)} as c
  left join pg_index as i on i.indrelid = c.oid and (i.indisclustered or i.indisreplident)
  left join pg_class as named on named.oid = i.indexrelid
  cross join lateral (values
    ('cluster', case when i.indisclustered then format('cluster on %I', named.relname) end),
    ('replica identity', case c.relreplident when 'f' then 'replica identity full' when 'n' then 'replica identity nothing'
      when 'i' then case when i.indisreplident then format('replica identity using index %I', named.relname) end end)
  ) as item (word, value)
  where c.relkind in ('r', 'p', 'm') and value is not null and ${isOfNoExtension('pg_class', 'c.oid')}`;

/** Sequences, tables, and what their columns are like. */
export async function readRelations(database: Queryable, around: Surroundings): Promise<ObjectRow[]> {
  const all = [
    ...[sequences, sequenceOwners, tables, inheritances, defaults, identities, partitions, tableSettings].map((sql) =>
      sql(around),
    ),
    ...settings(around),
  ];
  return (await Promise.all(all.map((sql) => readRows(database, sql)))).flat();
}
