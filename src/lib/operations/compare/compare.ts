import pLimit from 'p-limit';
import { asUnreachable, openAhead } from '../../db/database.js';
import { assertDistinct, readIdentity } from '../../db/identity.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import { describeFault, isOfTheTable } from '../../db/sqlstate.js';
import { sideTitle } from '../../domain/side.js';
import { InterruptedError, SensorctlError, UsageError } from '../../errors.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import { agreeOnMethod, type DigestMethod } from '../../repository/compare/digest-method.js';
import { scanClasses } from '../../repository/compare/class-scan.js';
import type { ClassSlice } from '../../repository/compare/slices.js';
import { planTables, type NotHandled, type TablePlan } from '../../repository/compare/plan-tables.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { isTimeAxis, microsOfPlace } from '../../repository/tables/axis.js';
import {
  addTotals,
  findLeaves,
  NOTHING,
  type Comparison,
  type Leaf,
  type SideTotals,
} from '../../repository/compare/find-leaves.js';
import { groupLeaves, inTime } from '../../repository/compare/leaf-groups.js';
import { resolveLeaves, type Difference } from '../../repository/compare/resolve.js';
import { scanRange } from '../../repository/compare/scan.js';
import { queryableOf, type ComparedSides } from '../../repository/compare/sides.js';
import { hasLedger } from '../../repository/ledger/ledger.js';
import { Recorder } from './comparison-recorder.js';
import {
  verdictOf,
  type CompareReport,
  type DigestName,
  type DifferenceRecord,
  type NotCompared,
  type Strip,
  type TableReport,
} from './compare-report.js';
import { Tally } from './difference-tally.js';
import {
  rangeOfTable,
  resolveWindow,
  withoutDropped,
  type ComparedPart,
  type LeftOut,
  type OpenRange,
  type WindowRequest,
} from '../../repository/compare/window.js';

export interface CompareRequest extends WindowRequest {
  /** Tables of the migration, by name or pattern; empty: all. */
  readonly tables: readonly string[];
  /** The tables of the migration; absent: every one. */
  readonly selection?: TableSelection;
  readonly bucketMicros: number | null;
  /** How long writes in flight may take to settle, in ms. */
  readonly settleMs: number;
  readonly jobs: number;
  /** Differences in the report, at most. */
  readonly limit: number;
  /** Go on with the comparison of the same scope that was interrupted. */
  readonly resume: boolean;
  /** False: nothing is written, neither progress nor verdict. */
  readonly recorded?: boolean;
  /** Absent: the fast one where both servers compute it alike, else the portable one. */
  readonly digest?: DigestName | undefined;
}

export interface CompareHooks {
  readonly stop: AbortSignal;
  /** Called with every difference. */
  readonly onDifference: (difference: DifferenceRecord) => Promise<void>;
  readonly onProgress: (progress: CompareProgress) => void;
}

export interface CompareProgress {
  readonly table: string;
  readonly step: 'comparing digests' | 'looking at differences';
  /** Rows of the primary digested so far, and the share of the table's range that is done, 0 to 1. */
  readonly rows: number;
  readonly done: number;
  /** Estimated time until the range is done, in ms; null while there is nothing to estimate from. */
  readonly leftMs: number | null;
}

export interface CompareOutcome {
  readonly report: CompareReport;
  readonly strips: ReadonlyMap<string, Strip>;
  /** The window that was compared, for comparing it again though the clock has gone on. */
  readonly compared: WindowRequest;
  /** By table, the parts in which rows differ. */
  readonly differing: ReadonlyMap<string, readonly Leaf[]>;
  /** Tables that could not be compared. */
  readonly failed: readonly NotHandled[];
}

/** A table, once its digests are compared. */
interface Digested {
  readonly tally: Tally;
  readonly comparison: Comparison;
  readonly primary: SideTotals;
  readonly secondary: SideTotals;
  readonly leaves: AsyncIterable<Leaf> | Iterable<Leaf>;
}

