import { TRY_COMPARING } from '../../db/locks.js';
import type { Database, Queryable } from '../../db/database.js';
import { repeatCollisions } from '../../db/transaction.js';
import { formatInstant } from '../../domain/time.js';

/** A function that is not there is null, and so is what may be done with it. */
const CAN_RECORD = `
  select current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery() and coalesce((
    select has_schema_privilege(pronamespace, 'usage') and bool_and(has_function_privilege(pg_proc.oid, 'execute'))
      and count(*) = 3
    from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
    where nspname = 'sensorctl' and proname in ('begin_comparison', 'save_comparison', 'finish_comparison')
    group by pronamespace
  ), false) as possible`;

const BEGIN = `
  select comparison_id as id, '{}' as progress, started_at::text as begun from sensorctl.begin_comparison($1)`;

const FIND_UNFINISHED = `
  select id, progress, begun from (
    select comparison_id as id, progress::text as progress, started_at::text as begun, started_at, finished_at
    from sensorctl.comparison
    where scope = $1::jsonb and recorded_by = session_user order by comparison_id desc limit 1
  ) as newest
  where finished_at is null and started_at > clock_timestamp() - interval '1 day'`;

const SAVE = 'select sensorctl.save_comparison($1, $2)';
const FINISH = 'select sensorctl.finish_comparison($1, $2, $3, $4)';

/**
 * Rows of a report that neither the ledger nor a batch on its way accounts for, whichever side was the primary: each row
 * that the secondary lacks is classed, and one that only the secondary has is not.
 */
export const UNACCOUNTED_ROWS = `(
  select coalesce(sum((entry->>'missingOnEc2')::bigint + (entry->>'missingOnLocal')::bigint
    + (entry->>'different')::bigint - (entry->>'pending')::bigint - (entry->>'knownGap')::bigint), 0)
  from jsonb_array_elements(report->'tables') as entry)`;

/** A comparison that the primary keeps record of. */
export interface ComparisonRecord {
  readonly id: number;
  /** What `saveProgress` was given last; empty for a new one. */
  readonly progress: unknown;
  /** When it began, UTC text as the server writes it. */
  readonly begun: string;
}

/** A range of a table that was compared, in µs since 1970; without bounds the whole table was. */
export interface ComparedRange {
  readonly table: string;
  readonly from: number | null;
  readonly to: number | null;
}

/** Whether this role may record comparisons here: sensorctl's schema is there, and the database takes writes. */
export async function canRecordComparisons(primary: Queryable): Promise<boolean> {
  const { rows } = await primary.query<{ possible: boolean }>(CAN_RECORD);
  return rows[0]?.possible === true;
}

export async function beginComparison(primary: Queryable, scope: object): Promise<ComparisonRecord> {
  return parseRecord((await primary.query<RecordRow>(BEGIN, [JSON.stringify(scope)])).rows[0]);
}

/** The newest comparison of this scope, if it did not finish: what an older one has seen may be long past. */
export async function findUnfinishedComparison(primary: Queryable, scope: object): Promise<ComparisonRecord | null> {
  const { rows } = await primary.query<RecordRow>(FIND_UNFINISHED, [JSON.stringify(scope)]);
  return rows.length === 0 ? null : parseRecord(rows[0]);
}

/** Whether this session is the one that works on the comparison; the lock ends with the session. */
export async function tryHolding(session: Queryable, id: number): Promise<boolean> {
  return (await session.query<{ mine: boolean }>(TRY_COMPARING, [id])).rows[0]?.mine === true;
}

export async function saveProgress(primary: Queryable, id: number, progress: object): Promise<void> {
  await primary.query(SAVE, [id, JSON.stringify(progress)]);
}

/**
 * Records the verdict. An identical one proves what settled in these ranges before the comparison began; that is taken
 * out of `unproven` in the same transaction.
 */
export async function finishComparison(
  { pool }: Database,
  id: number,
  { verdict, report, ranges }: { verdict: 'identical' | 'different'; report: object; ranges: readonly ComparedRange[] },
): Promise<void> {
  const bound = (instant: number | null): string | null => (instant === null ? null : formatInstant(instant));
  const proven = ranges.map(({ table, from, to }) => ({ table, from: bound(from), to: bound(to) }));
  // Consumers rewrite what is unproven at the same time.
  await repeatCollisions(() => pool.query(FINISH, [id, verdict, JSON.stringify(report), JSON.stringify(proven)]));
}

interface RecordRow {
  readonly id: number;
  readonly progress: string;
  readonly begun: string;
}

function parseRecord(row: RecordRow | undefined): ComparisonRecord {
  if (row === undefined) throw new TypeError('the comparison was not recorded');
  return { ...row, progress: JSON.parse(row.progress) as unknown };
}
