import { asUnreachable, findSilent, type Database } from '../../db/database.js';
import { assertDistinct } from '../../db/identity.js';
import type { MigrationState, Phase } from '../../domain/migration.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import { ConflictError, SensorctlError, UsageError } from '../../errors.js';
import type { Logger } from '../../logger.js';
import { assertBookkeeping } from '../../repository/ledger/bookkeeping-schema.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { planTables } from '../../repository/compare/plan-tables.js';
import { recordTables } from '../../repository/cutover/recorded-tables.js';
import { copyRecord, findDecidingState, type DecidingState } from '../../repository/phase/deciding-state.js';
import { readHistory } from '../../repository/phase/state.js';
import { callOffOverdue, changePhase, recordFirstPhase, type Change } from '../../repository/phase/transition.js';
import { describeFault } from '../../db/sqlstate.js';
import { measureGates, type Checks } from './gates.js';
import type { CutoverReport, Gate, StepName } from './cutover-report.js';
import { switchPrimary, type SwitchOutcome } from './switch.js';

export interface CutoverRequest {
  /** The phase to go to, or one back; null shows where the migration stands. */
  readonly to: Phase | 'back' | null;
  readonly dryRun: boolean;
  /** Overrides gates that are not met; a reason is then recorded. */
  readonly force: boolean;
  readonly reason: string | null;
  /** In phase 3, local is written as the secondary. */
  readonly keepLocalCurrent: boolean;
  readonly minSoakMs: number;
  readonly maxPauseMs: number;
  /** Ends the sessions of other programs whose transactions hold a switch up. */
  readonly endWriters: boolean;
  /** The tables of the migration. */
  readonly selection: TableSelection;
  /** Who asks, for the record. */
  readonly by: string;
}

export interface CutoverHooks {
  readonly stop: AbortSignal;
  readonly logger: Logger;
  /** Asked once every gate is met or overridden; throws where the operator does not agree. */
  readonly confirm: (plan: CutoverReport) => Promise<void>;
  readonly onGate: (name: string) => void;
  readonly onStep: (name: StepName, detail: string) => void | Promise<void>;
}

export type CutoverSides = Readonly<Record<Side, Database>>;

/**
 * Shows where the migration stands, or changes its phase once every gate is met. A gate that is not met is a result:
 * nothing is changed then. Throws a ConflictError where somebody else changes the phase.
 */
export async function cutover(
  sides: CutoverSides,
  request: CutoverRequest,
  { checks, hooks }: { checks: Checks; hooks: CutoverHooks },
): Promise<CutoverReport> {
  try {
    return await new Cutover(sides, request, checks, hooks).run();
  } catch (error) {
    if (error instanceof SensorctlError) throw error;
    throw asUnreachable(error, await findSilent(sides.local, sides.ec2));
  }
}

class Cutover {
  constructor(
    private readonly sides: CutoverSides,
    private readonly request: CutoverRequest,
    private readonly checks: Checks,
    private readonly hooks: CutoverHooks,
  ) {}

  async run(): Promise<CutoverReport> {
    const { request } = this;
    let found = await findDecidingState(this.sides, null, this.hooks.logger);
    if (request.to === null) return await this.#report(found, {});
    await assertDistinct(this.sides.local.pool, this.sides.ec2.pool);
    await Promise.all([this.sides.local, this.sides.ec2].map(assertBookkeeping));
    if (!request.dryRun && found.state.attempt !== null) {
      await callOffOverdue(found.primary, request.by);
      found = await findDecidingState(this.sides);
    }
    const target = targetOf(request.to, found.state);
    if (target === found.state.phase) return await this.#report(found, {});
    if (found.state.attempt !== null) throw underWay(found.state);
    return await this.#change(found, target);
  }

