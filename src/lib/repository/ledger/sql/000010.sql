-- What an entry names beside ranges of its table's axis: rows by their keys, or the whole table. A key is a list of texts,
-- in the order in which the primary's table has its key columns. A stored entry never changes.
alter table sensorctl.ledger alter column batch_id drop not null, alter column consumer_id drop not null,
  -- Rows that were written.
  add column keys jsonb constraint keys_are_listed check (jsonb_typeof(keys) = 'array'),
  -- Rows that are no longer there.
  add column gone jsonb constraint gone_are_listed check (jsonb_typeof(gone) = 'array'),
  -- Any row of the table may have changed.
  add column whole_table boolean not null default false;

create or replace view sensorctl.ledger_state as
select entry_id, batch_id, consumer_id, table_name, times, readings, reason, sensor_id, committed_at,
  case when state = 'pending' and not exists (
    select from sensorctl.consumer
    where consumer.consumer_id = ledger.consumer_id and ended_at is null and lease_until > clock_timestamp()
  ) then 'missed' else state end as state,
  keys, gone, whole_table
from sensorctl.ledger;

alter table sensorctl.unproven
  add column keys jsonb constraint keys_are_listed check (jsonb_typeof(keys) = 'array'),
  add column whole_table boolean not null default false;
