import { TRY_PLANNING } from '../../db/locks.js';
import type { Queryable } from '../../db/database.js';
import { boundsOf, microsOf } from '../../db/micros.js';
import { CHECK_AT_ONCE, queryAll, withTransaction } from '../../db/transaction.js';
import { quoteLiteral } from '../../db/identifiers.js';
import type { ClassSlice, Pages } from '../compare/slices.js';
import type { Pool } from 'pg';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';

/** Which rows of a table a unit copies: a range of its axis, of the times in µs, or what has no place there. */
export type UnitPart = TimeRange | { readonly slice: ClassSlice } | { readonly pages: Pages } | { readonly all: true };

/** A part of a table to copy, small enough for one transaction. */
export interface PlannedUnit {
  readonly table: string;
  readonly part: UnitPart;
  /** The part is a range of times, which continuous aggregates are refreshed by. */
  readonly isTimed: boolean;
  readonly rows: number;
  /** Units of a lower level go first. */
  readonly level: number;
  /** Rows that only the target has are kept in its quarantine and deleted. */
  readonly prune: boolean;
}

export interface Unit extends PlannedUnit {
  readonly id: number;
}

/** What became of the rows of a unit, or of all units of a table. */
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

/** What the units of a table that are done have done. */
export interface TableCounts extends UnitCounts {
  readonly table: string;
  readonly units: number;
}

/** How far a run has come. */
export interface RunState {
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
  insert into sensorctl.backfill_unit (backfill_id, table_name, from_time, to_time, part, level, prune, estimated_rows)
  select $1, * from unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::jsonb[], $6::int[], $7::boolean[], $8::bigint[])`;

const READ_OLDEST = 'select oldest::text as oldest from sensorctl.backfill where backfill_id = $1';
const MARK_PLANNED = 'update sensorctl.backfill set planned_at = clock_timestamp(), oldest = $2 where backfill_id = $1';

/** Of the lowest level that is not done, the newest first: what operators look at. Tables that failed are left alone. */
const claimUnitSql = (runId: number, failed: readonly string[]): string => {
  const open = `backfill_id = ${runId} and done_at is null and table_name <> all (array[${failed.map(quoteLiteral).join(', ')}]::text[])`;
  return `
  select unit_id as id, table_name as "table", estimated_rows as rows, part::text as part, level, prune,
    ${microsOf('from_time')} as "from", ${microsOf('to_time')} as "to"
  from sensorctl.backfill_unit where ${open} and level = (select min(level) from sensorctl.backfill_unit where ${open})
  order by to_time desc nulls last limit 1 for update skip locked`;
};

const finishUnitSql = (unitId: number, counts: UnitCounts): string => `
  update sensorctl.backfill_unit set done_at = clock_timestamp(), copied = ${counts.copied}, inserted = ${counts.inserted},
    skipped = ${counts.skipped}, corrected = ${counts.corrected}, refused = ${counts.refused}, extra = ${counts.extra},
    pruned = ${counts.pruned}
  where unit_id = ${unitId}`;

const DROP_UNIT = 'delete from sensorctl.backfill_unit where unit_id = $1 and done_at is null';

const READ_RUN_STATE = `
  select count(*) filter (where done_at is null) as open, coalesce(sum(estimated_rows), 0)::bigint as rows,
    coalesce(sum(estimated_rows) filter (where done_at is null), 0)::bigint as "openRows"
  from sensorctl.backfill_unit where backfill_id = $1 and (done_at is not null or table_name <> all ($2::text[]))`;

const READ_TABLE_COUNTS = `
  select table_name as "table", count(*) as units, ${['copied', 'inserted', 'skipped', 'corrected', 'refused', 'extra', 'pruned'].map((count) => `sum(${count})::bigint as ${count}`).join(', ')}
  from sensorctl.backfill_unit where backfill_id = $1 and done_at is not null group by table_name order by min(unit_id)`;

const READ_TOUCHED = `
  select table_name as "table", ${boundsOf('range')}
  from (
    select table_name, unnest(range_agg(tstzrange(from_time, to_time))) as range
    from sensorctl.backfill_unit where backfill_id = $1 and inserted + corrected > 0 and part is null group by table_name
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
  const bound = ({ part, isTimed }: PlannedUnit, end: 'from' | 'to'): string | null =>
    isTimed && 'from' in part ? formatInstant(part[end]) : null;
  await target.query(ADD_UNITS, [
    id,
    units.map(({ table }) => table),
    units.map((unit) => bound(unit, 'from')),
    units.map((unit) => bound(unit, 'to')),
    units.map(({ part, isTimed }) => (isTimed ? null : JSON.stringify(part))),
    units.map(({ level }) => level),
    units.map(({ prune }) => prune),
    units.map(({ rows }) => rows),
  ]);
}