  async #change(found: DecidingState, target: Phase): Promise<CutoverReport> {
    const { request, hooks, sides, checks } = this;
    const { minSoakMs, selection, force, reason, by } = request;
    const gates = await measureGates({
      sides,
      state: found.state,
      target,
      minSoakMs,
      selection,
      checks,
      dryRun: request.dryRun,
      stop: hooks.stop,
      onGate: hooks.onGate,
    });
    const failed = gates.filter(({ passed }) => !passed);
    const isHeld = failed.some(({ forcible }) => !(force && forcible));
    const plan = await this.#report(found, { gates });
    if (request.dryRun || isHeld) return plan;
    await hooks.confirm(plan);
    const why: Change = { by, reason, overriddenGates: failed.map(({ name }) => name) };
    if (target !== 3 && found.state.phase !== 3) return await this.#record(found, { target, why, gates });
    const outcome = await this.#switch(found, { target, why });
    return await this.#report(await findDecidingState(sides, sides[outcome.state.primary].side), {
      gates,
      steps: outcome.steps,
      pauseMs: outcome.pauseMs,
      changed: true,
    });
  }

  /** Between phases 1 and 2 local stays the primary: the record changes, and nothing else. */
  async #record(
    { state, primary }: DecidingState,
    { target, why, gates }: { target: 1 | 2; why: Change; gates: readonly Gate[] },
  ): Promise<CutoverReport> {
    const changed =
      state.phase === null
        ? await recordFirstPhase(primary, why)
        : await changePhase(primary, state, { ...why, phase: target });
    await this.#recordTables(primary);
    // A copy only: local decides, and EC2 gets the record with the next change at the latest.
    await copyRecord(this.sides[otherSide(primary.side)], changed).catch((error: unknown) => {
      this.hooks.logger.warn('the other side did not take the copy of the record', { error: describeFault(error) });
    });
    return await this.#report({ state: changed, primary }, { gates, changed: true });
  }

  /** A later table is new, and nothing is said of it. */
  async #recordTables(primary: Database): Promise<void> {
    const sides = { primary, secondary: this.sides[otherSide(primary.side)] };
    const { pairs, notHandled } = await planTables(sides, { selection: this.request.selection, names: [] });
    const names = [...pairs.map(({ name }) => name), ...notHandled.map(({ table }) => table)];
    await recordTables(primary.pool, names);
  }

  async #switch(
    { state, primary }: DecidingState,
    { target, why }: { target: Phase; why: Change },
  ): Promise<SwitchOutcome> {
    const { maxPauseMs, endWriters, keepLocalCurrent, force } = this.request;
    const { stop, logger, onStep } = this.hooks;
    return await switchPrimary({
      from: primary,
      to: this.sides[otherSide(primary.side)],
      state,
      targetPhase: target,
      why,
      maxPauseMs,
      endWriters,
      force,
      keepLocalCurrent: target === 3 && keepLocalCurrent,
      stop,
      logger,
      onStep,
    });
  }

  async #report(
    { state, primary }: DecidingState,
    { gates = [], steps = [], pauseMs = null, changed = false }: Partial<CutoverReport>,
  ): Promise<CutoverReport> {
    const { phase, writeMode, epoch, keepLocalCurrent, attempt, changedAt, changedBy, reason } = state;
    const history = phase === null ? [] : await readHistory(primary.pool, HISTORY_SHOWN);
    return {
      phase,
      writeMode,
      epoch,
      primary: primary.side,
      keepLocalCurrent,
      gates,
      changed,
      steps,
      pauseMs,
      attempt,
      changedAt,
      changedBy,
      reason,
      history: history.map((each) => ({
        epoch: each.epoch,
        phase: each.phase,
        writeMode: each.writeMode,
        changedAt: each.changedAt,
        changedBy: each.changedBy,
        reason: each.reason,
        overriddenGates: each.overriddenGates,
      })),
    };
  }
}

const HISTORY_SHOWN = 10;

/** Throws a UsageError for a phase that does not follow from the one that is recorded. */
function targetOf(to: Phase | 'back', { phase }: MigrationState): Phase {
  if (to === 'back') {
    if (phase === 3) return 2;
    if (phase === 2) return 1;
    throw new UsageError(`there is no phase before ${phase === null ? 'the first' : 'phase 1'}`, {
      code: 'no-phase-before',
    });
  }
  const last = phase ?? 0;
  if (to === last || to === last + 1) return to;
  throw new UsageError(`phase ${to} does not follow phase ${phase ?? 'none'}`, {
    code: 'phase-out-of-order',
    facts: { step: to < last ? 'back' : last + 1 },
  });
}

function underWay({ attempt, changedBy, primary }: MigrationState): ConflictError {
  return new ConflictError(
    `a change to phase ${attempt?.targetPhase ?? '?'} is under way, begun by ${changedBy ?? 'somebody'}; ${sideTitle(primary)} lets anyone call it off at ${attempt?.deadline ?? '?'}`,
    { code: 'change-under-way' },
  );
}
