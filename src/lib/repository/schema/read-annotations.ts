import type { ObjectRow } from './catalog-sql.js';

/** What the objects are that may have owners, rights and comments, by their addresses. */
const KNOWN = `
  select substring(item from '^(.*):')::regclass as class, substring(item from ':(.*)$')::oid as oid, item as address
  from json_array_elements_text($1::json) as item
  union all select 'pg_class'::regclass, conindid, 'pg_constraint:' || k.oid
  from json_array_elements_text($1::json) as item join pg_constraint as k on 'pg_constraint:' || k.oid = item where contype in ('p', 'u', 'x')`;

/** As comment on, alter and grant name it. */
const CALLED = `case called.type when 'statistics object' then 'statistics' when 'table constraint' then 'constraint' when 'domain constraint' then 'constraint'
  when 'table column' then 'column' when 'view column' then 'column' when 'materialized view column' then 'column' when 'composite type column' then 'column' when 'aggregate' then 'routine'
  else called.type end`;
const IDENTITY = `case called.type when 'domain constraint' then regexp_replace(called.identity, ' on ', ' on domain ') else called.identity end`;

const COMMENTS = `
  with known as (${KNOWN})
  select 'comment' as kind, 'comment:' || address || ':' || objsubid as address, ${CALLED} || ' ' || ${IDENTITY} as identity,
    null as schema, null as name, format('comment on %s %s is %L', ${CALLED}, ${IDENTITY}, description) as statement,
    description as meaning, json_build_array(address)::text as needs
  from known join pg_description as d on d.classoid = known.class and d.objoid = known.oid
  cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as called`;

/** Each catalog whose objects have owners. */
const OWNED = `
  select 'pg_class'::regclass as class, oid, relowner as owner, relacl as acl,
    case relkind when 'S' then 's' else 'r' end::"char" as sort from pg_class where relkind in ('r', 'p', 'v', 'm', 'S')
  union all select 'pg_proc'::regclass, oid, proowner, proacl, 'f' from pg_proc
  union all select 'pg_type'::regclass, oid, typowner, typacl, 'T' from pg_type where typrelid = 0 or typtype = 'c'
  union all select 'pg_namespace'::regclass, oid, nspowner, nspacl, 'n' from pg_namespace
  union all select 'pg_collation'::regclass, oid, collowner, null, null from pg_collation
  union all select 'pg_operator'::regclass, oid, oprowner, null, null from pg_operator
  union all select 'pg_opclass'::regclass, oid, opcowner, null, null from pg_opclass
  union all select 'pg_ts_dict'::regclass, oid, dictowner, null, null from pg_ts_dict
  union all select 'pg_ts_config'::regclass, oid, cfgowner, null, null from pg_ts_config
  union all select 'pg_opfamily'::regclass, oid, opfowner, null, null from pg_opfamily
  union all select 'pg_statistic_ext'::regclass, oid, stxowner, null, null from pg_statistic_ext`;

const OWNERS = `
  with known as (${KNOWN}), owned as (${OWNED})
  select 'owner' as kind, 'owner:' || address as address, ${CALLED} || ' ' || called.identity as identity, null as schema, null as name,
    format('alter %s %s owner to %I', ${CALLED}, called.identity, pg_get_userbyid(owner)) as statement, pg_get_userbyid(owner)::text as meaning,
    json_build_array(address)::text as needs, json_build_array(pg_get_userbyid(owner))::text as roles
  from known join owned using (class, oid) cross join lateral pg_identify_object(class, oid, 0) as called
  where address not like 'pg_namespace:%' or called.identity <> 'public'`;

/** A view and a materialized view are tables to grant; a procedure is a routine. */
const GRANTED = `case when called.type in ('view', 'materialized view') then 'table' when called.type in ('aggregate', 'procedure') then 'routine' else called.type end`;

/** Rights that are not the owner's own, and what the owner and everybody have until it is revoked. */
const RIGHTS = `
  with known as (${KNOWN}), owned as (${OWNED}), held as (
    select address, class, oid, owner, 0 as number, null::name as column, sort, acl from known join owned using (class, oid)
    where acl is not null and sort is not null
    union all select address, class, known.oid, relowner, attnum, attname, 'c', attacl
    from known join pg_class on class = 'pg_class'::regclass and pg_class.oid = known.oid
    join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped and attacl is not null
  ), granted as (
    select held.*, item.* from held cross join lateral aclexplode(acl) with ordinality as item (grantor, grantee, privilege_type, is_grantable, place) where item.grantee <> owner
  ), taken as (
    select held.*, item.*, 0 as place from held cross join lateral aclexplode(acldefault(sort, owner)) as item
    where sort <> 'c' and item.grantee in (0, owner) and not exists (
      select from aclexplode(acl) as kept where kept.grantee = item.grantee and kept.privilege_type = item.privilege_type)
  ), words as (
    select address, class, oid, "column", number, grantee, is_grantable, 'grant' as word, string_agg(privilege_type, ',' order by privilege_type) as list, min(place) as place
    from granted where not (grantee = 0 and exists (select from aclexplode(acldefault(sort, owner)) as usual
      where sort <> 'c' and usual.grantee = 0 and usual.privilege_type = granted.privilege_type))
    group by 1, 2, 3, 4, 5, 6, 7
    union all select address, class, oid, "column", number, grantee, false, 'revoke', string_agg(privilege_type, ',' order by privilege_type), 0
    from taken group by 1, 2, 3, 4, 5, 6
  )
  select 'rights' as kind, concat_ws(':', 'rights', address, number, word, grantee, is_grantable) as address,
    concat_ws(' ', case word when 'revoke' then 'none' end, case when is_grantable then 'to pass on' end, 'of ' || role, 'on', quote_ident("column") || ' of', ${GRANTED}, called.identity) as identity,
    null as schema, null as name,
    format('%s %s on %s %s %s %s%s', word, privileges, ${GRANTED}, called.identity, case word when 'grant' then 'to' else 'from' end, role,
      case when is_grantable then ' with grant option' end) as statement,
    list as meaning, json_build_array(address)::text as needs,
    case when grantee = 0 then '[]' else json_build_array(pg_get_userbyid(grantee))::text end as roles
  from words cross join lateral pg_identify_object(class, oid, 0) as called
  cross join lateral (select case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as role,
    (select string_agg(part || coalesce(' (' || quote_ident("column") || ')', ''), ', ') from unnest(string_to_array(list, ',')) as part) as privileges) as made
  order by address, number, place`;

/** Comments, owners and rights of these objects, by their addresses. */
export async function readAnnotations(
  read: (sql: string, values: readonly unknown[]) => Promise<ObjectRow[]>,
  addresses: readonly string[],
): Promise<ObjectRow[]> {
  const known = JSON.stringify(addresses.filter((address) => /^pg_(?!extension:)/.test(address)));
  return (await Promise.all([COMMENTS, OWNERS, RIGHTS].map((sql) => read(sql, [known])))).flat();
}
