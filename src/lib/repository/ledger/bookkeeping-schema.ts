import { PREPARE_ALONE } from '../../db/locks.js';
import { withTransaction } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { ConflictError, UnreachableError, type Problem } from '../../errors.js';
import type { Database, Queryable } from '../../db/database.js';

const FIND_VERSIONS = "select to_regclass('sensorctl.schema_version') is not null as exists";
const READ_VERSION = 'select coalesce(max(version), 0)::int as version from sensorctl.schema_version';
const RECORD_VERSION = 'insert into sensorctl.schema_version (version) values ($1)';

const CREATE_SCHEMA = `
  create schema if not exists sensorctl;
  create table if not exists sensorctl.schema_version (
    version integer primary key,
    applied_at timestamptz not null default clock_timestamp()
  )`;

/** Each entry brings the schema from the version before it to its own; an entry that was released never changes. */
const MIGRATIONS: readonly string[] = [
  `
  -- One row from the first dual-written batch on: a migration is under way.
  create table sensorctl.migration (
    singleton boolean primary key default true constraint one_migration check (singleton),
    began_at timestamptz not null default clock_timestamp()
  );

  create table sensorctl.consumer (
    consumer_id uuid primary key,
    host text not null,
    pid integer not null,
    write_mode text not null,
    started_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null,
    ended_at timestamptz
  );

  -- What the secondary may lack: an entry for each table that a batch touched. An entry's times never change.
  create table sensorctl.ledger (
    entry_id bigint generated always as identity primary key,
    batch_id uuid not null,
    consumer_id uuid not null,
    table_name text not null,
    times tstzmultirange not null,
    readings integer not null,
    state text not null constraint known_state check (state in ('pending', 'missed', 'refused')),
    reason text,
    -- Which reading the secondary refused for good.
    sensor_id text constraint refused_alone check ((state = 'refused') = (sensor_id is not null)),
    committed_at timestamptz not null default clock_timestamp(),
    constraint one_entry_a_batch_and_table unique (batch_id, table_name)
  );

  -- The ledger as every reader sees it: what a dead consumer left pending is missed.
  create view sensorctl.ledger_state as
  select entry_id, batch_id, consumer_id, table_name, times, readings, reason, sensor_id, committed_at,
    case when state = 'pending' and not exists (
      select from sensorctl.consumer
      where consumer.consumer_id = ledger.consumer_id and ended_at is null and lease_until > clock_timestamp()
    ) then 'missed' else state end as state
  from sensorctl.ledger;

  -- What settled entries touched, kept until a comparison has proved it equal on both sides.
  create table sensorctl.unproven (
    unproven_id bigint generated always as identity primary key,
    table_name text not null,
    times tstzmultirange not null,
    settled_at timestamptz not null default clock_timestamp()
  );

  -- When the location in sensor_registry was measured: the newest wins, in whatever order the writes arrive.
  create table sensorctl.sensor_location (
    sensor_id text primary key,
    located_at timestamptz not null,
    lat double precision not null,
    lng double precision not null
  );

  -- For a reading table without a unique key on the secondary: which batches are written there, or taken over by a
  -- repair. A marker stays until its consumer is recorded dead here, which each of the consumer's transactions checks.
  create table sensorctl.batch_marker (
    batch_id uuid not null,
    table_name text not null,
    consumer_id uuid not null,
    by_repair boolean not null,
    constraint marked_once primary key (batch_id, table_name)
  );

  create index batch_marker_consumer on sensorctl.batch_marker (consumer_id);

  create table sensorctl.dead_consumer (
    consumer_id uuid primary key,
    recorded_at timestamptz not null default clock_timestamp()
  );

  create table sensorctl.quarantine (
    quarantine_id bigint generated always as identity primary key,
    digest bytea not null constraint quarantined_once unique,
    side text not null constraint known_side check (side in ('local', 'ec2')),
    reason text not null,
    sqlstate text,
    table_name text,
    sensor_id text,
    reading_time text,
    message_id text,
    body text not null,
    quarantined_at timestamptz not null default clock_timestamp(),
    -- A record is never deleted; it is open until it was retried with success or discarded.
    resolution text constraint known_resolution check (resolution in ('retried', 'discarded')),
    resolved_at timestamptz constraint resolved_when check ((resolution is null) = (resolved_at is null))
  )`,
  `
  -- Each comparison of both sides: how far it has come, what it found. Evidence for the gates, and where to go on.
  create table sensorctl.comparison (
    comparison_id bigint generated always as identity primary key,
    scope jsonb not null,
    progress jsonb not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    verdict text constraint known_verdict check (verdict in ('identical', 'different')),
    report jsonb,
    constraint finished_with_verdict check ((finished_at is null) = (verdict is null))
  )`,
  `
  -- Jobs of TimescaleDB that were on until a run paused them here: the last run to end, or the next command after a
  -- crash, switches them on again and forgets them.
  create table sensorctl.paused_job (
    job_id integer primary key,
    -- With the id: a job made after this one was deleted is never taken for it.
    proc_name text not null,
    table_name text not null,
    run_name text not null,
    paused_at timestamptz not null default clock_timestamp()
  )`,
  `
  -- A backfill of ranges, on the side that it writes: what it was asked for, and its units.
  create table sensorctl.backfill (
    backfill_id bigint generated always as identity primary key,
    scope jsonb not null,
    started_at timestamptz not null default clock_timestamp(),
    planned_at timestamptz,
    -- By table, the oldest time (µs since 1970) that the target held before: what is dropped there is not to be refreshed.
    oldest jsonb,
    finished_at timestamptz constraint planned_before_finished check (finished_at is null or planned_at is not null)
  );

  -- Whoever asks for the same joins in, or goes on after a crash.
  create unique index one_backfill_at_a_time on sensorctl.backfill (scope) where finished_at is null;

  -- Claimed with a row lock, and marked done in the transaction that wrote its rows and verified them.
  create table sensorctl.backfill_unit (
    unit_id bigint generated always as identity primary key,
    backfill_id bigint not null references sensorctl.backfill on delete cascade,
    table_name text not null,
    from_time timestamptz not null,
    to_time timestamptz not null,
    estimated_rows bigint not null,
    done_at timestamptz,
    copied bigint,
    inserted bigint,
    skipped bigint,
    corrected bigint,
    refused bigint,
    extra bigint,
    pruned bigint,
    constraint counted_when_done check ((done_at is null) = (copied is null))
  );

  create index open_backfill_unit on sensorctl.backfill_unit (backfill_id, to_time desc) where done_at is null`,
  `
  -- Where the migration stands. The row of the side that is the primary decides, and the primary reads it in each
  -- transaction that writes; the other side's row is a copy, which only a higher epoch changes. No row: no phase was ever
  -- recorded, and local is the primary.
  create table sensorctl.state (
    singleton boolean primary key default true constraint one_state check (singleton),
    phase integer not null constraint known_phase check (phase in (1, 2, 3)),
    write_mode text not null constraint known_write_mode check (write_mode in ('dual-write', 'ec2-only', 'draining')),
    epoch bigint not null constraint epoch_from_one check (epoch >= 1),
    primary_side text not null constraint known_primary check (primary_side in ('local', 'ec2')),
    keep_local_current boolean not null default false,
    phase_since timestamptz not null default clock_timestamp(),
    -- A change of the primary that is under way: whose, to which phase, and until when nobody else may call it off.
    attempt uuid,
    target_phase integer,
    deadline timestamptz,
    changed_at timestamptz not null default clock_timestamp(),
    changed_by text not null,
    reason text,
    overridden_gates text[] not null default '{}',
    constraint draining_is_an_attempt check (
      (write_mode = 'draining') = (attempt is not null)
      and (attempt is null) = (target_phase is null) and (attempt is null) = (deadline is null)
    ),
    constraint primary_of_the_phase check ((phase = 3) = (primary_side = 'ec2')),
    constraint ec2_only_in_phase_3 check (write_mode <> 'ec2-only' or phase = 3)
  );

  create table sensorctl.state_history (
    like sensorctl.state including defaults,
    constraint epoch_once primary key (epoch)
  );

  create function sensorctl.guard_state() returns trigger language plpgsql as $guard$
  begin
    if tg_op = 'DELETE' then
      raise exception 'what phase a migration is in cannot be deleted'
        using errcode = 'check_violation', constraint = 'state_stays';
    end if;
    if new.epoch <= old.epoch then
      raise exception 'epoch % does not follow epoch %', new.epoch, old.epoch
        using errcode = 'check_violation', constraint = 'epochs_only_grow';
    end if;
    if old.attempt is not null and new.attempt is not null and old.deadline > clock_timestamp() then
      raise exception 'a change of phase is under way until %', old.deadline
        using errcode = 'check_violation', constraint = 'one_transition_at_a_time';
    end if;
    return new;
  end $guard$;

  create trigger guard_state before update or delete on sensorctl.state
  for each row execute function sensorctl.guard_state();

  create function sensorctl.remember_state() returns trigger language plpgsql as $remember$
  begin
    insert into sensorctl.state_history select new.*;
    return null;
  end $remember$;

  create trigger remember_state after insert or update on sensorctl.state
  for each row execute function sensorctl.remember_state();

  -- Each transaction that writes as primary calls this after it has taken the shared lock, in a statement of its own.
  create function sensorctl.assert_primary(own_side text, known_epoch bigint) returns void language plpgsql as $fence$
  declare
    recorded sensorctl.state;
  begin
    select * into recorded from sensorctl.state;
    if coalesce(recorded.primary_side, 'local') <> own_side then
      raise exception '% is not the primary any more', own_side using errcode = 'SF001';
    elsif recorded.write_mode = 'draining' then
      raise exception 'a change of phase is under way' using errcode = 'SF002';
    elsif coalesce(recorded.epoch, 0) <> known_epoch then
      raise exception 'epoch % began, and the writer knows epoch %', recorded.epoch, known_epoch using errcode = 'SF003';
    end if;
  end $fence$;

  -- The quarantine follows the primary: what a rollback brings to the other side is closed here.
  alter table sensorctl.quarantine drop constraint known_resolution;
  alter table sensorctl.quarantine add constraint known_resolution check (resolution in ('retried', 'discarded', 'moved'))`,
  `
  -- What each consumer tells of itself with its heartbeat: rates, latencies, circuit breaker, last error.
  alter table sensorctl.consumer add column status jsonb, add column status_at timestamptz;

  -- What monitors saw: evidence for the gates and for the report. Kept dense for two days, then thinned out.
  create table sensorctl.sample (
    taken_at timestamptz primary key,
    phase integer,
    epoch bigint not null,
    -- What was wrong, by kind; of these, what the ledger does not account for.
    troubles text[] not null,
    unexplained text[] not null constraint unexplained_is_trouble check (unexplained <@ troubles),
    figures jsonb not null
  )`,
  `
  -- The ledger may come to hold millions of entries: what a heartbeat, a repair and a backfill's unit ask of it costs what
  -- they are about.
  create index ledger_pending on sensorctl.ledger (consumer_id) where state = 'pending';
  create index ledger_tables on sensorctl.ledger (table_name, entry_id);
  create index ledger_times on sensorctl.ledger using gist (times);

  -- A scope may name hundreds of ranges, and a B-tree holds no value beyond a third of a page.
  drop index sensorctl.one_backfill_at_a_time;
  create unique index one_backfill_at_a_time on sensorctl.backfill (md5(scope::text)) where finished_at is null`,
  `
  -- Rights: whoever reads may not forge what others rely on. What must be written is written by functions that check it, and
  -- run as the owner of this schema; who may call which stands in the README, "Least rights".

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
  end $rights$`,
  `
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
  end $rights$`,
];

