import { TRY_PLANNING } from '../../db/locks.js';
import type { Queryable } from '../../db/database.js';
import { boundsOf, microsOf } from '../../db/micros.js';
import { CHECK_AT_ONCE, queryAll } from '../../db/transaction.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';

/** A range of a table to copy, small enough for one transaction. */
export interface PlannedUnit extends TimeRange {
  readonly table: string;
  readonly rows: number;
}

export interface Unit extends PlannedUnit {
  readonly id: number;
}

/** What became of the rows of a unit, or of all units together. */
export interface UnitCounts {
  readonly copied: number;
  readonly inserted: number;
  readonly skipped: number;
  readonly corrected: number;
  readonly refused: number;
  /** Rows that only the target has. */
  readonly extra: number;
  /** Rows that only the target had. */
  readonly pruned: number;
}

export type OldestTimes = Readonly<Record<string, number | null>>;

export interface BackfillRun {
  readonly id: number;
  readonly planned: boolean;
}

/** How far a run has come. */
export interface RunState extends UnitCounts {
  readonly units: number;
  readonly open: number;
  readonly rows: number;
  readonly openRows: number;
}

const JOIN_RUN = `
  insert into sensorctl.backfill (scope) values ($1)
  on conflict (md5(scope::text)) where finished_at is null do update set scope = excluded.scope
  returning backfill_id as id, planned_at is not null as planned`;

const READ_RUN =
  'select backfill_id as id, planned_at is not null as planned from sensorctl.backfill where backfill_id = $1';
const DROP_UNITS = 'delete from sensorctl.backfill_unit where backfill_id = $1';

const ADD_UNITS = `
  insert into sensorctl.backfill_unit (backfill_id, table_name, from_time, to_time, estimated_rows)
  select $1, * from unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])`;

const READ_OLDEST = 'select oldest::text as oldest from sensorctl.backfill where backfill_id = $1';
const MARK_PLANNED = 'update sensorctl.backfill set planned_at = clock_timestamp(), oldest = $2 where backfill_id = $1';

/** Newest first: what operators look at. */
const claimUnitSql = (runId: number): string => `
  select unit_id as id, table_name as "table", estimated_rows as rows,
    ${microsOf('from_time')} as "from", ${microsOf('to_time')} as "to"
  from sensorctl.backfill_unit where backfill_id = ${runId} and done_at is null
  order by to_time desc limit 1 for update skip locked`;

const finishUnitSql = (unitId: number, counts: UnitCounts): string => `
  update sensorctl.backfill_unit set done_at = clock_timestamp(), copied = ${counts.copied}, inserted = ${counts.inserted},
    skipped = ${counts.skipped}, corrected = ${counts.corrected}, refused = ${counts.refused}, extra = ${counts.extra},
    pruned = ${counts.pruned}
  where unit_id = ${unitId}`;

const SPLIT_UNIT = `
  with whole as (delete from sensorctl.backfill_unit where unit_id = $1 and done_at is null returning *)
  insert into sensorctl.backfill_unit (backfill_id, table_name, from_time, to_time, estimated_rows)
  select backfill_id, table_name, from_time, $2::timestamptz, estimated_rows / 2 from whole
  union all
  select backfill_id, table_name, $2::timestamptz, to_time, estimated_rows / 2 from whole`;

const READ_RUN_STATE = `
  select count(*) as units, count(*) filter (where done_at is null) as open, coalesce(sum(estimated_rows), 0)::bigint as rows,
    coalesce(sum(estimated_rows) filter (where done_at is null), 0)::bigint as "openRows",
    ${['copied', 'inserted', 'skipped', 'corrected', 'refused', 'extra', 'pruned'].map((count) => `coalesce(sum(${count}), 0)::bigint as ${count}`).join(', ')}
  from sensorctl.backfill_unit where backfill_id = $1`;

const READ_TOUCHED = `
  select table_name as "table", ${boundsOf('range')}
  from (
    select table_name, unnest(range_agg(tstzrange(from_time, to_time))) as range
    from sensorctl.backfill_unit where backfill_id = $1 and inserted + corrected > 0 group by table_name
  ) as touched`;

