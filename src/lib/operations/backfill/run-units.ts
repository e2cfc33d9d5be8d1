import type pg from 'pg';
import { type Database, withSession } from '../../db/database.js';
import { isOfTheTable, isPassing, isTooMuch } from '../../db/sqlstate.js';
import { onOneConnection } from '../../db/transaction.js';
import { backoffMs, pause, workTogether } from '../../domain/async.js';
import type { BackfillCounts, CountsByTable } from './backfill-report.js';
import type { Throttle } from './throttle.js';
import { runUnit, StraightCopyFailed, UnitNotAlone, type UnitContext } from '../../repository/backfill/run-unit.js';
import {
  isDivisible,
  readRunState,
  readTableCounts,
  type RunState,
  splitUnit,
  type Unit,
} from '../../repository/backfill/unit-store.js';
import { endingStalledCopies, endStalledCopies } from '../../repository/repair/stalled-copies.js';

export interface RunUnitsOptions {
  readonly context: Omit<UnitContext, 'onClaim'>;
  readonly jobs: number;
  readonly throttle: Throttle;
  readonly stop: AbortSignal;
  readonly onProgress: (state: RunState) => void;
}

const TRIES = 5;
const RETRY_MS = 500;
const OTHERS_MS = 300;
const PROGRESS_MS = 500;

/**
 * Works through the units of a run, `jobs` side by side, until none is open, whoever else works on them too: what
 * another process holds is waited for, and taken over when that process dies. Ends early when told to stop.
 */
export async function runUnits(options: RunUnitsOptions): Promise<CountsByTable> {
  const { context, onProgress } = options;
  const read = async (): Promise<RunState> =>
    await readRunState(context.target.pool, context.runId, [...context.failed.keys()]);
  // A progress that cannot be read now is read later; the work itself says what is wrong.
  const timer = setInterval(() => void read().then(onProgress, () => undefined), PROGRESS_MS);
  try {
    const team: Worker[] = [];
    const { open } = await read();
    const places = Array.from({ length: Math.max(1, Math.min(options.jobs, open)) });
    await workTogether(places, options.stop, async (_, stop) => {
      const worker = new Worker({ ...options, stop }, team);
      team.push(worker);
      await worker.work();
    });
  } finally {
    clearInterval(timer);
  }
  return await readCounts(context);
}

/** Of all units that are done, whoever did them. */
async function readCounts({ target, runId }: RunUnitsOptions['context']): Promise<CountsByTable> {
  const counts = (await readTableCounts(target.pool, runId)).map(
    ({ table, units, ...of }): [string, BackfillCounts] => [
      table,
      {
        ...{ ranges: units, rowsCopied: of.copied, rowsInserted: of.inserted, rowsSkipped: of.skipped },
        ...{ rowsCorrected: of.corrected, rowsRefused: of.refused, rowsExtra: of.extra, rowsPruned: of.pruned },
      },
    ],
  );
  return new Map(counts);
}

class Worker {
  #claimed: Unit | null = null;
  #tries = 1;

  constructor(
    private readonly options: RunUnitsOptions,
    /** All workers of this process. */
    private readonly team: readonly Worker[],
  ) {}

  async work(): Promise<void> {
    const { stop, context } = this.options;
    for (let ended = false; !ended && !stop.aborted;) {
      try {
        await withSession(context.source, (from) => withSession(context.target, (to) => this.#claimAll(from, to)));
        ended = true;
      } catch (error) {
        await this.#handle(error);
      }
    }
  }

  async #claimAll(from: pg.Client, to: pg.Client): Promise<void> {
    const { context, throttle, stop } = this.options;
    while (!stop.aborted) {
      await throttle.wait();
      this.#claimed = null;
      const onClaim = (unit: Unit): void => void (this.#claimed = unit);
      const outcome = await endingStalledCopies([context.source, context.target], () =>
        runUnit(from, to, { ...context, onClaim }),
      );
      if (outcome === null) {
        if (await this.#areOthersDone()) return;
        continue;
      }
      this.#tries = 1;
      throttle.copied(outcome.counts.copied, outcome.commitMs);
    }
  }

  /** Waits a moment for units of other processes. What is in the hands of this one's own workers they see through. */
  async #areOthersDone(): Promise<boolean> {
    const { context, stop } = this.options;
    const { open } = await readRunState(context.target.pool, context.runId, [...context.failed.keys()]);
    if (open <= this.team.filter((worker) => worker.#claimed !== null).length) return true;
    await Promise.all([context.source, context.target].map((side) => endStalledCopies(side)));
    await pause(OTHERS_MS, stop);
    return false;
  }

  async #handle(error: unknown): Promise<void> {
    const { context, stop } = this.options;
    const unit = this.#claimed;
    if (error instanceof StraightCopyFailed) {
      context.viaStaging.add(error.unitId);
      return;
    }
    if (error instanceof UnitNotAlone) {
      context.alone.add(error.unitId);
      return;
    }
    if (unit !== null && isTooMuch(error) && isDivisible(unit)) {
      await splitUnit(context.target.pool, context.runId, unit);
      return;
    }
    if (unit !== null && isOfTheTable(error)) {
      context.failed.set(unit.table, error as Error);
      return;
    }
    if (!isPassing(error) || this.#tries === TRIES) throw error;
    this.#tries += 1;
    await pause(backoffMs(this.#tries - 1, RETRY_MS), stop);
  }
}

const ROUND_TRIPS = 5;

/**
 * The least of several round trips, in ms: a busy machine makes each longer, and none shorter than the way. One that takes
 * at most `nearMs` is enough. On one connection: opening one takes several.
 */
export async function measureRoundTrip({ pool }: Pick<Database, 'pool'>, nearMs: number): Promise<number> {
  return await onOneConnection(pool, async (client) => {
    let leastMs = Infinity;
    for (let count = 0; count < ROUND_TRIPS && leastMs > nearMs; count += 1) {
      const startedAt = performance.now();
      await client.query('select');
      leastMs = Math.min(leastMs, performance.now() - startedAt);
    }
    return leastMs;
  });
}