export const BOOKKEEPING_VERSION = MIGRATIONS.length;

/** Creates or upgrades sensorctl's own schema; returns the version before and after. Safe to run from many processes. */
export async function migrateBookkeeping(database: Database): Promise<{ from: number; to: number }> {
  const { pool } = database;
  await assertOwnSchema(database);
  await createSchema(pool);
  return await withTransaction(pool, async (client) => {
    await client.query(PREPARE_ALONE);
    const { rows } = await client.query<{ version: number }>(READ_VERSION);
    const from = rows[0]?.version ?? 0;
    for (const [index, statements] of MIGRATIONS.entries()) {
      if (index < from) continue;
      await client.query(statements);
      await client.query(RECORD_VERSION, [index + 1]);
    }
    return { from, to: Math.max(from, BOOKKEEPING_VERSION) };
  });
}

/** What `migrateBookkeeping` does, as a script for a person to run, any number of times; up to a version. */
export function bookkeepingScript(upTo = BOOKKEEPING_VERSION): string {
  const steps = MIGRATIONS.slice(0, upTo).map((statements, index) => {
    const version = index + 1;
    return `  if (${READ_VERSION}) < ${version} then
${statements};
    insert into sensorctl.schema_version (version) values (${version});
  end if;`;
  });
  return `${CREATE_SCHEMA};\n${PREPARE_ALONE};\ndo $sensorctl$ begin\n${steps.join('\n')}\nend $sensorctl$;`;
}

