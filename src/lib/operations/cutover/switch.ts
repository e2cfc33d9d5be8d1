import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { withRetries } from '../../domain/retry.js';
import { counted, listOf } from '../../domain/words.js';
import type { MigrationState, Phase } from '../../domain/migration.js';
import { describeHolders, endHoldersSql, readHolders } from '../../db/lock-holders.js';
import { sideTitle } from '../../domain/side.js';
import {
  ConflictError,
  CutoverRefusedError,
  InterruptedError,
  SensorctlError,
  UnreachableError,
  type Problem,
} from '../../errors.js';
import type { Logger } from '../../logger.js';
import { copyRecord } from '../../repository/phase/deciding-state.js';
import { drainLedger, shortenLedger } from '../../repository/cutover/drain-ledger.js';
import { endWriters, waitForWriters } from '../../repository/phase/fence.js';
import { Gate, type GateHolder } from '../../repository/phase/gate.js';
import { proveUnproven, type Proof } from '../../repository/cutover/prove-unproven.js';
import { readRecordedState } from '../../repository/phase/state.js';
import { beginDraining, callOff, commitSwitch, type Change } from '../../repository/phase/transition.js';
import { moveQuarantine } from '../../repository/ledger/quarantine.js';
import { STEPS, type Step, type StepName } from './cutover-report.js';
import { passSequences } from './pass-sequences.js';
import { refreshAfterSwitch } from './refresh-views.js';

export interface SwitchOptions {
  /** The primary that is given up, and the side that becomes it. */
  readonly from: Database;
  readonly to: Database;
  /** The record as it was read, which this switch replaces. */
  readonly state: MigrationState;
  readonly targetPhase: Phase;
  readonly keepLocalCurrent: boolean;
  readonly why: Change;
  /** How long batches may wait, in ms; then it goes back. */
  readonly maxPauseMs: number;
  /** Sessions of other programs whose transactions hold it up are ended. */
  readonly endWriters: boolean;
  /** Differences and refused readings do not stop it. */
  readonly force: boolean;
  readonly stop: AbortSignal;
  readonly logger: Logger;
  /** Called before each step. */
  readonly onStep: (name: StepName, detail: string) => void | Promise<void>;
}

export interface SwitchOutcome {
  readonly state: MigrationState;
  readonly steps: readonly Step[];
  /** From the record of draining until the new primary takes batches. */
  readonly pauseMs: number;
}

/** Transactions of consumers may take so long to end by themselves, in ms; then they are ended on the server. */
const WRITERS_MS = 2_000;
const RETRY_MS = 200;
/** A round before the pause that takes no longer, in ms, leaves little. */
const LITTLE_MS = 250;
/** A round that takes more than this share of the one before is the last. */
const SHORTER = 0.7;
const ENDED: Problem = { code: 'cutover-ended' };

/**
 * Changes the primary. Up to the commit point everything that fails, takes too long or is stopped goes back to the phase
 * before, here or, when this process is killed, by any consumer after the deadline. After it the switch is completed, here
 * or by any consumer. Throws where it went back.
 */
export async function switchPrimary(options: SwitchOptions): Promise<SwitchOutcome> {
  return await new Switch(options).run();
}

class Switch {
  readonly #token = randomUUID();
  readonly #steps: Step[] = [];
  readonly #expired = new AbortController();
  readonly #stop: AbortSignal;
  #isCommitSent = false;
  #gate: Gate | null = null;

  constructor(private readonly options: SwitchOptions) {
    this.#stop = AbortSignal.any([options.stop, this.#expired.signal]);
  }

