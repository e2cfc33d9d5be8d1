-- Which tables are tracked decides how they are repaired: every role that may look into this schema may know.
grant select on sensorctl.tracked_table to public;

-- For a transaction that changes who is the primary: other writers wait at their first write, and it waits for those that
-- have begun.
create function sensorctl.close_gate() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $gate$
  begin
    lock table sensorctl.gate in exclusive mode;
  end $gate$;

-- Where a sequence stands; nulls where whoever asks may not know. A sequence of which nothing was asked yet gives `last_value`
-- first, which pg_sequences leaves out.
create function sensorctl.sequence_position(sequence oid, out last_value bigint, out is_called boolean) language plpgsql
set search_path = pg_catalog, pg_temp as $position$
  begin
    if not has_sequence_privilege(sequence, 'select')
      or not has_schema_privilege((select relnamespace from pg_class where oid = sequence), 'usage') then
      return;
    end if;
    execute format('select last_value, is_called from %s', sequence::regclass) into last_value, is_called;
  end $position$;

do $rights$
declare
  operator text;
begin
  execute 'revoke all on function sensorctl.close_gate, sensorctl.sequence_position from public';
  for operator in
    select distinct a.grantee::regrole::text from pg_proc as p cross join lateral aclexplode(p.proacl) as a
    where p.oid = 'sensorctl.close_fence'::regproc and a.grantee not in (p.proowner, 0)
  loop
    execute format('grant execute on function sensorctl.close_gate, sensorctl.sequence_position to %s', operator);
  end loop;
end $rights$;