/**
 * Compares tables on both sides by digests, and by rows where these differ. A mismatch is a result; throws where the
 * comparison itself could not be made, or was stopped.
 */
export async function compare(
  sides: ComparedSides,
  request: CompareRequest,
  hooks: CompareHooks,
): Promise<CompareOutcome> {
  try {
    return await new Comparer(sides, request, hooks).run();
  } catch (error) {
    throw asUnreachable(error, sides.primary);
  }
}

/** Whose ranges are looked for at once. */
const TABLES_AHEAD = 4;

interface ReportFacts {
  readonly window: OpenRange;
  readonly method: DigestMethod;
  readonly resumedFrom: string | null;
  readonly plan: TablePlan;
}

class Comparer {
  readonly #leftOut = new Map<string, LeftOut>();
  readonly #listed: DifferenceRecord[] = [];
  readonly #failed: NotHandled[] = [];
  #ledger = false;

  constructor(
    private readonly sides: ComparedSides,
    private readonly request: CompareRequest,
    private readonly hooks: CompareHooks,
  ) {}

  async run(): Promise<CompareOutcome> {
    const { sides, request } = this;
    const [primary, secondary] = [queryableOf(sides.primary), queryableOf(sides.secondary)];
    // The digests go on another connection than the questions: to a distant side opening one takes long.
    openAhead(sides.secondary);
    const [plan, between] = await Promise.all([
      planTables(sides, { selection: request.selection, names: request.tables }),
      Promise.all([readIdentity(primary), readIdentity(secondary)]),
      assertDistinct(primary, secondary),
    ]);
    if (plan.pairs.length + plan.notHandled.length === 0) {
      throw new UsageError('there is no table to compare', { code: 'no-tables' });
    }
    this.#failed.push(...plan.notHandled);
    const method = await agreeOnMethod([primary, secondary], plan.pairs, request.digest);
    this.#ledger = await hasLedger(sides.primary.pool);
    // Another database under the same name is another comparison.
    const recorder = await Recorder.open(sides, { ...scopeOf(plan.pairs, request), between }, request);
    return await recorder.hold(() => this.#compare(plan, method, recorder));
  }

  async #compare(plan: TablePlan, method: DigestMethod, recorder: Recorder): Promise<CompareOutcome> {
    const { sides, request } = this;
    const window = await recorder.keepWindow(() => resolveWindow(sides, request));
    const ranges = this.#findRanges(plan.pairs, window, recorder);
    const digested: Digested[] = [];
    for (const table of plan.pairs) {
      const found = await this.#orNamed(table, async () => {
        return await this.#digest({ sides, table, method }, await ranges.get(table), recorder);
      });
      if (found !== null) digested.push(found);
    }
    const reports: TableReport[] = [];
    for (const each of digested) {
      const resolved = await this.#orNamed(each.tally.table, () => this.#resolve(each, recorder));
      if (resolved !== null) reports.push(resolved);
    }
    const report = this.#report(reports, digested, { window, method, resumedFrom: recorder.resumedFrom, plan });
    await recorder.finish(
      report,
      digested.flatMap(({ tally }) => tally.proven),
    );
    const strips = digested.flatMap(({ tally }) =>
      tally.strip === null ? [] : [[tally.table.name, tally.strip] as const],
    );
    const differing = new Map(digested.map(({ tally }) => [tally.table.name, tally.differing]));
    const compared = { ...window, windowMicros: null };
    return { report, strips: new Map(strips), compared, differing, failed: this.#failed };
  }

  /** An error about one table holds up no other: the table is named, and null is returned. */
  async #orNamed<Result>({ name }: TablePair, work: () => Promise<Result>): Promise<Result | null> {
    try {
      return await work();
    } catch (error) {
      if (!isOfTheTable(error)) throw error;
      const advice = error instanceof SensorctlError ? error.problem : null;
      this.#failed.push({ table: name, reason: describeFault(error), advice });
      return null;
    }
  }

  /** Some tables ahead of the digests: to a distant side each question takes long. */
  #findRanges(
    pairs: readonly TablePair[],
    window: OpenRange,
    recorder: Recorder,
  ): ReadonlyMap<TablePair, Promise<ComparedPart>> {
    const limit = pLimit(TABLES_AHEAD);
    const asked = pairs
      .filter(({ axis }) => axis !== null)
      .map((table) => {
        const range = limit(() => rangeOfTable(this.sides, table, window, recorder.progressOf(table.name)?.range));
        // Whoever digests the table is told.
        range.catch(() => undefined);
        return [table, range] as const;
      });
    return new Map(asked);
  }

  async #digest(comparison: Comparison, found: ComparedPart | undefined, recorder: Recorder): Promise<Digested> {
    const { table } = comparison;
    if (found === undefined) return await this.#digestClasses(comparison, 'all', recorder);
    const { range, offAxis, isAll, leftOut } = found;
    if (leftOut !== null) this.#leftOut.set(table.name, leftOut);
    const along = range === null ? null : await this.#digestRange(comparison, range, recorder);
    const off = offAxis ? await this.#digestClasses(comparison, 'off axis', recorder) : null;
    return {
      tally: new Tally(table, range, this.sides, isAll),
      comparison,
      primary: addTotals(along?.primary ?? NOTHING, off?.primary ?? NOTHING),
      secondary: addTotals(along?.secondary ?? NOTHING, off?.secondary ?? NOTHING),
      leaves: inTurn(along?.leaves ?? [], off?.leaves ?? []),
    };
  }

  async #digestRange(comparison: Comparison, range: TimeRange, recorder: Recorder): Promise<Omit<Digested, 'tally'>> {
    const { table } = comparison;
    const resumed = recorder.progressOf(table.name)?.scan;
    const { bucketMicros, jobs } = this.request;
    const estimate = estimator(range, resumed?.frontier ?? range.from);
    const scan = await scanRange(comparison, {
      range,
      bucketWidth: table.axis !== null && microsOfPlace(table.axis.primary, 1) === 1 ? bucketMicros : null,
      jobs,
      stop: this.hooks.stop,
      onProgress: async (progress) => {
        await recorder.save(table.name, { range, scan: progress });
        const { rows } = progress.primary;
        this.hooks.onProgress({ table: table.name, step: 'comparing digests', rows, ...estimate(progress.frontier) });
      },
      ...(resumed === undefined ? {} : { resumed }),
    });
    await this.#throwIfStopped(recorder);
    const { primary, secondary, differing } = scan;
    return { comparison, primary, secondary, leaves: findLeaves(comparison, differing) };
  }

  /** Digests rows that have no place on an axis. */
  async #digestClasses(comparison: Comparison, rows: ClassSlice['rows'], recorder: Recorder): Promise<Digested> {
    const { table } = comparison;
    const scan = await scanClasses(comparison, {
      rows,
      stop: this.hooks.stop,
      onProgress: async (classes, count, done) => {
        await recorder.save(table.name, { classes });
        this.hooks.onProgress({ table: table.name, step: 'comparing digests', rows: count, done, leftMs: null });
      },
      resumed: recorder.progressOf(table.name)?.classes,
    });
    await this.#throwIfStopped(recorder);
    return { tally: new Tally(table, null, this.sides), comparison, ...scan };
  }

  async #resolve(
    { tally, comparison, primary, secondary, leaves }: Digested,
    recorder: Recorder,
  ): Promise<TableReport> {
    const { settleMs } = this.request;
    // Without a ledger somebody else may copy the rows, at whatever pace.
    const options = { settleMs, stop: this.hooks.stop, ledger: this.#ledger };
    for await (const group of groupLeaves(leaves)) {
      await this.#throwIfStopped(recorder);
      this.hooks.onProgress({
        table: tally.table.name,
        step: 'looking at differences',
        rows: primary.rows,
        done: 1,
        leftMs: null,
      });
      const found = await inTime(group, (leaves) => resolveLeaves(comparison, leaves, options));
      for (const difference of await this.#withoutDropped(found, tally)) {
        tally.add(difference);
        const record = tally.record(difference);
        if (this.#listed.length < this.request.limit) this.#listed.push(record);
        await this.hooks.onDifference(record);
      }
    }
    await this.#throwIfStopped(recorder);
    return tally.report(primary, secondary);
  }

  async #withoutDropped(found: readonly Difference[], { table }: Tally): Promise<readonly Difference[]> {
    const { kept, leftOut } = await withoutDropped(this.sides, table, found);
    if (leftOut !== null) this.#leftOut.set(table.name, leftOut);
    return kept;
  }

  #report(
    tables: readonly TableReport[],
    digested: readonly Digested[],
    { window, method, resumedFrom, plan }: ReportFacts,
  ): CompareReport {
    const failed = this.#failed.map(({ table, reason }) => ({ table, reason }));
    return {
      verdict: verdictOf(tables, failed),
      primary: this.sides.primary.side,
      window: windowOf(
        digested.map(({ tally }) => tally),
        window,
      ),
      tables,
      failed,
      tablesLeftOut: plan.leftOut,
      digest: method.name,
      leftOut: [...this.#leftOut.values()],
      resumedFrom,
      notCompared: digested.flatMap(({ tally: { table } }) => columnsNotCompared(table, this.sides)),
      differences: this.#listed,
    };
  }

  async #throwIfStopped(recorder: Recorder): Promise<void> {
    if (!this.hooks.stop.aborted) return;
    await recorder.saveNow();
    throw new InterruptedError('the comparison was stopped before it had a verdict', {
      code: recorder.records ? 'comparison-stopped' : 'comparison-lost',
    });
  }
}