  async run(): Promise<SwitchOutcome> {
    await this.#step('prove', () => this.#shorten()).catch((error: unknown) => {
      throw this.options.stop.aborted ? interrupted(error) : error;
    });
    const gate = await Gate.open(this.options.from);
    this.#gate = gate;
    const pausedAt = performance.now();
    const changed = await this.#commitOrGoBack().finally(() => gate.release());
    await this.#step('complete', () => this.#complete(changed));
    const pauseMs = Math.round(performance.now() - pausedAt);
    await this.#step('refresh', () => this.#refresh());
    return { state: changed, steps: this.#steps, pauseMs };
  }

  /**
   * What can be done while consumers write: the pause that follows is short. A round finds what was written during the one
   * before: there are more while each takes clearly less time than that, and more than little.
   */
  async #shorten(): Promise<string> {
    const { onStep } = this.options;
    let brought = 0;
    const onBrought = (rows: number): void => {
      brought += rows;
      void onStep('prove', `${counted(brought, 'missed row')} brought`);
    };
    const first = await this.#shortenOnce(onBrought);
    for (let [last, ms] = [Infinity, first.ms]; ms > LITTLE_MS && ms < last * SHORTER;) {
      last = ms;
      ({ ms } = await this.#shortenOnce(onBrought));
    }
    const { rows, ranges } = first.proof;
    return `${counted(rows, 'row')} in ${counted(ranges, 'range')} written since the last proof`;
  }

  async #shortenOnce(onBrought: (rows: number) => void): Promise<{ proof: Proof; ms: number }> {
    const { from: primary, to: secondary, stop } = this.options;
    const startedAt = performance.now();
    await shortenLedger({ primary, secondary }, stop, onBrought);
    const proof = await proveUnproven({ primary, secondary }, stop);
    return { proof, ms: performance.now() - startedAt };
  }

  async #commitOrGoBack(): Promise<MigrationState> {
    const timer = setTimeout(() => this.#expired.abort(), this.options.maxPauseMs);
    try {
      await this.#step('pause', () => this.#pause());
      await this.#step('wait for writers', () => this.#waitForWriters());
      await this.#step('drain', () => this.#drain());
      // Side by side: to a distant EC2 each has round trips of its own.
      await Promise.all([
        this.#step('compare', () => this.#compare()),
        this.#step('sequences', () => passSequences(this.options, this.options.force)),
      ]);
      return await this.#step('switch', () => this.#commit());
    } catch (error) {
      return await this.#goBack(error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #pause(): Promise<string> {
    const { from, state, why, targetPhase, maxPauseMs } = this.options;
    await beginDraining(from, state, { token: this.#token, targetPhase, maxPauseMs, ...why });
    return 'no batch is committed from here on';
  }

  /** Those of consumers on the side that is given up; on the other one, of a backfill that relies on its being none. */
  async #waitForWriters(): Promise<string> {
    const { from, to } = this.options;
    const ended = (await Promise.all([from, to].map((side) => endHanging(side)))).reduce((sum, each) => sum + each);
    await this.#closeGate();
    return ended === 0
      ? 'every transaction has ended'
      : `${counted(ended, 'transaction that hung was', 'transactions that hung were')} ended`;
  }

  /** Other programs wait at their first write from here on; those that have begun are waited for. */
  async #closeGate(): Promise<void> {
    const { from, endWriters: ends } = this.options;
    const gate = this.#gate;
    if (gate === null || (await gate.close({ stop: this.#stop, ends }))) return;
    const holders = (await gate.readHolders()).map(describeGateHolder).join('; ');
    if (holders === '') return;
    throw new CutoverRefusedError(`programs that write to ${sideTitle(from.side)} have open transactions: ${holders}`, {
      code: 'other-writers-busy',
    });
  }

  async #drain(): Promise<string> {
    const { from: primary, to: secondary, force, targetPhase } = this.options;
    const { refused } = await drainLedger({ primary, secondary }, this.#stop);
    this.#assertInTime();
    if (refused > 0 && !force) {
      throw new CutoverRefusedError(
        `${sideTitle(secondary.side)} refuses ${counted(refused, 'reading')} that ${sideTitle(primary.side)} holds`,
        { code: 'readings-refused-in-switch' },
      );
    }
    const moved = targetPhase === 2 ? await moveQuarantine(primary.pool, secondary.pool) : 0;
    const left =
      refused === 0 ? 'the ledger is empty' : `${counted(refused, 'refused reading')} left in it, overridden`;
    return moved === 0 ? left : `${left}; ${counted(moved, 'quarantine record')} brought`;
  }

  async #compare(): Promise<string> {
    const { from: primary, to: secondary, force } = this.options;
    const proof = await proveUnproven({ primary, secondary }, this.#stop, { settleMs: 0, withWhole: true });
    const { ranges, rows, differing, whole, wholeDiffering, verified } = proof;
    const tables = [...differing.keys(), ...wholeDiffering];
    if (tables.length > 0 && !force) {
      throw new CutoverRefusedError(`the sides differ in ${tables.join(', ')}`, {
        code: 'rows-differ',
      });
    }
    if (tables.length > 0) return `differences in ${tables.join(', ')}, overridden`;
    const identical = [`${counted(rows, 'row')} in ${counted(ranges, 'range')}`, ...whole].join(', ');
    return `identical: ${identical}${verified.length === 0 ? '' : `; verified as it was repaired: ${listOf(verified)}`}`;
  }

  async #commit(): Promise<[MigrationState, string]> {
    const { from, keepLocalCurrent } = this.options;
    this.#isCommitSent = true;
    const gate = this.#gate === null ? {} : { gate: this.#gate };
    const changed = await commitSwitch(from, { token: this.#token }, { keepLocalCurrent, ...gate });
    return [changed, 'from here on it can only be completed'];
  }

  /**
   * Before the commit point: back to the phase before, with the consumers running. Throws, unless the record says that the
   * switch was committed after all and only the answer was lost.
   */
  async #goBack(error: unknown): Promise<MigrationState> {
    const { from, why, stop } = this.options;
    const reason = this.#reasonFor(error);
    const record = await this.#callOff({ by: why.by, reason });
    // Another operator may have been faster, and be through with it by now.
    const isUnanswered = this.#isCommitSent && !(error instanceof ConflictError);
    if (record !== null && isUnanswered && record.primary !== from.side) return record;
    if (record === null && this.#isCommitSent) throw notKnown(error, from);
    const how =
      record === null
        ? `${sideTitle(from.side)} does not answer: consumers call the change off once its deadline is past`
        : 'the phase is as it was, and consumers go on';
    if (stop.aborted) throw interrupted(error, how);
    const problem = (error instanceof SensorctlError ? error.problem : null) ?? ENDED;
    if (error instanceof ConflictError) throw error;
    const isAway = error instanceof UnreachableError || faultKind(error) === 'unavailable';
    const Failure = isAway && !this.#expired.signal.aborted ? UnreachableError : CutoverRefusedError;
    const outcome = record === null ? 'the cutover did not finish' : 'the cutover went back';
    throw new Failure(`${outcome}: ${reason}; ${how}`, { ...problem, cause: error });
  }

  /** Tries until the old primary answers or the deadline is past; answers its record then, null where it stays away. */
  async #callOff(why: Pick<Change, 'by' | 'reason'>): Promise<MigrationState | null> {
    const { from, maxPauseMs } = this.options;
    const until = performance.now() + maxPauseMs;
    const callOffOnce = async (): Promise<MigrationState> => {
      await callOff(from, { token: this.#token }, why);
      return await readRecordedState(from.pool);
    };
    const retryIf = (error: unknown): boolean => faultKind(error) === 'unavailable' && performance.now() <= until;
    return await withRetries(callOffOnce, { pauseMs: RETRY_MS, retryIf }).catch(() => null);
  }

  #reasonFor(error: unknown): string {
    if (error instanceof CutoverRefusedError && error.problem?.code === 'other-writers-busy') return error.message;
    if (this.#expired.signal.aborted) return `it was not done within ${this.options.maxPauseMs / 1000} s`;
    return this.options.stop.aborted ? 'the operator stopped it' : describeFault(error);
  }

  /** The record on the new primary lets it take batches. Consumers do the same when they find this undone. */
  async #complete(changed: MigrationState): Promise<string> {
    const { from, to, logger, maxPauseMs } = this.options;
    const until = performance.now() + maxPauseMs;
    await withRetries(() => copyRecord(to, changed), {
      pauseMs: RETRY_MS,
      retryIf: () => performance.now() <= until,
      onFailedAttempt: ({ error, pauseMs }) => {
        if (pauseMs === null) return;
        logger.warn(`${sideTitle(to.side)} does not take the record yet`, { error: describeFault(error) });
      },
    }).catch((error: unknown) => {
      throw notCompleted(error, from, to);
    });
    return `${sideTitle(to.side)} takes batches`;
  }

  /** The switch is done, whatever becomes of them. */
  async #refresh(): Promise<string> {
    const { to, stop, logger, onStep } = this.options;
    return await refreshAfterSwitch(to, {
      stop,
      onFailed: ({ label, statement }, error) => {
        logger.warn(`${label} was not refreshed on ${sideTitle(to.side)}`, {
          error,
          next: { code: 'view-not-refreshed', facts: { statement } },
        });
      },
      onProgress: (detail) => void onStep('refresh', detail),
    });
  }

  #assertInTime(): void {
    if (this.#stop.aborted) throw new CutoverRefusedError('it was stopped');
  }

  async #step(name: 'switch', work: () => Promise<[MigrationState, string]>): Promise<MigrationState>;
  async #step(name: StepName, work: () => Promise<string>): Promise<void>;
  async #step(name: StepName, work: () => Promise<string | [MigrationState, string]>): Promise<MigrationState | void> {
    const startedAt = performance.now();
    await this.options.onStep(name, '');
    if (STEPS.indexOf(name) < STEPS.indexOf('complete')) this.#assertInTime();
    const done = await work();
    const [state, detail] = typeof done === 'string' ? [undefined, done] : done;
    this.#steps.push({ name, ms: Math.round(performance.now() - startedAt), detail });
    return state;
  }
}

/** Waits for the transactions that hold the fence, ends those that hang, and answers how many. */
async function endHanging(side: Database): Promise<number> {
  if (await waitForWriters(side, WRITERS_MS)) return 0;
  const ended = await endWriters(side);
  if (await waitForWriters(side, WRITERS_MS)) return ended;
  const holders = await readHolders(side.pool);
  throw new CutoverRefusedError(
    `transactions on ${sideTitle(side.side)} neither end nor can be ended: ${describeHolders(holders)}`,
    {
      code: 'writers-hang',
      facts: { statement: endHoldersSql(holders) },
    },
  );
}

function describeGateHolder({ pid, role, application, query }: GateHolder): string {
  const who = pid === null ? 'a transaction' : `process ${pid}`;
  return `${who} of role ${role}${application === '' ? '' : ` (${application})`}, ${query}`;
}

function interrupted(cause: unknown, how = 'nothing was changed'): InterruptedError {
  return new InterruptedError(`the cutover was stopped; ${how}`, { ...ENDED, cause });
}

function notKnown(error: unknown, { side }: Database): Error {
  return new UnreachableError(
    `${sideTitle(side)} does not answer, and did not say whether it committed the switch: ${describeFault(error)}`,
    {
      code: 'switch-unknown',
      facts: { side },
      cause: error,
    },
  );
}

function notCompleted(error: unknown, from: Database, to: Database): Error {
  return new UnreachableError(
    `the switch is committed on ${sideTitle(from.side)}, and ${sideTitle(to.side)} does not take its record: ${describeFault(error)}`,
    {
      code: 'switch-incomplete',
      facts: { side: to.side },
      cause: error,
    },
  );
}
