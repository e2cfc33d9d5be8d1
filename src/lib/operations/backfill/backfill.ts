import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { asUnreachable, type Database, findSilent, withSession } from '../../db/database.js';
import { assertDistinct } from '../../db/identity.js';
import { otherSide } from '../../domain/side.js';
import { InterruptedError } from '../../errors.js';
import {
  addByTable,
  type BackfillCounts,
  type BackfillHooks,
  type BackfillPlan,
  type BackfillProgress,
  type BackfillReport,
  type BackfillRequest,
  type BackfillSides,
  type CountsByTable,
  NO_ROWS,
  sumOfTables,
} from './backfill-report.js';
import { findTables, isUpdated, placeUnits, type BackfillTables } from './backfill-tables.js';
import { planUnits } from './plan-units.js';
import { countMissed, repairLedger } from './repair-ledger.js';
import { measureRoundTrip, runUnits } from './run-units.js';
import { Throttle } from './throttle.js';
import type { UnitContext } from '../../repository/backfill/run-unit.js';
import {
  addUnits,
  type BackfillRun,
  dropUnits,
  finishRun,
  joinRun,
  markPlanned,
  type OldestTimes,
  type PlannedUnit,
  readOldestTimes,
  readRun,
  readTouched,
  tryPlanning,
} from '../../repository/backfill/unit-store.js';
import { agreeOnMethod, type DigestMethod } from '../../repository/compare/digest-method.js';
import { queryableOf } from '../../repository/compare/sides.js';
import { type LeftOut, resolveWindow } from '../../repository/compare/window.js';
import { assertBookkeeping } from '../../repository/ledger/bookkeeping-schema.js';
import { enterRefused, type Gap, readGaps, readNewestEntry } from '../../repository/ledger/ledger.js';
import { NONE_UPDATED, repairUpdated } from '../../repository/repair/repair-updated.js';
import { describeFault, isOfTheTable } from '../../db/sqlstate.js';
import { namedInLedger, type RefusedRow } from '../../repository/repair/bring-rows.js';
import { isTimeAxis } from '../../repository/tables/axis.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import {
  byKey,
  ImpossibleTransferError,
  planTransfer,
  planTransferOf,
  type Transfer,
} from '../../repository/repair/transfer.js';
import { readOldestRow, refreshAggregates } from '../../repository/timescaledb/continuous-aggregates.js';
import { restoreAbandonedPolicies, withPausedPolicies } from '../../repository/timescaledb/paused-jobs.js';

/** Together with what they read and write, they keep two cores of each server busy, beside live writes. */
const NEAR_JOBS = 2;
const FAR_JOBS = 8;
/** Planned side by side. */
const TABLES_AT_ONCE = 4;
const LONG_ROUND_TRIP_MS = 20;
const PLANNING_POLL_MS = 300;
/** One line in ten seconds of waiting. */
const LOOKS_A_LINE = 33;
/** Seconds that what is repaired at once may take at a rate that was asked for. */
const RATE_SECONDS = 2;
/** The rows a second that a backfill copies on a usual machine, for the estimate. */
const USUAL_ROWS_A_SECOND = 50_000;

/**
 * Brings to the target what it lacks: what the ledger says, then, where a range is asked for, what differs in it or all
 * of it. Verified rows only count. Throws when a side fails for good, or when it was stopped before it was done.
 */
export async function backfill(
  sides: BackfillSides,
  request: BackfillRequest,
  hooks: BackfillHooks,
): Promise<BackfillReport> {
  return await namingTheSide(sides, request, () => new Backfill(sides, request, hooks).run());
}

/** Plans what `backfill` would do; changes nothing. */
export async function planBackfill(
  sides: BackfillSides,
  request: BackfillRequest,
  hooks: BackfillHooks,
): Promise<BackfillPlan> {
  return await namingTheSide(sides, request, () => new Backfill(sides, request, hooks).plan());
}

