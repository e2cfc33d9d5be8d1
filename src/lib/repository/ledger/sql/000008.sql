-- Rights: whoever reads may not forge what others rely on. What must be written is written by functions that check it, and
-- run as the owner of this schema; docs/rights.md says who may call which.

-- Consumers of the version before hold this while they write: none is under way when the lock below begins to count.
do $old$ begin perform pg_advisory_xact_lock(hashtextextended('sensorctl.fence', 0)); end $old$;

-- Always empty. Writers hold it in row exclusive mode, what changes the primary in exclusive mode: a lock that only rights
-- give, where an advisory lock is anybody's who can connect.
create table sensorctl.fence (nothing boolean constraint always_empty check (false));

-- A repair of a table without a unique key locks its row: one at a time.
create table sensorctl.repair_turn (table_name text primary key);

alter table sensorctl.state add column session_role name not null default session_user;
alter table sensorctl.state_history add column session_role name not null default session_user;
alter table sensorctl.comparison add column recorded_by name not null default session_user;
alter table sensorctl.sample add column recorded_by name not null default session_user,
  add column recorded_at timestamptz not null default clock_timestamp();

alter function sensorctl.guard_state() set search_path = pg_catalog, pg_temp;
alter function sensorctl.remember_state() set search_path = pg_catalog, pg_temp;

-- For a transaction that relies on who is the primary: a change of that waits for it.
create function sensorctl.hold_fence() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $fence$
  begin
    lock table sensorctl.fence in row exclusive mode;
  end $fence$;

-- For a transaction that changes who is the primary: it waits for those that write.
create function sensorctl.close_fence() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $fence$
  begin
    lock table sensorctl.fence in exclusive mode;
  end $fence$;

-- Each transaction that writes as primary begins with this. Each statement of a volatile function has a snapshot of its own
-- under READ COMMITTED, so the record is newer than the lock. Consumers of the version before, which take their advisory
-- lock and then call this, take the lock that counts with it.
create or replace function sensorctl.assert_primary(own_side text, known_epoch bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $fence$
  declare
    recorded sensorctl.state;
  begin
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'a batch is written under READ COMMITTED' using errcode = 'invalid_transaction_state';
    end if;
    lock table sensorctl.fence in row exclusive mode;
    select * into recorded from sensorctl.state;
    if coalesce(recorded.primary_side, 'local') <> own_side then
      raise exception '% is not the primary any more', own_side using errcode = 'SF001';
    elsif recorded.write_mode = 'draining' then
      raise exception 'a change of phase is under way' using errcode = 'SF002';
    elsif coalesce(recorded.epoch, 0) <> known_epoch then
      raise exception 'epoch % began, and the writer knows epoch %', recorded.epoch, known_epoch using errcode = 'SF003';
    end if;
  end $fence$;

create function sensorctl.record_first_phase(given_by text, given_reason text, given_gates text[])
returns setof sensorctl.state language sql security definer set search_path = pg_catalog, pg_temp as $state$
    insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by, reason, overridden_gates)
    values (1, 'dual-write', 1, 'local', given_by, given_reason, given_gates) on conflict do nothing
    returning *
  $state$;

create function sensorctl.change_phase(
  known_epoch bigint, given_by text, given_reason text, given_gates text[], new_phase integer
) returns setof sensorctl.state language sql security definer set search_path = pg_catalog, pg_temp as $state$
    update sensorctl.state set phase = new_phase, phase_since = clock_timestamp(), epoch = epoch + 1,
      changed_at = clock_timestamp(), changed_by = given_by, reason = given_reason, overridden_gates = given_gates,
      session_role = session_user
    where epoch = known_epoch and attempt is null and phase in (1, 2) and new_phase in (1, 2)
    returning *
  $state$;

create function sensorctl.begin_draining(
  known_epoch bigint, given_by text, given_reason text, given_gates text[], token uuid, to_phase integer, for_ms float8
) returns setof sensorctl.state language sql security definer set search_path = pg_catalog, pg_temp as $state$
    update sensorctl.state set write_mode = 'draining', attempt = token, target_phase = to_phase,
      deadline = clock_timestamp() + make_interval(secs => for_ms / 1000), epoch = epoch + 1,
      changed_at = clock_timestamp(), changed_by = given_by, reason = given_reason, overridden_gates = given_gates,
      session_role = session_user
    where epoch = known_epoch and attempt is null
    returning *
  $state$;

-- The one commit point of a switch, on the primary that is given up.
create function sensorctl.commit_switch(token uuid, new_primary text, keep_local boolean)
returns setof sensorctl.state language plpgsql security definer set search_path = pg_catalog, pg_temp as $state$
  begin
    lock table sensorctl.fence in exclusive mode;
    return query
    update sensorctl.state set phase = target_phase, primary_side = new_primary, keep_local_current = keep_local,
      write_mode = case when target_phase = 3 and not keep_local then 'ec2-only' else 'dual-write' end,
      attempt = null, target_phase = null, deadline = null, epoch = epoch + 1,
      phase_since = clock_timestamp(), changed_at = clock_timestamp(), session_role = session_user
    where write_mode = 'draining' and attempt = token and deadline > clock_timestamp()
    returning *;
  end $state$;