/** `oldest`: by table, the oldest time that the target holds before anything is copied, in µs since 1970. */
export async function markPlanned(target: Queryable, id: number, oldest: OldestTimes): Promise<void> {
  await target.query(MARK_PLANNED, [id, JSON.stringify(oldest)]);
}

/** Reads the times that `markPlanned` was given. */
export async function readOldestTimes(target: Queryable, id: number): Promise<OldestTimes> {
  const { rows } = await target.query<{ oldest: string | null }>(READ_OLDEST, [id]);
  return JSON.parse(rows[0]?.oldest ?? '{}') as OldestTimes;
}

interface UnitRow extends Omit<Unit, 'part' | 'isTimed'> {
  readonly part: string | null;
  readonly from: number | null;
  readonly to: number | null;
}

/**
 * Begins a transaction and claims for it the next unit that nobody else works on, of a table that did not fail; null where
 * there is none.
 */
export async function beginWithUnit(
  session: Queryable,
  runId: number,
  failed: readonly string[],
): Promise<Unit | null> {
  const statements = ['begin isolation level read committed', CHECK_AT_ONCE, claimUnitSql(runId, failed)];
  const results = await queryAll(session, statements);
  const row = results[2]?.rows[0] as UnitRow | undefined;
  if (row === undefined) return null;
  const { part, from, to, ...unit } = row;
  return {
    ...unit,
    part: part === null ? { from: from ?? 0, to: to ?? 0 } : (JSON.parse(part) as UnitPart),
    isTimed: part === null,
  };
}

/** Marks a unit done and commits with it what was written. */
export async function finishAndCommit(transaction: Queryable, unitId: number, counts: UnitCounts): Promise<void> {
  await queryAll(transaction, [finishUnitSql(unitId, counts), 'commit']);
}

/** Whether two units can be made of one. */
export function isDivisible({ part }: PlannedUnit): boolean {
  return halve(part).length > 0;
}

/** Makes two units of one that took too long; none of one that somebody has done meanwhile. */
export async function splitUnit(target: Pool, runId: number, { id, ...unit }: Unit): Promise<void> {
  const halves = halve(unit.part).map((part) => ({ ...unit, part, rows: unit.rows >> 1 }));
  await withTransaction(target, async (client) => {
    const { rowCount } = await client.query(DROP_UNIT, [id]);
    if (rowCount === 1) await addUnits(client, runId, halves);
  });
}

function halve(part: UnitPart): UnitPart[] {
  if ('slice' in part) {
    const { classes } = part.slice;
    if (classes.length < 2) return [];
    const middle = classes.length >> 1;
    return [classes.slice(0, middle), classes.slice(middle)].map((half) => ({
      slice: { ...part.slice, classes: half },
    }));
  }
  if ('all' in part) return [];
  const { from, to } = 'pages' in part ? part.pages : part;
  if (to === null || to - from < 2) return [];
  const middle = Math.floor((from + to) / 2);
  const halves = [
    { from, to: middle },
    { from: middle, to },
  ];
  return 'pages' in part ? halves.map((pages) => ({ pages })) : halves;
}

/** `failed`: tables whose open units nobody goes on with. */
export async function readRunState(target: Queryable, id: number, failed: readonly string[] = []): Promise<RunState> {
  const { rows } = await target.query<RunState & Record<string, unknown>>(READ_RUN_STATE, [id, failed]);
  return rows[0] ?? { open: 0, rows: 0, openRows: 0 };
}

export async function readTableCounts(target: Queryable, id: number): Promise<readonly TableCounts[]> {
  return (await target.query<TableCounts & Record<string, unknown>>(READ_TABLE_COUNTS, [id])).rows;
}

/** The ranges in which the run changed rows, by table. */
export async function readTouched(target: Queryable, id: number): Promise<(TimeRange & { table: string })[]> {
  return (await target.query<TimeRange & { table: string } & Record<string, unknown>>(READ_TOUCHED, [id])).rows;
}

export async function finishRun(target: Queryable, id: number): Promise<void> {
  await target.query(FINISH_RUN, [id]);
}

function requireRun([run]: readonly BackfillRun[]): BackfillRun {
  if (run === undefined) throw new TypeError('the backfill was not recorded');
  return run;
}
