import type { Queryable } from '../../db/database.js';
import { HOMES, isOfNoExtension, readRows, type ObjectRow } from './catalog-sql.js';

const SCHEMAS = `
  select 'schema' as kind, 'pg_namespace:' || oid as address, quote_ident(nspname) as identity, null as schema, null as name,
    format('create schema if not exists %I', nspname) as statement
  from ${HOMES} as home`;

const EXTENSIONS = `
  select 'extension' as kind, 'pg_extension:' || e.oid as address, quote_ident(extname) as identity, null as schema, null as name,
    format('create extension if not exists %I%s', extname,
      case when nspname <> 'pg_catalog' and not exists (
        select from pg_depend as member where member.refclassid = 'pg_extension'::regclass and member.refobjid = e.oid
          and member.classid = 'pg_namespace'::regclass and member.objid = s.oid and member.deptype = 'e'
      ) then format(' schema %I', nspname) end) as statement
  from pg_extension as e join pg_namespace as s on s.oid = extnamespace where extname <> 'plpgsql'`;

const COLLATIONS = `
  select 'collation' as kind, 'pg_collation:' || c.oid as address, format('%I.%I', nspname, collname) as identity,
    nspname as schema, collname as name,
    format('create collation %I.%I (provider = %s%s%s)', nspname, collname,
      case collprovider when 'i' then 'icu' when 'c' then 'libc' else 'builtin' end,
      case when not collisdeterministic then ', deterministic = false' end,
      case when coalesce(item ->> 'colliculocale', item ->> 'colllocale') is not null
        then format(', locale = %L', coalesce(item ->> 'colliculocale', item ->> 'colllocale'))
        when collcollate = collctype then format(', locale = %L', collcollate)
        else format(', lc_collate = %L, lc_ctype = %L', collcollate, collctype) end) as statement
  from pg_collation as c cross join lateral (select to_jsonb(c) as item) as row join ${HOMES} as home on home.oid = collnamespace
  where ${isOfNoExtension('pg_collation', 'c.oid')}`;

const ACCESS_METHODS = `
  select 'access method' as kind, 'pg_am:' || m.oid as address, quote_ident(amname) as identity, null as schema, null as name,
    format('create access method %I type %s handler %s', amname, case amtype when 't' then 'table' else 'index' end, amhandler) as statement
  from pg_am as m where oid >= 16384 and ${isOfNoExtension('pg_am', 'm.oid')}`;

/** Types that are none of a relation, of an array or of a multirange. */
const OWN_TYPES = `
  from pg_type as t join ${HOMES} as home on home.oid = t.typnamespace
  where ${isOfNoExtension('pg_type', 't.oid')}
    and not exists (select from pg_type as element where element.typarray = t.oid)`;

const named = (kind: string): string => `
  select '${kind}' as kind, 'pg_type:' || t.oid as address, format('%I.%I', nspname, typname) as identity,
    nspname as schema, typname as name,`;

const ENUMS = `${named('type')}
    format('create type %I.%I as enum (%s)', nspname, typname,
      (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid)) as statement
  ${OWN_TYPES} and typtype = 'e'`;

const COLLATED = (type: string, collation: string): string => `(
  select format(' collate %I.%I', place.nspname, collname) from pg_collation as l join pg_namespace as place on place.oid = collnamespace
  where l.oid = ${collation} and l.oid <> (select typcollation from pg_type as plain where plain.oid = ${type}))`;

const DOMAINS = `${named('domain')}
    format('create domain %I.%I as %s%s%s%s', nspname, typname, format_type(typbasetype, typtypmod),
      ${COLLATED('t.typbasetype', 't.typcollation')},
      ' default ' || coalesce(pg_get_expr(typdefaultbin, 0), typdefault), case when typnotnull then ' not null' end) as statement
  ${OWN_TYPES} and typtype = 'd'`;

const DOMAIN_CHECKS = `
  select 'check' as kind, 'pg_constraint:' || k.oid as address, format('%I on domain %I.%I', conname, nspname, typname) as identity,
    nspname as schema, typname as name,
    format('alter domain %I.%I add constraint %I %s', nspname, typname, conname, pg_get_constraintdef(k.oid)) as statement
  from pg_constraint as k join pg_type as t on t.oid = contypid join ${HOMES} as home on home.oid = t.typnamespace
  where contype = 'c' and ${isOfNoExtension('pg_type', 't.oid')}`;

