import type { Queryable } from '../../db/database.js';
import { HOMES, isOfNoExtension, readRows, type ObjectRow } from './catalog-sql.js';

/** Without the constructors that a range brings with it. */
const FUNCTIONS = `
  select 'function' as kind, 'pg_proc:' || p.oid as address, p.oid::regprocedure::text as identity, nspname as schema, proname as name,
    pg_get_functiondef(p.oid) as statement, format('drop routine %s', p.oid::regprocedure) as drop
  from pg_proc as p join ${HOMES} as home on home.oid = pronamespace
  where prokind <> 'a' and ${isOfNoExtension('pg_proc', 'p.oid')}
    and not exists (select from pg_depend as made where made.classid = 'pg_proc'::regclass and made.objid = p.oid and made.deptype = 'i')`;

const call = (word: string, column: string): string =>
  `case when ${column}::oid <> 0 then format(', ${word} = %s', ${column}) end`;
const modify = (word: string, column: string, usual: string): string =>
  `case when ${column} <> ${usual} then ', ${word} = ' || case ${column} when 'r' then 'read_only' when 's' then 'shareable' else 'read_write' end end`;

/** No function of the server prints one. */
const AGGREGATES = `
  select 'aggregate function' as kind, 'pg_proc:' || p.oid as address, p.oid::regprocedure::text as identity, nspname as schema, proname as name,
    format('create aggregate %I.%I(%s) (sfunc = %s, stype = %s%s)', nspname, proname,
      coalesce(nullif(pg_get_function_arguments(p.oid), ''), '*'), aggtransfn, format_type(aggtranstype, null), concat(
        case when aggtransspace <> 0 then format(', sspace = %s', aggtransspace) end,
        ${call('finalfunc', 'aggfinalfn')}, case when aggfinalextra then ', finalfunc_extra' end,
        ${modify('finalfunc_modify', 'aggfinalmodify', "case aggkind when 'n' then 'r' else 'w' end")},
        ${call('combinefunc', 'aggcombinefn')}, ${call('serialfunc', 'aggserialfn')}, ${call('deserialfunc', 'aggdeserialfn')},
        case when agginitval is not null then format(', initcond = %L', agginitval) end,
        ${call('msfunc', 'aggmtransfn')}, ${call('minvfunc', 'aggminvtransfn')},
        case when aggmtranstype <> 0 then format(', mstype = %s', format_type(aggmtranstype, null)) end,
        case when aggmtransspace <> 0 then format(', msspace = %s', aggmtransspace) end,
        ${call('mfinalfunc', 'aggmfinalfn')}, case when aggmfinalextra then ', mfinalfunc_extra' end,
        ${modify('mfinalfunc_modify', 'aggmfinalmodify', "case aggkind when 'n' then 'r' else 'w' end")},
        case when aggminitval is not null then format(', minitcond = %L', aggminitval) end,
        (select format(', sortop = operator(%I.%s)', place.nspname, oprname) from pg_operator
          join pg_namespace as place on place.oid = oprnamespace where pg_operator.oid = aggsortop),
        case when proparallel <> 'u' then ', parallel = ' || case proparallel when 's' then 'safe' else 'restricted' end end,
        case when aggkind = 'h' then ', hypothetical' end)) as statement,
    format('drop routine %s', p.oid::regprocedure) as drop
  from pg_proc as p join pg_aggregate on aggfnoid = p.oid join ${HOMES} as home on home.oid = pronamespace
  where ${isOfNoExtension('pg_proc', 'p.oid')}`;

const other = (word: string, column: string): string => `(
  select format(', ${word} = operator(%I.%s)', place.nspname, other.oprname) from pg_operator as other
  join pg_namespace as place on place.oid = other.oprnamespace where other.oid = o.${column})`;

const OPERATORS = `
  select 'operator' as kind, 'pg_operator:' || o.oid as address, o.oid::regoperator::text as identity, nspname as schema, oprname as name,
    format('create operator %I.%s (function = %s%s)', nspname, oprname, oprcode, concat(
      case when oprleft <> 0 then format(', leftarg = %s', format_type(oprleft, null)) end,
      case when oprright <> 0 then format(', rightarg = %s', format_type(oprright, null)) end,
      ${other('commutator', 'oprcom')}, ${other('negator', 'oprnegate')}, ${call('restrict', 'oprrest')}, ${call('join', 'oprjoin')},
      case when oprcanhash then ', hashes' end, case when oprcanmerge then ', merges' end)) as statement
  from pg_operator as o join ${HOMES} as home on home.oid = oprnamespace
  where oprcode::oid <> 0 and ${isOfNoExtension('pg_operator', 'o.oid')}`;

const CASTS = `
  select 'cast' as kind, 'pg_cast:' || c.oid as address, format('(%s as %s)', format_type(castsource, null), format_type(casttarget, null)) as identity,
    null as schema, null as name,
    format('create cast (%s as %s) %s%s', format_type(castsource, null), format_type(casttarget, null),
      case castmethod when 'f' then format('with function %s', castfunc::regprocedure) when 'i' then 'with inout' else 'without function' end,
      case castcontext when 'a' then ' as assignment' when 'i' then ' as implicit' end) as statement
  from pg_cast as c where oid >= 16384 and ${isOfNoExtension('pg_cast', 'c.oid')}`;

