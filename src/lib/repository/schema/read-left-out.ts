import type { Queryable } from '../../db/database.js';
import { HOMES, isOfNoExtension } from './catalog-sql.js';
import type { LeftOut } from './schema-object.js';

/** Answers rows of `what`, `reason` and the command of another tool. */
const READ_LEFT_OUT = `
  select 'large objects: ' || count(*) as what, 'they are no rows of a table' as reason, 'pg_dump --section=data --large-objects' as command
    from pg_largeobject_metadata having count(*) > 0
  union all select 'foreign table ' || c.oid::regclass, 'its rows are held elsewhere', format('pg_dump --schema-only --table=%L', c.oid::regclass)
    from pg_class as c join ${HOMES} as home on home.oid = relnamespace where relkind = 'f'
  union all select format('foreign server %I', srvname), 'its options may hold passwords', 'pg_dump --schema-only --include-foreign-data=' || quote_literal(srvname)
    from pg_foreign_server as f where ${isOfNoExtension('pg_foreign_server', 'f.oid')}
  union all select format('foreign data wrapper %I', fdwname), 'its options may hold passwords', 'pg_dump --schema-only'
    from pg_foreign_data_wrapper as w where ${isOfNoExtension('pg_foreign_data_wrapper', 'w.oid')}
  union all select format('publication %I', pubname), 'it sends rows to a third database', 'pg_dump --schema-only --section=post-data' from pg_publication
  union all select format('event trigger %I', evtname), 'it would fire for what sensorctl does', 'pg_dump --schema-only --section=post-data'
    from pg_event_trigger as e where ${isOfNoExtension('pg_event_trigger', 'e.oid')}
  union all select format('language %I', lanname), 'its handler is a program of the server', 'pg_dump --schema-only --section=pre-data'
    from pg_language as l where oid >= 16384 and ${isOfNoExtension('pg_language', 'l.oid')}
  union all select format('text search %s %s', kind, name), 'sensorctl does not bring it', 'pg_dump --schema-only --section=pre-data' from (
    select 'parser' as kind, prsname as name, prsnamespace as place, 'pg_ts_parser'::regclass as class, oid from pg_ts_parser
    union all select 'template', tmplname, tmplnamespace, 'pg_ts_template'::regclass, oid from pg_ts_template) as search
    join ${HOMES} as home on home.oid = place
    where not exists (select from pg_depend as owned where owned.classid = class and owned.objid = search.oid and owned.deptype = 'e')
  union all select format('operator family %I.%I', nspname, opfname), 'members were added to it that belong to no operator class', 'pg_dump --schema-only --section=pre-data'
    from pg_opfamily as f join ${HOMES} as home on home.oid = opfnamespace
    where exists (
      select from (select 'pg_amop'::regclass as class, oid, amopfamily as family from pg_amop
        union all select 'pg_amproc'::regclass, oid, amprocfamily from pg_amproc) as member
      where family = f.oid and not exists (select from pg_depend as d where d.classid = class and d.objid = member.oid
        and d.refclassid = 'pg_opclass'::regclass))
  union all select distinct 'rights on ' || attrelid::regclass, 'the table is the server''s own', 'pg_dump --schema-only --section=pre-data'
    from pg_attribute where attacl is not null and attrelid < 16384 and not exists (
      select from pg_init_privs as i where i.classoid = 'pg_class'::regclass and i.objoid = attrelid and i.objsubid = attnum)
  union all select format('conversion %I.%I', nspname, conname), 'sensorctl does not bring it', 'pg_dump --schema-only --section=pre-data'
    from pg_conversion as v join ${HOMES} as home on home.oid = connamespace where ${isOfNoExtension('pg_conversion', 'v.oid')}
  union all select format('transform for %s language %I', format_type(trftype, null), lanname), 'sensorctl does not bring it', 'pg_dump --schema-only --section=pre-data'
    from pg_transform as t join pg_language on pg_language.oid = trflang where ${isOfNoExtension('pg_transform', 't.oid')}
  union all select format('default privileges of %I', pg_get_userbyid(defaclrole)), 'they hold for what is made later', 'pg_dump --schema-only --section=post-data'
    from pg_default_acl
  union all select format('index %s', indexrelid::regclass), 'it is not valid: what made it broke off', null
    from pg_index join pg_class as c on c.oid = indexrelid join ${HOMES} as home on home.oid = relnamespace
    where not indisvalid and relkind = 'i'
  order by 1`;

/** Subscriptions can be seen by a superuser alone. */
const READ_SUBSCRIPTIONS = `
  select format('subscription %I', subname) as what, 'it brings rows from a third database' as reason, 'pg_dump --schema-only --section=post-data' as command
  from pg_subscription where subdbid = (select oid from pg_database where datname = current_database())
    and has_table_privilege('pg_subscription', 'select')`;

/** What is there, and cannot be brought. */
export async function readLeftOut(database: Queryable): Promise<LeftOut[]> {
  const [{ rows }, privileged] = await Promise.all([
    database.query<LeftOut & Record<string, unknown>>(READ_LEFT_OUT),
    database.query<{ readable: boolean }>(
      "select has_column_privilege('pg_subscription', 'subname', 'select') as readable",
    ),
  ]);
  if (privileged.rows[0]?.readable !== true) return rows;
  const subscriptions = await database.query<LeftOut & Record<string, unknown>>(READ_SUBSCRIPTIONS);
  return [...rows, ...subscriptions.rows];
}
