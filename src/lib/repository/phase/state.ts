import type { Question } from '../../db/ask-together.js';
import type { Queryable } from '../../db/database.js';
import { microsOf } from '../../db/micros.js';
import { NO_PHASE, type MigrationState, type Phase } from '../../domain/migration.js';
import type { Side, WriteMode } from '../../domain/side.js';
import type { Statement } from '../../db/transaction.js';
import { formatInstantText } from '../../domain/time.js';

const FIND_STATE = `
  select exists (
    select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = 'sensorctl' and relname = 'state'
  ) as exists`;

/** The columns that `parseState` reads. */
export const STATE_COLUMNS = `phase, write_mode, epoch, primary_side, keep_local_current, phase_since::text, changed_at::text, changed_by, reason,
  array_to_json(overridden_gates)::text as overridden_gates, attempt, target_phase, deadline::text`;

const READ_STATE = `select ${STATE_COLUMNS} from sensorctl.state`;
const READ_HISTORY = `select ${STATE_COLUMNS} from sensorctl.state_history order by epoch desc limit $1`;

/** Only a higher epoch changes a copy. It takes the fence first. */
const COPY_STATE = 'select sensorctl.copy_state($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)';

export interface StateRow {
  readonly phase: Phase;
  readonly write_mode: Exclude<WriteMode, 'local-only'>;
  readonly epoch: number;
  readonly primary_side: Side;
  readonly keep_local_current: boolean;
  readonly phase_since: string;
  readonly changed_at: string;
  readonly changed_by: string;
  readonly reason: string | null;
  readonly overridden_gates: string;
  readonly attempt: string | null;
  readonly target_phase: Phase | null;
  readonly deadline: string | null;
}

/** Reads the record of a side; `NO_PHASE` where no phase was recorded, or sensorctl was never there. */
export async function readState(database: Queryable): Promise<MigrationState> {
  const { rows } = await database.query<{ exists: boolean }>(FIND_STATE);
  if (rows[0]?.exists !== true) return NO_PHASE;
  return await readRecordedState(database);
}

/** The same where the bookkeeping is known to be there. */
export async function readRecordedState(database: Queryable): Promise<MigrationState> {
  const [row] = (await database.query<StateRow & Record<string, unknown>>(READ_STATE)).rows;
  return row === undefined ? NO_PHASE : parseState(row);
}

/** Reads the earlier records of a side, the newest first. */
export async function readHistory(database: Queryable, limit: number): Promise<MigrationState[]> {
  const { rows } = await database.query<StateRow & Record<string, unknown>>(READ_HISTORY, [limit]);
  return rows.map(parseState);
}

/**
 * Copies the record of the side that decides to the other one, in one transaction: what writes there under the old record
 * ends first. Changes nothing where the epoch there is as high.
 */
export function copyState(state: MigrationState): Statement[] {
  const { phase, writeMode, epoch, primary, keepLocalCurrent, phaseSince, changedAt, changedBy, reason } = state;
  return [
    {
      text: COPY_STATE,
      values: [
        phase,
        writeMode,
        epoch,
        primary,
        keepLocalCurrent,
        phaseSince,
        changedAt,
        changedBy,
        reason,
        [...state.overriddenGates],
      ],
    },
  ];
}

export function parseState(row: StateRow): MigrationState {
  const { attempt: token, target_phase: targetPhase, deadline } = row;
  return {
    phase: row.phase,
    writeMode: row.write_mode,
    epoch: row.epoch,
    primary: row.primary_side,
    keepLocalCurrent: row.keep_local_current,
    phaseSince: formatInstantText(row.phase_since),
    changedAt: formatInstantText(row.changed_at),
    changedBy: row.changed_by,
    reason: row.reason,
    overriddenGates: JSON.parse(row.overridden_gates) as string[],
    attempt:
      token === null || targetPhase === null || deadline === null
        ? null
        : { token, targetPhase, deadline: formatInstantText(deadline) },
  };
}

/** Where the migration stands, as the side has it on record. */
export const RECORDED_STATE: Question<MigrationState> = {
  text: `select ${STATE_COLUMNS} from sensorctl.state`,
  parse: ([row]) => (row === undefined ? NO_PHASE : parseState(row as unknown as StateRow)),
};

/** The server's clock, in µs since 1970; the cheapest of all questions. */
export const SERVER_CLOCK: Question<number> = {
  text: `select ${microsOf('clock_timestamp()')} as now`,
  parse: (rows) => Number(rows[0]?.now),
};
