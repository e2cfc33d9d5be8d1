-- Jobs of TimescaleDB that were on until a run paused them here: the last run to end, or the next command after a
-- crash, switches them on again and forgets them.
create table sensorctl.paused_job (
  job_id integer primary key,
  -- With the id: a job made after this one was deleted is never taken for it.
  proc_name text not null,
  table_name text not null,
  run_name text not null,
  paused_at timestamptz not null default clock_timestamp()
);