-- Of an attempt by its own process.
create function sensorctl.call_off(token uuid, given_by text, given_reason text) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $state$
    with called_off as (
      update sensorctl.state set write_mode = case when phase = 3 and not keep_local_current then 'ec2-only' else 'dual-write' end,
        attempt = null, target_phase = null, deadline = null, epoch = epoch + 1, changed_at = clock_timestamp(),
        changed_by = given_by, reason = given_reason, overridden_gates = '{}', session_role = session_user
      where write_mode = 'draining' and attempt = token
      returning 1
    )
    select count(*)::integer from called_off
  $state$;

-- Of any attempt that has outlived its deadline, by the clock of this server: anyone who writes may.
create function sensorctl.call_off_overdue(given_by text, given_reason text) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $state$
    select coalesce(
      (select sensorctl.call_off(attempt, given_by, given_reason) from sensorctl.state where deadline <= clock_timestamp()), 0
    )
  $state$;

-- A side cannot see the other one's record: what is copied has to be believed, but only a higher epoch, never a record of
-- draining, and none so high that no later one could follow.
create function sensorctl.copy_state(
  new_phase integer, new_mode text, new_epoch bigint, new_primary text, keep_local boolean, since timestamptz,
  at timestamptz, given_by text, given_reason text, given_gates text[]
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $state$
  begin
    lock table sensorctl.fence in exclusive mode;
    if new_mode = 'draining' or new_epoch > 10000 + coalesce((select epoch from sensorctl.state), 0) then
      raise exception 'this is no record of the other side: %, epoch %', new_mode, new_epoch
        using errcode = 'check_violation', constraint = 'copy_of_a_record';
    end if;
    insert into sensorctl.state as known (phase, write_mode, epoch, primary_side, keep_local_current, phase_since, changed_at,
      changed_by, reason, overridden_gates)
    values (new_phase, new_mode, new_epoch, new_primary, keep_local, since, at, given_by, given_reason, given_gates)
    on conflict (singleton) do update set phase = excluded.phase, write_mode = excluded.write_mode, epoch = excluded.epoch,
      primary_side = excluded.primary_side, keep_local_current = excluded.keep_local_current,
      phase_since = excluded.phase_since, changed_at = excluded.changed_at, changed_by = excluded.changed_by,
      reason = excluded.reason, overridden_gates = excluded.overridden_gates, session_role = excluded.session_role,
      attempt = null, target_phase = null, deadline = null
    where known.epoch < excluded.epoch;
  end $state$;

-- One row an hour and table is enough to know what to prove; neighbours within a minute become one range.
create function sensorctl.compact_unproven() returns void
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
    insert into sensorctl.unproven (table_name, times, settled_at)
    select table_name, range_agg(tstzrange(date_trunc('minute', lower(range)),
      date_trunc('minute', upper(range) - interval '1 microsecond') + interval '1 minute')), max(settled_at)
    from (select table_name, unnest(times) as range, settled_at from old) as ranges
    group by table_name, date_trunc('hour', settled_at)
  $unproven$;

-- What a switch has proven, by what it read: a row that consumers rewrite meanwhile has another number, and stays.
create function sensorctl.remove_proven(ids bigint[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $unproven$
    delete from sensorctl.unproven where unproven_id = any (ids)
  $unproven$;

create function sensorctl.begin_comparison(given_scope jsonb) returns setof sensorctl.comparison
language sql security definer set search_path = pg_catalog, pg_temp as $comparison$
    insert into sensorctl.comparison (scope, progress) values (given_scope, '{}') returning *
  $comparison$;

-- Whose comparison it is goes on with it, until it is finished.
create function sensorctl.save_comparison(id bigint, given_progress jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $comparison$
  begin
    update sensorctl.comparison set progress = given_progress
    where comparison_id = id and finished_at is null and recorded_by = session_user;
    if not found then
      raise exception 'comparison % is finished, or not that of %', id, session_user using errcode = 'insufficient_privilege';
    end if;
  end $comparison$;

-- An identical one proves what settled in its ranges before it began. A range counts only in a table that the report
-- names, and where the report itself accounts for every row.
create function sensorctl.finish_comparison(id bigint, given_verdict text, given_report jsonb, ranges jsonb)
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
    update sensorctl.unproven as open set times = times - proven.ranges
    from (
      select range ->> 'table' as name, range_agg(tstzrange((range ->> 'from')::timestamptz, (range ->> 'to')::timestamptz)) as ranges
      from jsonb_array_elements(finish_comparison.ranges) as range
      where range ->> 'table' in (select entry ->> 'table' from jsonb_array_elements(given_report -> 'tables') as entry)
      group by 1
    ) as proven
    where open.table_name = proven.name and open.times && proven.ranges and open.settled_at <= began;
    delete from sensorctl.unproven where isempty(times);
  end $comparison$;

-- Only added to. What a monitor saw while the primary was away it tells within the hours that it keeps it; next to a
-- sample that is there none is needed.
create function sensorctl.record_samples(samples jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $sample$
    insert into sensorctl.sample (taken_at, phase, epoch, troubles, unexplained, figures)
    select "takenAt", phase, epoch, troubles, unexplained, figures
    from jsonb_to_recordset(samples) as given
      ("takenAt" timestamptz, phase integer, epoch bigint, troubles text[], unexplained text[], figures jsonb)
    where "takenAt" between clock_timestamp() - interval '3 hours' and clock_timestamp() + interval '1 minute'
      and not exists (
        select from sensorctl.sample
        where taken_at > given."takenAt" - interval '8 seconds' and taken_at < given."takenAt" + interval '8 seconds'
      )
    on conflict (taken_at) do nothing
  $sample$;

-- Dense for two days, one a minute for two weeks, one in ten minutes for a quarter; what shows trouble stays longest.
create function sensorctl.thin_samples() returns void
language sql security definer set search_path = pg_catalog, pg_temp as $sample$
    delete from sensorctl.sample where taken_at < clock_timestamp() - interval '90 days' or taken_at in (
      select taken_at from (
        select taken_at, row_number() over (
          partition by date_bin(case when taken_at < clock_timestamp() - interval '14 days' then interval '10 minutes'
            else interval '1 minute' end, taken_at, timestamptz '2000-01-01')
          order by cardinality(unexplained) = 0, cardinality(troubles) = 0, taken_at
        ) as place
        from sensorctl.sample where taken_at < clock_timestamp() - interval '2 days'
      ) as crowded
      where place > 1
    )
  $sample$;

-- A consumer recorded dead writes nothing under markers any more: each of its transactions that does holds the markers in
-- row exclusive mode before it looks here.
create function sensorctl.bury_consumer(dead uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $bury$
  begin
    lock table sensorctl.batch_marker in share row exclusive mode;
    insert into sensorctl.dead_consumer (consumer_id) values (dead) on conflict do nothing;
  end $bury$;

-- What roles could do by rights on tables, they may now do by the functions; nothing else may call these.
do $rights$
declare
  held record;
begin
  execute 'revoke all on all functions in schema sensorctl from public';
  for held in
    select distinct c.relname as relation, a.privilege_type as privilege,
      case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as role
    from pg_class as c cross join lateral aclexplode(c.relacl) as a
    where c.relnamespace = 'sensorctl'::regnamespace and a.grantee <> c.relowner
  loop
    if held.role = 'public' then
      execute format('revoke all on sensorctl.%I from public', held.relation);
      continue;
    end if;
    if held.relation in ('state', 'state_history', 'sample', 'comparison') and held.privilege in ('INSERT', 'UPDATE', 'DELETE') then
      execute format('revoke %s on sensorctl.%I from %s', held.privilege, held.relation, held.role);
    end if;
    if held.relation = 'unproven' and held.privilege in ('UPDATE', 'DELETE') then
      execute format('revoke %s on sensorctl.unproven from %s', held.privilege, held.role);
    end if;
    if held.relation = 'dead_consumer' and held.privilege = 'INSERT' then
      execute format('revoke insert on sensorctl.dead_consumer from %s', held.role);
    end if;
    if held.relation = 'state' and held.privilege = 'UPDATE' then
      execute format('grant execute on function sensorctl.assert_primary, sensorctl.hold_fence,
        sensorctl.copy_state, sensorctl.call_off_overdue, sensorctl.compact_unproven, sensorctl.bury_consumer to %s', held.role);
      execute format('grant select, insert, update on sensorctl.repair_turn to %s', held.role);
    end if;
    if held.relation = 'quarantine' and held.privilege = 'UPDATE' then
      execute format('grant execute on function sensorctl.record_first_phase, sensorctl.change_phase, sensorctl.begin_draining,
        sensorctl.close_fence, sensorctl.commit_switch, sensorctl.call_off, sensorctl.remove_proven to %s', held.role);
    end if;
    if held.relation = 'backfill_unit' and held.privilege = 'UPDATE' or held.relation = 'ledger' and held.privilege = 'DELETE' then
      execute format('grant execute on function sensorctl.hold_fence to %s', held.role);
      execute format('grant select, insert, update on sensorctl.repair_turn to %s', held.role);
    end if;
    if held.relation = 'comparison' and held.privilege = 'INSERT' then
      execute format('grant execute on function sensorctl.begin_comparison, sensorctl.save_comparison,
        sensorctl.finish_comparison to %s', held.role);
    end if;
    if held.relation = 'sample' and held.privilege = 'INSERT' then
      execute format('grant execute on function sensorctl.record_samples, sensorctl.thin_samples to %s', held.role);
    end if;
  end loop;
end $rights$;
