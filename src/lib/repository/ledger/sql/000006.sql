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
);
