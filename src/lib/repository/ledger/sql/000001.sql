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
);