const CREATED_MEANWHILE = new Set(['23505', '42P06', '42P07']);

/** Two processes at once collide in the catalog; one of them has created it. */
async function createSchema(pool: Database['pool']): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await pool.query(CREATE_SCHEMA);
      return;
    } catch (error) {
      if (attempt === 20 || !CREATED_MEANWHILE.has(sqlstateOf(error) ?? '')) throw error;
    }
  }
}

/** What stands in the schema and is not its owner's, or runs what is not: triggers, functions, and who may add more. */
const FIND_STRANGE = `
  with own as (select oid, nspowner, nspacl from pg_namespace where nspname = 'sensorctl')
  select 'relation ' || relname || ' of ' || pg_get_userbyid(relowner) as what
  from pg_class join own on own.oid = relnamespace where relowner <> nspowner
  union all
  select 'function ' || proname || ' of ' || pg_get_userbyid(proowner)
  from pg_proc join own on own.oid = pronamespace where proowner <> nspowner
  union all
  select 'trigger ' || tgname || ' on ' || relname from pg_trigger join pg_class on pg_class.oid = tgrelid
  join own on own.oid = relnamespace join pg_proc on pg_proc.oid = tgfoid
  where not tgisinternal and (pronamespace <> own.oid or proowner <> nspowner)
  union all
  select 'the right of ' || case grantee when 0 then 'everyone' else pg_get_userbyid(grantee) end || ' to create in it'
  from own cross join lateral aclexplode(nspacl) where privilege_type = 'CREATE' and grantee <> nspowner
  order by 1 limit 5`;

