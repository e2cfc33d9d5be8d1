import { withTransaction } from '../db/transaction.js';
import { sideTitle } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import type { Database, Queryable } from '../db/database.js';

/** Any number of processes may prepare one database at once; this advisory lock lets one of them do it. */
const SCHEMA_LOCK = "select pg_advisory_xact_lock(hashtext('sensorctl.schema'))";

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
    add column reading_time text generated always as ((faults -> 0) ->> 'time') stored`,
];

export const BOOKKEEPING_VERSION = MIGRATIONS.length;

/** Creates or upgrades sensorctl's own schema; returns the version before and after. Safe to run from many processes. */
export async function migrateBookkeeping({ pool }: Database): Promise<{ from: number; to: number }> {
  return await withTransaction(pool, async (client) => {
    await client.query(SCHEMA_LOCK);
    await client.query(CREATE_SCHEMA);
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

/** What `migrateBookkeeping` does, as a script for a person to run, any number of times. */
export function bookkeepingScript(): string {
  const steps = MIGRATIONS.map((statements, index) => {
    const version = index + 1;
    return `  if (${READ_VERSION}) < ${version} then
${statements};
    insert into sensorctl.schema_version (version) values (${version});
  end if;`;
  });
  return `${SCHEMA_LOCK};${CREATE_SCHEMA};\ndo $sensorctl$ begin\n${steps.join('\n')}\nend $sensorctl$;`;
}

/** Throws where `init` has not prepared a side for this version of sensorctl. */
export async function assertBookkeeping({ pool, side }: Database): Promise<void> {
  const version = await readBookkeepingVersion({ pool });
  const next = `sensorctl init --side ${side}`;
  if (version === 0) throw new UnreachableError(`the ${sideTitle(side)} database was never prepared`, { next });
  if (version < BOOKKEEPING_VERSION) {
    throw new UnreachableError(`sensorctl's schema on ${sideTitle(side)} is older than this version needs`, { next });
  }
}

/** The version that a database holds; 0 where sensorctl was never there. */
export async function readBookkeepingVersion({ pool }: { readonly pool: Queryable }): Promise<number> {
  const { rows } = await pool.query<{ exists: boolean }>(FIND_VERSIONS);
  if (rows[0]?.exists !== true) return 0;
  const versions = await pool.query<{ version: number }>(READ_VERSION);
  return versions.rows[0]?.version ?? 0;
}
