-- What an entry names beside ranges of its table's axis: rows by their keys, or the whole table. A key is a list of texts,
-- in the order in which the primary's table has its key columns. A stored entry never changes.
alter table sensorctl.ledger alter column batch_id drop not null, alter column consumer_id drop not null,
  -- Rows that were written.
  add column keys jsonb constraint keys_are_listed check (jsonb_typeof(keys) = 'array'),
  -- Rows that are no longer there.
  add column gone jsonb constraint gone_are_listed check (jsonb_typeof(gone) = 'array'),
  -- Any row of the table may have changed.
  add column whole_table boolean not null default false,
  -- The transaction that entered it: whether somebody could see it at a time. Numbers of entries are none of that, since a
  -- long transaction commits old ones.
  add column entered_by xid8 not null default pg_current_xact_id();

-- Who repairs what others enter, turn by turn: consumers, and `backfill --follow`. What other programs enter is pending
-- while such a one lives that has not passed it over: from a turn that could see it on it is healed before the next begins.
create table sensorctl.healer (
  healer_id uuid primary key,
  lease_until timestamptz not null,
  -- What could be seen when its turn began, and when the one before did.
  seen pg_snapshot not null,
  seen_before pg_snapshot
);

-- Begins a turn where the ledger holds anything, or goes on with one (`begins` is false); without a lease it ends. Returns the
-- newest entry.
create function sensorctl.take_turn(id uuid, lease interval, begins boolean) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $turn$
  declare
    newest bigint := (select max(entry_id) from sensorctl.ledger);
  begin
    if lease <= interval '0' then
      delete from sensorctl.healer where healer_id = id;
    elsif begins and newest is not null then
      insert into sensorctl.healer (healer_id, lease_until, seen) values (id, clock_timestamp() + lease, pg_current_snapshot())
      on conflict (healer_id) do update
      set lease_until = excluded.lease_until, seen_before = healer.seen, seen = excluded.seen;
    else
      insert into sensorctl.healer (healer_id, lease_until, seen) values (id, clock_timestamp() + lease, pg_current_snapshot())
      on conflict (healer_id) do update set lease_until = excluded.lease_until
      where healer.lease_until < clock_timestamp() + lease * 0.8;
    end if;
    delete from sensorctl.healer where lease_until < clock_timestamp() - interval '1 hour';
    return newest;
  end $turn$;

create or replace view sensorctl.ledger_state as
select entry_id, batch_id, consumer_id, table_name, times, readings, reason, sensor_id, committed_at,
  case when state = 'pending' and not exists (
    select from sensorctl.consumer
    where consumer.consumer_id = ledger.consumer_id and ended_at is null and lease_until > clock_timestamp()
  ) then 'missed' when batch_id is null and state = 'missed'
    -- Asked once for all entries; most of a long ledger are older.
    and entered_by >= (select min(coalesce(pg_snapshot_xmin(seen_before), '0'::xid8)) from sensorctl.healer
      where lease_until > clock_timestamp())
    and entered_by < pg_snapshot_xmax(pg_current_snapshot())
    and exists (
      select from sensorctl.healer where lease_until > clock_timestamp()
        and coalesce(not pg_visible_in_snapshot(entered_by, seen_before), true)
    ) then 'pending' else state end as state,
  keys, gone, whole_table,
  -- A number of another server, as after a restored dump, says nothing.
  case when entered_by < pg_snapshot_xmax(pg_current_snapshot()) then entered_by else '0'::xid8 end as entered_by
from sensorctl.ledger;

-- What names keys or the whole table is proven with the whole table.
alter table sensorctl.unproven add column whole_table boolean not null default false;