/** Estimates, by the time spent so far, how much of a range is done and how long the rest will take. */
function estimator(
  { from, to }: TimeRange,
  begun: number,
): (frontier: number) => { done: number; leftMs: number | null } {
  const startedAt = performance.now();
  return (frontier) => {
    const micros = frontier - begun;
    const leftMs = micros === 0 ? null : ((performance.now() - startedAt) * (to - frontier)) / micros;
    return { done: (frontier - from) / (to - from), leftMs };
  };
}

/** Returns the window of the tables that have times. */
function windowOf(tallies: readonly Tally[], { from, to }: OpenRange): CompareReport['window'] {
  const ranges = tallies.flatMap(({ range, table: { axis } }) => {
    if (range === null || axis === null || !isTimeAxis(axis.primary)) return [];
    return [{ from: microsOfPlace(axis.primary, range.from) ?? 0, to: microsOfPlace(axis.primary, range.to) ?? 0 }];
  });
  const start = from ?? (ranges.length === 0 ? null : Math.min(...ranges.map((range) => range.from)));
  const end = to ?? (ranges.length === 0 ? null : Math.max(...ranges.map((range) => range.to)));
  return { from: start === null ? null : formatInstant(start), to: end === null ? null : formatInstant(end) };
}

async function* inTurn(...lists: readonly (AsyncIterable<Leaf> | Iterable<Leaf>)[]): AsyncGenerator<Leaf> {
  for (const list of lists) yield* list;
}

/** Columns that a verdict says nothing of. */
function columnsNotCompared({ name, surplus, excepted }: TablePair, { secondary }: ComparedSides): NotCompared[] {
  const of = (columns: readonly string[], reason: string): NotCompared[] =>
    columns.length === 0 ? [] : [{ table: name, columns, reason }];
  return [...of(surplus, `only ${sideTitle(secondary.side)} has them`), ...of(excepted, 'TABLES excepts them')];
}

function scopeOf(tables: readonly TablePair[], { from, to, windowMicros }: CompareRequest): object {
  const excepted = tables.flatMap((table) => table.excepted.map((column) => `${table.name}-${column}`));
  return { tables: tables.map(({ name }) => name), from, to, windowMicros, ...(excepted.length > 0 && { excepted }) };
}