const COMPOSITES = `${named('type')}
    format('create type %I.%I as (%s)', nspname, typname,
      (select string_agg(format('%I %s%s', attname, format_type(atttypid, atttypmod), ${COLLATED('atttypid', 'attcollation')}), ', ' order by attnum)
        from pg_attribute where attrelid = t.typrelid and attnum > 0 and not attisdropped)) as statement
  ${OWN_TYPES} and typtype = 'c' and (select relkind from pg_class where pg_class.oid = typrelid) = 'c'`;

const RANGES = `${named('type')}
    format('create type %I.%I as range (subtype = %s%s%s%s%s, multirange_type_name = %s)', nspname, typname,
      format_type(rngsubtype, null),
      (select format(', subtype_opclass = %I.%I', place.nspname, opcname) from pg_opclass join pg_namespace as place on place.oid = opcnamespace
        where pg_opclass.oid = rngsubopc and not opcdefault),
      (select format(', collation = %I.%I', place.nspname, collname) from pg_collation as l join pg_namespace as place on place.oid = collnamespace
        where l.oid = rngcollation and l.oid <> (select typcollation from pg_type as plain where plain.oid = rngsubtype)),
      case when rngcanonical <> 0 then format(', canonical = %s', rngcanonical) end,
      case when rngsubdiff <> 0 then format(', subtype_diff = %s', rngsubdiff) end, format_type(rngmultitypid, null)) as statement
  from (select t.*, r.*, home.nspname from pg_range as r join pg_type as t on t.oid = rngtypid
    join ${HOMES} as home on home.oid = t.typnamespace) as t
  where ${isOfNoExtension('pg_type', 't.oid')}`;

/** Its functions take and return it: they are made between the shell and the type. */
const BASE_TYPES = `
  select kind, case kind when 'type shell' then 'pg_type:' else 'base:' end || t.oid as address, format('%I.%I', nspname, typname) as identity,
    nspname as schema, typname as name, case kind when 'type shell' then format('create type %I.%I', nspname, typname)
    when 'base type' then format('create type %I.%I (input = %s, output = %s%s, internallength = %s%s, alignment = %s, storage = %s%s%s%s%s%s)',
      nspname, typname, typinput, typoutput,
      concat(${['receive', 'send'].map((part) => optional(part, `typ${part}`)).join(', ')},
        ${optional('typmod_in', 'typmodin')}, ${optional('typmod_out', 'typmodout')}, ${optional('analyze', 'typanalyze')}),
      case when typlen < 0 then 'variable' else typlen::text end, case when typbyval then ', passedbyvalue' end,
      case typalign when 'c' then 'char' when 's' then 'int2' when 'i' then 'int4' else 'double' end,
      case typstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end,
      case when typcategory <> 'U' then format(', category = %L', typcategory) end, case when typispreferred then ', preferred = true' end,
      case when typdefault is not null then format(', default = %L', typdefault) end,
      case when typcollation <> 0 then ', collatable = true' end,
      case when typelem <> 0 then format(', element = %s, delimiter = %L', format_type(typelem, null), typdelim) end) end as statement
  from (values ('type shell'), ('base type')) as part (kind) cross join (select t.*, home.nspname ${OWN_TYPES} and typtype in ('b', 'p')) as t
  where kind = 'type shell' or typisdefined`;

function optional(word: string, column: string): string {
  return `case when ${column}::oid <> 0 then format(', ${word} = %s', ${column}) end`;
}

/** Schemas, extensions, collations and types. */
export async function readTypes(database: Queryable): Promise<ObjectRow[]> {
  const all = [
    SCHEMAS,
    EXTENSIONS,
    COLLATIONS,
    ENUMS,
    DOMAINS,
    DOMAIN_CHECKS,
    COMPOSITES,
    RANGES,
    BASE_TYPES,
    ACCESS_METHODS,
  ];
  return (await Promise.all(all.map((sql) => readRows(database, sql)))).flat();
}
