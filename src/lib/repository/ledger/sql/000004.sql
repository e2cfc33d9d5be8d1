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

create index open_backfill_unit on sensorctl.backfill_unit (backfill_id, to_time desc) where done_at is null;