const FAMILIES = `
  select 'operator family' as kind, 'pg_opfamily:' || f.oid as address, format('%I.%I using %I', nspname, opfname, amname) as identity,
    nspname as schema, opfname as name, format('create operator family %I.%I using %I', nspname, opfname, amname) as statement
  from pg_opfamily as f join pg_am as m on m.oid = opfmethod join ${HOMES} as home on home.oid = opfnamespace
  where ${isOfNoExtension('pg_opfamily', 'f.oid')}`;

/** Members that belong to the class itself; those that were added to the family later are not its own. */
const CLASSES = `
  select 'operator class' as kind, 'pg_opclass:' || c.oid as address, format('%I.%I using %I', home.nspname, opcname, amname) as identity,
    home.nspname as schema, opcname as name,
    format('create operator class %I.%I%s for type %s using %I family %I.%I as %s', home.nspname, opcname,
      case when opcdefault then ' default' end, format_type(opcintype, null), amname, place.nspname, opfname, concat_ws(', ',
        (select string_agg(format('operator %s %s%s', amopstrategy, amopopr::regoperator, (
            select format(' for order by %I.%I', sorted.nspname, sort.opfname) from pg_opfamily as sort
            join pg_namespace as sorted on sorted.oid = sort.opfnamespace where sort.oid = amopsortfamily)), ', ' order by amopstrategy)
          from pg_amop as o join pg_depend as d on d.classid = 'pg_amop'::regclass and d.objid = o.oid
          where d.refclassid = 'pg_opclass'::regclass and d.refobjid = c.oid),
        (select string_agg(format('function %s (%s, %s) %s', amprocnum, format_type(amproclefttype, null), format_type(amprocrighttype, null), amproc::oid::regprocedure), ', ' order by amprocnum)
          from pg_amproc as p join pg_depend as d on d.classid = 'pg_amproc'::regclass and d.objid = p.oid
          where d.refclassid = 'pg_opclass'::regclass and d.refobjid = c.oid),
        case when opckeytype <> 0 then format('storage %s', format_type(opckeytype, null))
          when not exists (select from pg_depend as d where d.classid in ('pg_amop'::regclass, 'pg_amproc'::regclass)
            and d.refclassid = 'pg_opclass'::regclass and d.refobjid = c.oid) then format('storage %s', format_type(opcintype, null)) end)) as statement
  from pg_opclass as c join pg_am as m on m.oid = opcmethod join ${HOMES} as home on home.oid = opcnamespace
  join pg_opfamily as f on f.oid = opcfamily join pg_namespace as place on place.oid = opfnamespace
  where ${isOfNoExtension('pg_opclass', 'c.oid')}`;

const DICTIONARIES = `
  select 'text search dictionary' as kind, 'pg_ts_dict:' || d.oid as address, format('%I.%I', home.nspname, dictname) as identity,
    home.nspname as schema, dictname as name,
    format('create text search dictionary %I.%I (template = %I.%I%s)', home.nspname, dictname, place.nspname, tmplname, ', ' || dictinitoption) as statement
  from pg_ts_dict as d join pg_ts_template as t on t.oid = dicttemplate join pg_namespace as place on place.oid = tmplnamespace
  join ${HOMES} as home on home.oid = dictnamespace where ${isOfNoExtension('pg_ts_dict', 'd.oid')}`;

/** Each mapping names the dictionaries of one kind of token. */
const CONFIGURATIONS = `
  select 'text search configuration' as kind, 'pg_ts_config:' || c.oid as address, format('%I.%I', home.nspname, cfgname) as identity,
    home.nspname as schema, cfgname as name,
    format('create text search configuration %I.%I (parser = %I.%I)', home.nspname, cfgname, place.nspname, prsname) || coalesce((
      select string_agg(format(E';\\nalter text search configuration %I.%I add mapping for %I with %s', home.nspname, cfgname, alias, list), '' order by maptokentype)
      from (select maptokentype, string_agg(mapdict::regdictionary::text, ', ' order by mapseqno) as list from pg_ts_config_map
        where mapcfg = c.oid group by maptokentype) as mapped
      join ts_token_type(c.cfgparser) as token on tokid = maptokentype
    ), '') as statement
  from pg_ts_config as c join pg_ts_parser as p on p.oid = cfgparser join pg_namespace as place on place.oid = prsnamespace
  join ${HOMES} as home on home.oid = cfgnamespace where ${isOfNoExtension('pg_ts_config', 'c.oid')}`;

/** Functions, procedures, aggregates, operators, casts, text search, and what indexes sort by. */
export async function readFunctions(database: Queryable): Promise<ObjectRow[]> {
  const all = [FUNCTIONS, AGGREGATES, OPERATORS, CASTS, FAMILIES, CLASSES, DICTIONARIES, CONFIGURATIONS];
  return (await Promise.all(all.map((sql) => readRows(database, sql)))).flat();
}
