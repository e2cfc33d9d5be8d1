-- A message stands in the quarantine once: its body, and its faults as a list. The columns that named one fault name
-- the first of the list.
alter table sensorctl.quarantine add column faults jsonb, add column further_faults integer not null default 0;

update sensorctl.quarantine set faults = jsonb_build_array(jsonb_build_object('reason', reason, 'sqlstate', sqlstate,
  'table', table_name, 'sensorId', sensor_id, 'time', reading_time))
where message_id is null;

update sensorctl.quarantine as kept
set digest = merged.digest, faults = merged.faults,
  resolution = case when is_open then null else resolution end,
  resolved_at = case when is_open then null else resolved_at end
from (
  select min(quarantine_id) as quarantine_id, bool_or(resolution is null) as is_open,
    sha256(convert_to('message ' || body, 'UTF8')) as digest,
    jsonb_agg(jsonb_build_object('reason', reason, 'sqlstate', sqlstate, 'table', table_name, 'sensorId', sensor_id,
      'time', reading_time) order by quarantine_id) as faults
  from sensorctl.quarantine where message_id is not null group by body
) as merged
where merged.quarantine_id = kept.quarantine_id;

delete from sensorctl.quarantine where faults is null;

alter table sensorctl.quarantine alter column faults set not null,
  drop column reason, drop column sqlstate, drop column table_name, drop column sensor_id, drop column reading_time;

alter table sensorctl.quarantine
  add column reason text generated always as ((faults -> 0) ->> 'reason') stored,
  add column sqlstate text generated always as ((faults -> 0) ->> 'sqlstate') stored,
  add column table_name text generated always as ((faults -> 0) ->> 'table') stored,
  add column sensor_id text generated always as ((faults -> 0) ->> 'sensorId') stored,
  add column reading_time text generated always as ((faults -> 0) ->> 'time') stored;

-- Consumers add to what is known of a message.
do $rights$
declare
  consumer text;
begin
  for consumer in
    select distinct a.grantee::regrole::text from pg_class as c cross join lateral aclexplode(c.relacl) as a
    where c.oid = 'sensorctl.migration'::regclass and a.privilege_type = 'INSERT' and a.grantee not in (c.relowner, 0)
  loop
    execute format('grant update on sensorctl.quarantine to %s', consumer);
  end loop;
end $rights$;