/** Both sides have to be prepared. A failure is that of the side which answered so, or does not answer at all. */
async function namingTheSide<Result>(
  sides: BackfillSides,
  { target }: BackfillRequest,
  work: () => Promise<Result>,
): Promise<Result> {
  await Promise.all(
    [sides.local, sides.ec2].map((side) =>
      assertBookkeeping(side).catch((error: unknown) => {
        throw asUnreachable(error, side);
      }),
    ),
  );
  try {
    return await work();
  } catch (error) {
    const source = sides[otherSide(target)];
    throw asUnreachable(error, await findSilent(source, sides[target]));
  }
}

class Backfill {
  readonly #source: Database;
  readonly #target: Database;
  readonly #throttle: Throttle;
  readonly #transfers = new Map<string, Promise<Transfer>>();
  readonly #failed = new Map<string, Error>();
  #leftOut: readonly LeftOut[] = [];
  #tables: Promise<BackfillTables> | undefined;
  #measured: Promise<number> | undefined;
  #agreed: Promise<DigestMethod> | undefined;

  constructor(
    private readonly sides: BackfillSides,
    private readonly request: BackfillRequest,
    private readonly hooks: BackfillHooks,
  ) {
    this.#target = sides[request.target];
    this.#source = sides[otherSide(request.target)];
    const primary = this.#toSecondary ? this.#source : null;
    this.#throttle = new Throttle({ maxRate: request.maxRate, primary, stop: hooks.stop });
  }

