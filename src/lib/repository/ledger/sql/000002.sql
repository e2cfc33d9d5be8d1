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
);
