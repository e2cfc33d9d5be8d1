import type { Queryable } from '../../db/database.js';
import { readRows, relations, type ObjectRow, type Surroundings } from './catalog-sql.js';

/** A plain unique index serves like the constraint, and the other way round. */
const KEY_COLUMNS = `(
  select string_agg(format('%I', attname), ', ' order by place) from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality as part (number, place)
  join pg_attribute on attrelid = i.indrelid and attnum = part.number)`;
const ALIKE_KEY = `case when i.indisunique and i.indimmediate and i.indpred is null and i.indexprs is null and i.indisvalid
  then format('unique %s (%s)', full_name, ${KEY_COLUMNS}) end`;

/** Those of children first: one that is not valid yet would stand in the way of theirs. */
const constraints = (around: Surroundings): string => `
  select case contype when 'c' then 'check' when 'f' then 'foreign key' else 'key' end as kind,
    'pg_constraint:' || k.oid as address, format('%I on %s', conname, full_name) as identity, c.nspname as schema, c.relname as name,
    format('alter table %s%s add constraint %I %s', case when relkind = 'p' and contype in ('p', 'u') then 'only ' end,
      full_name, conname, pg_get_constraintdef(k.oid)) as statement,
    case when contype in ('p', 'u') then coalesce(${ALIKE_KEY}, format('%s %s', full_name, pg_get_constraintdef(k.oid)))
      else format('%s %s', full_name, replace(pg_get_constraintdef(k.oid), ' NOT VALID', '')) end as alike,
    json_build_array('pg_class:' || c.oid)::text as needs
  from pg_constraint as k join ${relations(around)} as c on c.oid = conrelid
  left join pg_index as i on i.indexrelid = conindid and contype in ('p', 'u', 'x')
  where contype in ('c', 'p', 'u', 'x', 'f') and (contype <> 'c' or conislocal or relispartition) and (contype <> 'f' or conparentid = 0)
    and relkind in ('r', 'p') order by coninhcount desc, k.oid`;

const indexes = (around: Surroundings): string => `
  select 'index' as kind, 'pg_class:' || i.indexrelid as address, format('%I.%I', c.nspname, n.relname) as identity,
    c.nspname as schema, c.relname as name, regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX ', 'create \\1index if not exists ') as statement,
    coalesce(${ALIKE_KEY}, format('%s %s%s', full_name, case when i.indisunique then 'unique ' end,
      substring(pg_get_indexdef(i.indexrelid) from ' USING .*'))) as alike,
    json_build_array('pg_class:' || c.oid)::text as needs
  from ${relations(around)} as c join pg_index as i on i.indrelid = c.oid join pg_class as n on n.oid = i.indexrelid
  where (i.indisvalid or n.relkind = 'I') and c.relkind in ('r', 'p', 'm')
    and not exists (select from pg_constraint where conindid = i.indexrelid and contype in ('p', 'u', 'x'))`;

/** Settings of an index that its constraint does not print. */
const indexSettings = (around: Surroundings): string => `
  select 'table setting' as kind, 'index option:' || n.oid as address, format('options of %I.%I', c.nspname, n.relname) as identity,
    c.nspname as schema, c.relname as name,
    format('alter index %I.%I set (%s)', c.nspname, n.relname, array_to_string(n.reloptions, ', ')) as statement,
    array_to_string(n.reloptions, ', ') as meaning, json_build_array('pg_constraint:' || k.oid)::text as needs
  from ${relations(around)} as c join pg_constraint as k on conrelid = c.oid and contype in ('p', 'u', 'x') join pg_class as n on n.oid = conindid
  where n.reloptions is not null
  union all
  select 'column setting', 'index statistics:' || n.oid || ':' || attnum, format('statistics of %s of %I.%I', attnum, c.nspname, n.relname),
    c.nspname, c.relname, format('alter index %I.%I alter column %s set statistics %s', c.nspname, n.relname, attnum, attstattarget),
    attstattarget::text, json_build_array('pg_class:' || n.oid)::text
  from ${relations(around)} as c join pg_index as i on i.indrelid = c.oid join pg_class as n on n.oid = i.indexrelid
  join pg_attribute on attrelid = n.oid where attstattarget >= 0`;

const indexPartitions = (around: Surroundings): string => `
  select 'index partition' as kind, 'index partition:' || n.oid as address, format('%I.%I', c.nspname, n.relname) as identity,
    c.nspname as schema, c.relname as name,
    format('alter index %I.%I attach partition %I.%I', place.nspname, p.relname, c.nspname, n.relname) as statement,
    json_build_array('pg_class:' || n.oid, 'pg_class:' || p.oid, 'partition:' || c.oid)::text as needs
  from ${relations(around)} as c join pg_index as i on i.indrelid = c.oid join pg_class as n on n.oid = i.indexrelid
  join pg_inherits on inhrelid = n.oid join pg_class as p on p.oid = inhparent join pg_namespace as place on place.oid = p.relnamespace`;

/** How a trigger or rule fires, where that is not as usual. */
const enabling = (kind: string, name: string): string => `
  case enabled when 'D' then format(E';\\nalter table %s disable ${kind} %I', full_name, ${name})
    when 'A' then format(E';\\nalter table %s enable always ${kind} %I', full_name, ${name})
    when 'R' then format(E';\\nalter table %s enable replica ${kind} %I', full_name, ${name}) end`;