  async run(): Promise<BackfillReport> {
    let done: CountsByTable = new Map();
    if (this.request.mode !== 'ledger') this.#askAhead();
    await this.#assertDistinct();
    await restoreAbandonedPolicies(this.#target);
    // What programs write meanwhile is no gap that remains: somebody writes at any time.
    const newest = this.#toSecondary ? await readNewestEntry(this.#source.pool) : null;
    if (newest !== null) done = await this.#repairLedger(newest);
    this.#assertNotStopped();
    if (this.request.mode !== 'ledger') {
      done = addByTable(done, await this.#pausedWhileRunning());
    }
    this.#assertNotStopped();
    const gaps = newest === null ? [] : await this.#readGaps(newest);
    const [counts, tables] = [sumOfTables(done), [...done].map(([table, each]) => ({ table, ...each }))];
    const verified = counts.rowsCopied - counts.rowsRefused;
    const notCopied = await this.#notCopied();
    return { ...counts, tables, verified, remainingGaps: gaps.length, gaps, leftOut: this.#leftOut, ...notCopied };
  }

  async plan(): Promise<BackfillPlan> {
    await this.#assertDistinct();
    if (this.request.mode !== 'ledger') return this.#estimate(await this.#planUnits());
    const { readings: rows } = await countMissed(this.#source, await this.#ledgerTables());
    return {
      ...this.#estimate({ units: [], bytes: 0 }),
      ranges: (await this.#readGaps(null)).length,
      rows,
      seconds: this.#secondsFor(rows),
    };
  }

  async #notCopied(): Promise<Pick<BackfillReport, 'failed' | 'tablesLeftOut'>> {
    if (this.request.mode === 'ledger') return { failed: [], tablesLeftOut: [] };
    const { notHandled, leftOut: tablesLeftOut } = await this.#findTables();
    const failed = [...this.#failed].map(([table, error]) => ({ table, reason: describeFault(error) }));
    return { failed: [...notHandled.map(({ table, reason }) => ({ table, reason })), ...failed], tablesLeftOut };
  }

  /** What ranges are copied of; the source decides as the primary does in a comparison. */
  async #findTables(): Promise<BackfillTables> {
    const { selection, tables: names } = this.request;
    return await (this.#tables ??= findTables({ source: this.#source, target: this.#target }, { selection, names }));
  }

  /** The tables that were asked for; none: every table that the ledger names. */
  async #ledgerTables(): Promise<readonly string[]> {
    if (this.request.tables.length === 0) return [];
    const { pairs } = await this.#findTables();
    return pairs.map(({ name }) => name);
  }

  async #assertDistinct(): Promise<void> {
    await assertDistinct(queryableOf(this.#source), queryableOf(this.#target));
  }

  /** To a distant side each question takes long: these are under way while the ledger is repaired. */
  #askAhead(): void {
    // Who needs the answer is told of a failure.
    for (const question of [this.#method(), this.#jobs()]) question.catch(() => undefined);
  }

  /** A method: it may change between two calls. */
  #isStopped(): boolean {
    return this.hooks.stop.aborted;
  }

  /** The primary decides, and its ledger says what the target lacks. */
  get #toSecondary(): boolean {
    return this.request.target !== this.request.primary;
  }

  async #repairLedger(upTo: number): Promise<CountsByTable> {
    const { stop, logger } = this.hooks;
    const tables = await this.#ledgerTables();
    const missed = await countMissed(this.#source, tables);
    if (missed.entries === 0) return new Map();
    const jobs = await this.#jobs();
    const ofRows = missed.readings;
    if (this.request.mode === 'ledger') this.hooks.onPlan(await this.plan());
    const { maxRate } = this.request;
    return await repairLedger({
      primary: this.#source,
      secondary: this.#target,
      tables,
      upTo,
      jobs,
      rows: maxRate === null ? null : (maxRate * RATE_SECONDS) / jobs,
      throttle: this.#throttle,
      stop,
      logger,
      onProgress: (rows) => this.#progress({ step: 'repairing gaps', table: null, rows, ofRows }),
    });
  }

  /** What only looks at rows goes on while the policies are being paused. */
  async #pausedWhileRunning(): Promise<CountsByTable> {
    const names = (await this.#findTables()).pairs.map(({ sides }) => sides.secondary.name);
    const joining = this.#joinPlanned();
    joining.catch(() => undefined);
    return await withPausedPolicies(this.#target, names, 'backfill', () => this.#runRanges(joining));
  }

  async #runRanges(joining = this.#joinPlanned()): Promise<CountsByTable> {
    const [joined, updated] = await Promise.all([joining, this.#bringUpdatedTables()]);
    const resumed = joined.planned;
    if (this.#isStopped()) return updated;
    const counts = addByTable(updated, await this.#runUnits(joined.id));
    if (this.#isStopped()) return counts;
    await this.#refreshAggregates(joined.id);
    // Units of tables that failed stay open: the same command goes on with them.
    if (this.#failed.size > 0) return counts;
    await finishRun(this.#target.pool, joined.id);
    // The plan of an earlier process may not hold all that differs by now, or all of the window.
    const { mode, windowMicros } = this.request;
    if (!resumed || (mode !== 'differences' && windowMicros === null)) return counts;
    const again = new Backfill(this.sides, { ...this.request, mode: 'differences' }, this.hooks);
    return addByTable(counts, await again.#runRanges());
  }

  /** Tables whose rows consumers update are brought by their keys, each row locked. */
  async #bringUpdatedTables(): Promise<CountsByTable> {
    const counts = new Map<string, BackfillCounts>();
    const { pairs } = await this.#findTables();
    for (const table of pairs.filter(isUpdated)) {
      const brought = await this.#orNamed(table.name, async () => {
        const transfer = byKey(await planTransferOf(this.#source, this.#target, table), table.uniqueKey);
        return await repairUpdated(this.#source, this.#target, { transfer, overwrite: this.#toSecondary });
      });
      // Rows that were there, equal, were only looked at.
      const { inserted: rowsInserted, corrected: rowsCorrected } = brought ?? NONE_UPDATED;
      const rowsCopied = rowsInserted + rowsCorrected;
      if (rowsCopied > 0) counts.set(table.name, { ...NO_ROWS, rowsCopied, rowsInserted, rowsCorrected });
    }
    return counts;
  }

  /** An error about one table holds up no other: the table is named, and null is returned. */
  async #orNamed<Result>(table: string, work: () => Promise<Result>): Promise<Result | null> {
    try {
      return await work();
    } catch (error) {
      if (!isOfTheTable(error) && !(error instanceof ImpossibleTransferError)) throw error;
      this.#failed.set(table, error as Error);
      return null;
    }
  }

  /** The run as it was found; it is planned when this returns, unless it was stopped. */
  async #joinPlanned(): Promise<BackfillRun> {
    const joined = await joinRun(this.#target.pool, await this.#scope());
    await this.#planOnce(joined);
    return joined;
  }

  async #oldestTimes(): Promise<OldestTimes> {
    const times = (await this.#timedHypertables()).map(
      async ({ name, sides }) => [name, await readOldestRow(this.#target, sides.secondary.name)] as const,
    );
    return Object.fromEntries(await Promise.all(times));
  }

  /** The tables that continuous aggregates may rest on, by time. */
  async #timedHypertables(): Promise<readonly TablePair[]> {
    return (await this.#findTables()).pairs.filter(
      ({ axis, sides }) => sides.secondary.hypertable !== null && axis !== null && isTimeAxis(axis.secondary),
    );
  }

  /** Before the run counts as finished: killed here, the next process refreshes them. */
  async #refreshAggregates(runId: number): Promise<void> {
    const { pool } = this.#target;
    const [touched, oldest] = await Promise.all([readTouched(pool, runId), readOldestTimes(pool, runId)]);
    for (const { name: table, sides } of await this.#timedHypertables()) {
      const ranges = touched.filter((range) => range.table === table);
      const oldestBefore = oldest[table] ?? null;
      const refreshed = await refreshAggregates(this.#target, sides.secondary.name, ranges, { oldestBefore });
      for (const { name, refreshed: done, left } of refreshed) {
        this.hooks.logger.info('aggregate refreshed', { name, ranges: done.length, left: left.length });
      }
    }
  }

  /** One process plans; the others wait until it has, or take over when it dies. */
  async #planOnce(run: BackfillRun): Promise<void> {
    if (run.planned) return;
    await withSession(this.#target, async (session) => {
      for (let looks = 1; !this.#isStopped(); looks += 1) {
        if (await tryPlanning(session, run.id)) {
          if ((await readRun(session, run.id)).planned) return;
          const [planned, oldest] = await Promise.all([
            this.#planUnits(),
            this.#oldestTimes(),
            dropUnits(session, run.id),
          ]);
          if (this.#isStopped()) return;
          this.hooks.onPlan(this.#estimate(planned));
          await addUnits(session, run.id, planned.units);
          await markPlanned(session, run.id, oldest);
          return;
        }
        if (looks % LOOKS_A_LINE === 0) this.hooks.logger.info('another process plans this backfill; waiting for it');
        await delay(PLANNING_POLL_MS);
      }
    });
  }

  async #planUnits(): Promise<{ units: readonly PlannedUnit[]; bytes: number }> {
    const step = this.request.mode === 'full' ? 'counting rows' : 'looking for differences';
    const options = {
      source: this.#source,
      target: this.#target,
      request: this.request,
      stop: this.hooks.stop,
      method: await this.#method(),
      jobs: await this.#jobs(),
      window: await resolveWindow({ primary: this.#source, secondary: this.#target }, this.request),
      onProgress: (table: string, rows: number) => this.#progress({ step, table, rows, ofRows: null }),
    };
    const { pairs, order } = await this.#findTables();
    const limit = pLimit(TABLES_AT_ONCE);
    const plans = pairs
      .filter((pair) => !isUpdated(pair))
      .map(({ name }) =>
        limit(async () => {
          if (this.#isStopped()) return null;
          return await this.#orNamed(name, async () => await planUnits(await this.#transferOf(name), options));
        }),
      );
    const planned = (await Promise.all(plans)).filter((each) => each !== null);
    this.#leftOut = planned.flatMap(({ leftOut }) => leftOut);
    const units = planned.flatMap((each) => placeUnits(each.units, order, this.request.prune));
    return { units, bytes: planned.reduce((sum, each) => sum + each.bytes, 0) };
  }

  async #runUnits(runId: number): Promise<CountsByTable> {
    const context: Omit<UnitContext, 'onClaim'> = {
      runId,
      source: this.#source,
      target: this.#target,
      ledger: this.#toSecondary,
      transferOf: (table) => this.#transferOf(table),
      method: await this.#method(),
      overwrite: this.#toSecondary,
      failed: this.#failed,
      onRefused: (refusals) => this.#enterRefused(refusals),
      viaStaging: new Set(),
      alone: new Set(),
    };
    return await runUnits({
      context,
      jobs: await this.#jobs(),
      throttle: this.#throttle,
      stop: this.hooks.stop,
      onProgress: ({ rows, openRows }) =>
        this.#progress({ step: 'copying', table: null, rows: rows - openRows, ofRows: rows }),
    });
  }

  /** Readings go to the ledger; rows of other tables are named in the log, and a comparison names them again. */
  async #enterRefused(refusals: readonly RefusedRow[]): Promise<void> {
    const readings = namedInLedger(refusals).filter(({ table }) => ALL_TABLES.includes(table));
    if (this.#toSecondary) await enterRefused(this.#source.pool, readings);
    for (const { table, sensorId: key, time, reason } of refusals.filter((each) => !ALL_TABLES.includes(each.table))) {
      this.hooks.logger.warn('row refused', { table, key, time, reason });
    }
  }

  /** More units side by side where each waits long for the network. */
  async #jobs(): Promise<number> {
    if (this.request.jobs !== null) return this.request.jobs;
    this.#measured ??= measureRoundTrip(this.#target, LONG_ROUND_TRIP_MS).then((ms) =>
      ms > LONG_ROUND_TRIP_MS ? FAR_JOBS : NEAR_JOBS,
    );
    return await this.#measured;
  }

  /** For planning and for copying. */
  async #method(): Promise<DigestMethod> {
    return await (this.#agreed ??= this.#agreeOnMethod());
  }

  async #agreeOnMethod(): Promise<DigestMethod> {
    return await agreeOnMethod([this.#source.pool, this.#target.pool], (await this.#findTables()).pairs);
  }

  #transferOf(table: string): Promise<Transfer> {
    const known = this.#transfers.get(table);
    if (known !== undefined) return known;
    const planned = this.#planTransfer(table);
    this.#transfers.set(table, planned);
    planned.catch(() => this.#transfers.delete(table));
    return planned;
  }

  async #planTransfer(table: string): Promise<Transfer> {
    const { pairs, order } = await this.#findTables();
    const pair = pairs.find(({ name }) => name === table);
    // A unit that another process planned.
    if (pair === undefined) return await planTransfer(this.#source, this.#target, table);
    return await planTransferOf(this.#source, this.#target, pair, order.circles.has(table));
  }

  /** Reads the gaps of the tables that were asked for. */
  async #readGaps(upTo: number | null): Promise<Gap[]> {
    const tables = await this.#ledgerTables();
    return (await readGaps(this.#source.pool, upTo)).filter(
      ({ table }) => tables.length === 0 || tables.includes(table),
    );
  }

  async #scope(): Promise<object> {
    const { mode, from, to, windowMicros, prune, given, primary } = this.request;
    // A run that local decided is not gone on with once EC2 does.
    const decided = primary === 'local' ? {} : { primary };
    const tables = (await this.#findTables()).pairs.map(({ name }) => name);
    return { mode, tables, from, to, windowMicros, prune, given: [...(given ?? [])], ...decided };
  }

  #estimate({ units, bytes }: { units: readonly PlannedUnit[]; bytes: number }): BackfillPlan {
    const rows = units.reduce((sum, unit) => sum + unit.rows, 0);
    return { ranges: units.length, rows, bytes, seconds: this.#secondsFor(rows) };
  }

  #secondsFor(rows: number): number {
    return rows / Math.min(this.request.maxRate ?? Infinity, USUAL_ROWS_A_SECOND);
  }

  #progress(progress: Omit<BackfillProgress, 'throttled'>): void {
    this.hooks.onProgress({ ...progress, throttled: this.#throttle.reason });
  }

  #assertNotStopped(): void {
    if (!this.#isStopped()) return;
    throw new InterruptedError('the backfill was stopped before it was done; what it has written is verified', {
      code: 'backfill-stopped',
    });
  }
}