/** Ended runs keep their counts no longer than the next one needs to begin. */
const FINISH_RUN = `
  with finished as (
    update sensorctl.backfill set finished_at = clock_timestamp() where backfill_id = $1 and finished_at is null
    returning backfill_id
  )
  delete from sensorctl.backfill_unit
  where backfill_id in (select backfill_id from sensorctl.backfill where finished_at < clock_timestamp() - interval '1 day')`;

/** The run of this scope that is not finished, or a new one. */
export async function joinRun(target: Queryable, scope: object): Promise<BackfillRun> {
  return requireRun(
    (await target.query<BackfillRun & Record<string, unknown>>(JOIN_RUN, [JSON.stringify(scope)])).rows,
  );
}

export async function readRun(target: Queryable, id: number): Promise<BackfillRun> {
  return requireRun((await target.query<BackfillRun & Record<string, unknown>>(READ_RUN, [id])).rows);
}

/** Whether this session may plan the run now; the others wait. The lock ends with the session. */
export async function tryPlanning(session: Queryable, id: number): Promise<boolean> {
  return (await session.query<{ mine: boolean }>(TRY_PLANNING, [id])).rows[0]?.mine === true;
}

/** Forgets what an interrupted planning has left. */
export async function dropUnits(target: Queryable, id: number): Promise<void> {
  await target.query(DROP_UNITS, [id]);
}

export async function addUnits(target: Queryable, id: number, units: readonly PlannedUnit[]): Promise<void> {
  await target.query(ADD_UNITS, [
    id,
    units.map(({ table }) => table),
    units.map(({ from }) => formatInstant(from)),
    units.map(({ to }) => formatInstant(to)),
    units.map(({ rows }) => rows),
  ]);
}

/** `oldest`: by table, the oldest time that the target holds before anything is copied, in µs since 1970. */
export async function markPlanned(target: Queryable, id: number, oldest: OldestTimes): Promise<void> {
  await target.query(MARK_PLANNED, [id, JSON.stringify(oldest)]);
}

/** What `markPlanned` was given. */
export async function readOldestTimes(target: Queryable, id: number): Promise<OldestTimes> {
  const { rows } = await target.query<{ oldest: string | null }>(READ_OLDEST, [id]);
  return JSON.parse(rows[0]?.oldest ?? '{}') as OldestTimes;
}

/** Begins a transaction and claims for it the newest unit that nobody else works on; null where there is none. */
export async function beginWithUnit(session: Queryable, runId: number): Promise<Unit | null> {
  const statements = ['begin isolation level read committed', CHECK_AT_ONCE, claimUnitSql(runId)];
  const results = await queryAll(session, statements);
  return (results[2]?.rows[0] as Unit | undefined) ?? null;
}

/** Marks a unit done and commits with it what was written. */
export async function finishAndCommit(transaction: Queryable, unitId: number, counts: UnitCounts): Promise<void> {
  await queryAll(transaction, [finishUnitSql(unitId, counts), 'commit']);
}

/** Makes two units of one that took too long; none of one that somebody has done meanwhile. */
export async function splitUnit(target: Queryable, { id, from, to }: Unit): Promise<void> {
  await target.query(SPLIT_UNIT, [id, formatInstant(Math.floor((from + to) / 2))]);
}

export async function readRunState(target: Queryable, id: number): Promise<RunState> {
  const { rows } = await target.query<RunState & Record<string, unknown>>(READ_RUN_STATE, [id]);
  return rows[0] ?? NO_STATE;
}

/** The ranges in which the run changed rows, by table. */
export async function readTouched(target: Queryable, id: number): Promise<(TimeRange & { table: string })[]> {
  return (await target.query<TimeRange & { table: string } & Record<string, unknown>>(READ_TOUCHED, [id])).rows;
}

export async function finishRun(target: Queryable, id: number): Promise<void> {
  await target.query(FINISH_RUN, [id]);
}

const NO_STATE: RunState = {
  ...{ units: 0, open: 0, rows: 0, openRows: 0 },
  ...{ copied: 0, inserted: 0, skipped: 0, corrected: 0, refused: 0, extra: 0, pruned: 0 },
};

function requireRun([run]: readonly BackfillRun[]): BackfillRun {
  if (run === undefined) throw new TypeError('the backfill was not recorded');
  return run;
}