/** Without those of foreign keys, TimescaleDB's, sensorctl's own, and what a partition has from its parent. */
const triggers = (around: Surroundings): string => `
  select 'trigger' as kind, 'pg_trigger:' || t.oid as address, format('%I on %s', tgname, full_name) as identity, c.nspname as schema, c.relname as name,
    pg_get_triggerdef(t.oid) || coalesce(${enabling('trigger', 'tgname')}, '') as statement,
    pg_get_triggerdef(t.oid) || coalesce(${enabling('trigger', 'tgname')}, '') as meaning,
    format('drop trigger %I on %s', tgname, full_name) as drop, json_build_array('pg_class:' || c.oid)::text as needs
  from (select *, tgenabled as enabled from pg_trigger) as t join ${relations(around)} as c on c.oid = tgrelid
  join pg_proc as f on f.oid = tgfoid join pg_namespace as home on home.oid = f.pronamespace
  where not tgisinternal and tgparentid = 0 and tgname <> 'ts_insert_blocker'
    and home.nspname <> 'sensorctl' and home.nspname not like '\\_timescaledb%'`;

/** Of a trigger that a partition has from its parent, and that does not fire as that does. */
const triggerSettings = (around: Surroundings): string => `
  select 'trigger setting' as kind, 'trigger setting:' || t.oid as address, format('%I on %s', tgname, full_name) as identity,
    c.nspname as schema, c.relname as name,
    format('alter table %s %s trigger %I', full_name, case tgenabled when 'D' then 'disable' when 'A' then 'enable always'
      when 'R' then 'enable replica' else 'enable' end, tgname) as statement, tgenabled::text as meaning,
    json_build_array('pg_trigger:' || tgparentid, 'pg_class:' || c.oid)::text as needs
  from pg_trigger as t join ${relations(around)} as c on c.oid = tgrelid
  where not tgisinternal and tgparentid <> 0 and tgenabled <> (select tgenabled from pg_trigger as parent where parent.oid = t.tgparentid)`;

const rules = (around: Surroundings): string => `
  select 'rule' as kind, 'pg_rewrite:' || r.oid as address, format('%I on %s', rulename, full_name) as identity, c.nspname as schema, c.relname as name,
    rtrim(pg_get_ruledef(r.oid), ';') || coalesce(${enabling('rule', 'rulename')}, '') as statement,
    rtrim(pg_get_ruledef(r.oid), ';') || coalesce(${enabling('rule', 'rulename')}, '') as meaning,
    format('drop rule %I on %s', rulename, full_name) as drop, json_build_array('pg_class:' || c.oid)::text as needs
  from (select *, ev_enabled as enabled from pg_rewrite) as r join ${relations(around)} as c on c.oid = ev_class
  where rulename <> '_RETURN'`;

const rowSecurity = (around: Surroundings): string => `
  select 'row security' as kind, word || ':' || c.oid as address, format('%s of %s', word, full_name) as identity,
    c.nspname as schema, c.relname as name, format('alter table %s %s row level security', full_name, word) as statement,
    json_build_array('pg_class:' || c.oid)::text as needs
  from ${relations(around)} as c cross join lateral (values ('enable', relrowsecurity), ('force', relforcerowsecurity)) as item (word, holds)
  where holds`;

/** No function of the server prints one. */
const policies = (around: Surroundings): string => `
  select 'policy' as kind, 'pg_policy:' || p.oid as address, format('%I on %s', polname, full_name) as identity, c.nspname as schema, c.relname as name,
    definition as statement, definition as meaning, format('drop policy %I on %s', polname, full_name) as drop,
    json_build_array('pg_class:' || c.oid)::text as needs, roles
  from pg_policy as p join ${relations(around)} as c on c.oid = polrelid
  cross join lateral (
    select string_agg(case member when 0 then 'public' else quote_ident(pg_get_userbyid(member)) end, ', ' order by member) as members,
      coalesce(json_agg(pg_get_userbyid(member)) filter (where member <> 0), '[]')::text as roles from unnest(polroles) as member
  ) as given
  cross join lateral (select format('create policy %I on %s%s for %s to %s%s%s', polname, full_name,
    case when not polpermissive then ' as restrictive' end,
    case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end, members,
    ' using (' || pg_get_expr(polqual, polrelid) || ')', ' with check (' || pg_get_expr(polwithcheck, polrelid) || ')') as definition) as made`;

const statistics = (around: Surroundings): string => `
  select 'statistics' as kind, 'pg_statistic_ext:' || x.oid as address, format('%I.%I', home.nspname, stxname) as identity,
    c.nspname as schema, c.relname as name, pg_get_statisticsobjdef(x.oid) || case when coalesce(stxstattarget, -1) >= 0
      then format(E';\\nalter statistics %I.%I set statistics %s', home.nspname, stxname, stxstattarget) else '' end as statement,
    json_build_array('pg_class:' || c.oid)::text as needs
  from pg_statistic_ext as x join ${relations(around)} as c on c.oid = stxrelid join pg_namespace as home on home.oid = stxnamespace`;

/** What hangs on tables and views. */
export async function readParts(database: Queryable, around: Surroundings): Promise<ObjectRow[]> {
  const all = [
    constraints,
    indexes,
    indexSettings,
    indexPartitions,
    triggers,
    triggerSettings,
    rules,
    rowSecurity,
    policies,
    statistics,
  ];
  return (await Promise.all(all.map((sql) => readRows(database, sql(around))))).flat();
}