/** `init` makes no schema its own that somebody else has prepared. Who owns it every connection asks. */
async function assertOwnSchema({ pool, side }: Database): Promise<void> {
  const { rows } = await pool.query<{ what: string }>(FIND_STRANGE);
  if (rows.length === 0) return;
  const found = rows.map(({ what }) => what).join(', ');
  throw new ConflictError(`the schema sensorctl on ${sideTitle(side)} holds what is not sensorctl's: ${found}`, {
    code: 'schema-holds-foreign',
  });
}

/** Throws where `init` has not prepared a side for this version of sensorctl. */
export async function assertBookkeeping({ pool, side }: Database): Promise<void> {
  const version = await readBookkeepingVersion({ pool });
  const problem: Problem = { code: 'not-prepared', facts: { side } };
  if (version === 0) throw new UnreachableError(`the ${sideTitle(side)} database was never prepared`, problem);
  if (version < BOOKKEEPING_VERSION) {
    throw new UnreachableError(`sensorctl's schema on ${sideTitle(side)} is older than this version needs`, problem);
  }
}

/** The version that a database holds; 0 where sensorctl was never there. */
export async function readBookkeepingVersion({ pool }: { readonly pool: Queryable }): Promise<number> {
  const { rows } = await pool.query<{ exists: boolean }>(FIND_VERSIONS);
  if (rows[0]?.exists !== true) return 0;
  const versions = await pool.query<{ version: number }>(READ_VERSION);
  return versions.rows[0]?.version ?? 0;
}
