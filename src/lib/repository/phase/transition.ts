import type { Database } from '../../db/database.js';
import { runTransaction } from '../../db/transaction.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import type { Attempt, MigrationState, Phase } from '../../domain/migration.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { ConflictError } from '../../errors.js';
import type { Gate } from './gate.js';
import { parseState, readRecordedState, STATE_COLUMNS, type StateRow } from './state.js';

/** Who changes the record, and why. */
export interface Change {
  readonly by: string;
  readonly reason: string | null;
  readonly overriddenGates: readonly string[];
}

/** Each is a function of the schema, which holds the rule and who may call it; they answer the record, or nothing. */
const RECORD_FIRST = 'sensorctl.record_first_phase($1, $2, $3)';
const CHANGE_PHASE = 'sensorctl.change_phase($1, $2, $3, $4, $5)';
const BEGIN_DRAINING = 'sensorctl.begin_draining($1, $2, $3, $4, $5, $6, $7)';
const COMMIT_SWITCH = 'sensorctl.commit_switch($1, $2, $3)';

const CALL_OFF = 'select sensorctl.call_off($1, $2, $3) as called_off';
const CALL_OFF_OVERDUE = 'select sensorctl.call_off_overdue($1, $2) as called_off';

/** Records phase 1 where none was recorded. Throws a ConflictError where somebody did so first. */
export async function recordFirstPhase(
  local: Database,
  { by, reason, overriddenGates }: Change,
): Promise<MigrationState> {
  return await change(local, RECORD_FIRST, [by, reason, [...overriddenGates]]);
}

/** Changes between phases 1 and 2. Throws a ConflictError where the record is no longer the one that was read. */
export async function changePhase(
  local: Database,
  { epoch }: MigrationState,
  { phase, ...why }: Change & { readonly phase: 1 | 2 },
): Promise<MigrationState> {
  return await change(local, CHANGE_PHASE, [...known(epoch, why), phase]);
}

/**
 * Begins a change of the primary: no batch is committed any more until the attempt is committed or called off. Throws a
 * ConflictError where the record is no longer the one that was read.
 */
export async function beginDraining(
  primary: Database,
  { epoch }: MigrationState,
  { token, targetPhase, maxPauseMs, ...why }: Change & { token: string; targetPhase: Phase; maxPauseMs: number },
): Promise<MigrationState> {
  return await change(primary, BEGIN_DRAINING, [...known(epoch, why), token, targetPhase, maxPauseMs]);
}

/**
 * The one commit point of a switch, on the primary that is given up. Throws a ConflictError where the attempt was called
 * off: its deadline was past.
 */
export async function commitSwitch(
  primary: Database,
  { token }: Pick<Attempt, 'token'>,
  { keepLocalCurrent, gate }: { readonly keepLocalCurrent: boolean; readonly gate?: Gate },
): Promise<MigrationState> {
  const values = [token, otherSide(primary.side), keepLocalCurrent];
  return await change(primary, COMMIT_SWITCH, values, gate);
}

/** Goes back to the phase that the attempt began in. False where it was committed or called off already. */
export async function callOff(
  { pool }: Database,
  { token }: Pick<Attempt, 'token'>,
  { by, reason }: Pick<Change, 'by' | 'reason'>,
): Promise<boolean> {
  return (await pool.query<{ called_off: number }>(CALL_OFF, [token, by, reason])).rows[0]?.called_off === 1;
}

/** The same for whatever attempt has outlived its deadline, by the clock of the primary; anyone who writes may. */
export async function callOffOverdue({ pool }: Database, by: string): Promise<boolean> {
  const values = [by, 'it was not done by its deadline'];
  return (await pool.query<{ called_off: number }>(CALL_OFF_OVERDUE, values)).rows[0]?.called_off === 1;
}

function known(epoch: number, { by, reason, overriddenGates }: Change): unknown[] {
  return [epoch, by, reason, [...overriddenGates]];
}

async function change(database: Database, call: string, values: unknown[], gate?: Gate): Promise<MigrationState> {
  try {
    const text = `select ${STATE_COLUMNS} from ${call}`;
    const row = await (gate?.commit(text, values) ??
      runTransaction(database.pool, [{ text, values }]).then(([result]) => result?.rows[0]));
    if (row !== undefined) return parseState(row as unknown as StateRow);
  } catch (error) {
    // The constraints say the same as the functions.
    if (sqlstateOf(error) !== '23514') throw error;
  }
  throw await conflictOn(database);
}

async function conflictOn(database: Database): Promise<ConflictError> {
  const { attempt, phase, changedBy, changedAt } = await readRecordedState(database.pool);
  const by = `${changedBy ?? 'somebody'} at ${changedAt ?? 'an unknown time'}`;
  const what =
    attempt === null
      ? `the record on ${sideTitle(database.side)} was changed meanwhile: phase ${phase ?? 'none'}, by ${by}`
      : `a change to phase ${attempt.targetPhase} is under way, begun by ${by}; it is called off at ${attempt.deadline}`;
  return new ConflictError(what, { code: 'phase-changed' });
}
