-- The tables of the migration, by the names that output gives them, as they were at the last change between phases. A later
-- one is new: nobody has said yet that it belongs to the migration.
create table sensorctl.migrated_table (
  table_name text primary key,
  recorded_at timestamptz not null default clock_timestamp()
);

create function sensorctl.record_tables(names text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $tables$
    delete from sensorctl.migrated_table where table_name <> all (names);
    insert into sensorctl.migrated_table (table_name) select distinct name from unnest(names) as name on conflict do nothing;
  $tables$;

-- Who may record a phase records them.
do $rights$
declare
  held record;
begin
  revoke all on function sensorctl.record_tables from public;
  for held in
    select distinct quote_ident(pg_get_userbyid(a.grantee)) as role
    from pg_proc as p cross join lateral aclexplode(p.proacl) as a
    where p.oid = 'sensorctl.record_first_phase'::regproc and a.grantee not in (0, p.proowner)
  loop
    execute format('grant execute on function sensorctl.record_tables to %s', held.role);
    execute format('grant select on sensorctl.migrated_table to %s', held.role);
  end loop;
  -- Monitors say which tables are new, and report how old the proof of each is.
  for held in
    select distinct quote_ident(pg_get_userbyid(a.grantee)) as role
    from pg_class as c cross join lateral aclexplode(c.relacl) as a
    where c.oid = 'sensorctl.sample'::regclass and a.privilege_type = 'SELECT' and a.grantee not in (0, c.relowner)
  loop
    execute format('grant select on sensorctl.migrated_table, sensorctl.migration to %s', held.role);
  end loop;
end $rights$;

-- A unit is a range of times, or another part of a table: a range of another axis, what is off it, rows by the class of
-- their keys, pages of the source's files.
alter table sensorctl.backfill_unit alter column from_time drop not null, alter column to_time drop not null,
  add column part jsonb constraint times_or_part check ((part is null) = (from_time is not null and to_time is not null)),
  -- Units of a lower level go first: those of tables that others refer to.
  add column level integer not null default 0,
  -- Rows that only the target has are deleted.
  add column prune boolean not null default false;

drop index sensorctl.open_backfill_unit;
create index open_backfill_unit on sensorctl.backfill_unit (backfill_id, level, to_time desc nulls last) where done_at is null;
