import type { Database } from '../../db/database.js';
import { runTransaction, type Statement } from '../../db/transaction.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import type { Attempt, MigrationState, Phase } from '../../domain/migration.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { ConflictError } from '../../errors.js';
import { LOCK_FENCE } from './fence.js';
import { parseState, readRecordedState, STATE_COLUMNS, type StateRow } from './state.js';

/** Who changes the record, and why. */
export interface Change {
  readonly by: string;
  readonly reason: string | null;
  readonly overriddenGates: readonly string[];
}

const RECORD_FIRST = `
  insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by, reason, overridden_gates)
  values (1, 'dual-write', 1, 'local', $1, $2, $3) on conflict do nothing`;

const CHANGED =
  'epoch = epoch + 1, changed_at = clock_timestamp(), changed_by = $2, reason = $3, overridden_gates = $4';

const CHANGE_PHASE = `
  update sensorctl.state set phase = $5, phase_since = clock_timestamp(), ${CHANGED}
  where epoch = $1 and attempt is null and $5 in (1, 2)`;

const BEGIN_DRAINING = `
  update sensorctl.state set write_mode = 'draining', attempt = $5, target_phase = $6,
    deadline = clock_timestamp() + make_interval(secs => $7::float8 / 1000), ${CHANGED}
  where epoch = $1 and attempt is null`;

const COMMIT_SWITCH = `
  update sensorctl.state set phase = target_phase, primary_side = $2, keep_local_current = $3,
    write_mode = case when target_phase = 3 and not $3 then 'ec2-only' else 'dual-write' end,
    attempt = null, target_phase = null, deadline = null,
    epoch = epoch + 1, phase_since = clock_timestamp(), changed_at = clock_timestamp()
  where write_mode = 'draining' and attempt = $1 and deadline > clock_timestamp()`;

/** Of an attempt by its own process, or (without a token) of any whose deadline is past. */
const CALL_OFF = `
  update sensorctl.state set write_mode = case when phase = 3 and not keep_local_current then 'ec2-only' else 'dual-write' end,
    attempt = null, target_phase = null, deadline = null,
    epoch = epoch + 1, changed_at = clock_timestamp(), changed_by = $2, reason = $3, overridden_gates = '{}'
  where write_mode = 'draining' and (attempt = $1::uuid or $1 is null and deadline <= clock_timestamp())`;

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
  { keepLocalCurrent }: { readonly keepLocalCurrent: boolean },
): Promise<MigrationState> {
  const values = [token, otherSide(primary.side), keepLocalCurrent];
  return await change(primary, COMMIT_SWITCH, values, [LOCK_FENCE]);
}

/**
 * Goes back to the phase that the attempt began in; without a token, whatever attempt has outlived its deadline. False where
 * there is none, for it was committed or called off already.
 */
export async function callOff(
  { pool }: Database,
  { token }: { readonly token: string | null },
  { by, reason }: Pick<Change, 'by' | 'reason'>,
): Promise<boolean> {
  return (await pool.query(CALL_OFF, [token, by, reason])).rowCount === 1;
}

/** The same for an attempt that has outlived its deadline, by the clock of the primary; anyone may. */
export async function callOffOverdue(primary: Database, by: string): Promise<boolean> {
  return await callOff(primary, { token: null }, { by, reason: 'it was not done by its deadline' });
}

function known(epoch: number, { by, reason, overriddenGates }: Change): unknown[] {
  return [epoch, by, reason, [...overriddenGates]];
}

async function change(
  database: Database,
  text: string,
  values: unknown[],
  before: readonly Statement[] = [],
): Promise<MigrationState> {
  try {
    const returning = { text: `${text} returning ${STATE_COLUMNS}`, values };
    const row = (await runTransaction(database.pool, [...before, returning])).at(-1)?.rows[0];
    if (row !== undefined) return parseState(row as unknown as StateRow);
  } catch (error) {
    // The constraints say the same as the conditions above.
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
  return new ConflictError(what, { next: 'see where the migration stands: sensorctl cutover' });
}
