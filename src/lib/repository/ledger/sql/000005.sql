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
alter table sensorctl.quarantine add constraint known_resolution check (resolution in ('retried', 'discarded', 'moved'));