-- As before, for whole tables too: they stay one row an hour and table.
create or replace function sensorctl.compact_unproven() returns void
language sql security definer set search_path = pg_catalog, pg_temp as $unproven$
    with old as (
      delete from sensorctl.unproven where unproven_id in (
        select unnest(ids) from (
          select array_agg(unproven_id) as ids from sensorctl.unproven
          where settled_at < clock_timestamp() - interval '1 minute'
          group by table_name, date_trunc('hour', settled_at) having count(*) > 1
        ) as crowded
      ) returning *
    )
    insert into sensorctl.unproven (table_name, times, settled_at, whole_table)
    select table_name, coalesce(range_agg(tstzrange(date_trunc('minute', lower(range)),
        date_trunc('minute', upper(range) - interval '1 microsecond') + interval '1 minute')) filter (where range is not null), '{}'),
      max(settled_at), bool_or(whole_table)
    from old left join lateral unnest(times) as range on true
    group by table_name, date_trunc('hour', settled_at)
  $unproven$;

-- Keys that consumers enter again and again while the secondary is away: an entry whose keys all stand in older ones goes.
-- Who holds an entry has read the rows that it names, so neither side of a pair is one that somebody holds.
create function sensorctl.compact_keys() returns void
language sql security definer set search_path = pg_catalog, pg_temp as $keys$
    with free as materialized (
      select entry_id, table_name, keys from sensorctl.ledger
      where state = 'missed' and keys is not null and gone is null and not whole_table for update skip locked
    ), oldest as (
      select min(entry_id) as entry_id from free cross join jsonb_array_elements(keys) as key group by table_name, key
    )
    delete from sensorctl.ledger
    where entry_id in (select entry_id from free except select entry_id from oldest)
  $keys$;

-- As before; a range without bounds proves the whole table.
create or replace function sensorctl.finish_comparison(id bigint, given_verdict text, given_report jsonb, ranges jsonb)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $comparison$
  declare
    began timestamptz;
  begin
    if given_verdict = 'identical' and exists (
      select from jsonb_array_elements(given_report -> 'tables') as entry
      where (entry ->> 'missingOnEc2')::bigint + (entry ->> 'missingOnLocal')::bigint + (entry ->> 'different')::bigint
        - (entry ->> 'pending')::bigint > 0
    ) then
      raise exception 'a comparison that found differences is not identical'
        using errcode = 'check_violation', constraint = 'verdict_of_the_report';
    end if;
    update sensorctl.comparison set finished_at = clock_timestamp(), verdict = given_verdict, report = given_report, progress = '{}'
    where comparison_id = id and finished_at is null and recorded_by = session_user returning started_at into began;
    if not found then
      raise exception 'comparison % is finished, or not that of %', id, session_user using errcode = 'insufficient_privilege';
    end if;
    if given_verdict = 'different' then return; end if;
    delete from sensorctl.unproven where settled_at <= began and whole_table and table_name in (
      select range ->> 'table' from jsonb_array_elements(finish_comparison.ranges) as range
      where range ->> 'from' is null and range ->> 'to' is null
        and range ->> 'table' in (select entry ->> 'table' from jsonb_array_elements(given_report -> 'tables') as entry)
    );
    update sensorctl.unproven as open set times = times - proven.ranges
    from (
      select range ->> 'table' as name, range_agg(tstzrange((range ->> 'from')::timestamptz, (range ->> 'to')::timestamptz)) as ranges
      from jsonb_array_elements(finish_comparison.ranges) as range
      where range ->> 'table' in (select entry ->> 'table' from jsonb_array_elements(given_report -> 'tables') as entry)
      group by 1
    ) as proven
    where open.table_name = proven.name and open.times && proven.ranges and open.settled_at <= began;
    delete from sensorctl.unproven where isempty(times) and not whole_table;
  end $comparison$;

do $rights$
declare
  consumer text;
begin
  execute 'revoke all on function sensorctl.compact_keys, sensorctl.take_turn from public';
  for consumer in
    select distinct a.grantee::regrole::text from pg_proc as p cross join lateral aclexplode(p.proacl) as a
    where p.oid = 'sensorctl.compact_unproven'::regproc and a.grantee not in (p.proowner, 0)
  loop
    execute format('grant execute on function sensorctl.compact_keys, sensorctl.take_turn to %s', consumer);
  end loop;
end $rights$;
