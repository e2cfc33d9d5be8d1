import { asUnreachable } from '../../db/database.js';
import { assertDistinct, readIdentity } from '../../db/identity.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import { InterruptedError } from '../../errors.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import { agreeOnMethod, type DigestMethod } from '../../repository/compare/digest-method.js';
import {
  digestWholeTable,
  findLeaves,
  NOTHING,
  type Comparison,
  type DifferingRange,
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
  type Strip,
  type TableReport,
} from './compare-report.js';
import { columnsNotCompared, planTables } from './plan-tables.js';
import { Tally } from './difference-tally.js';
import {
  rangeOfTable,
  resolveWindow,
  withoutDropped,
  type LeftOut,
  type OpenRange,
  type WindowRequest,
} from '../../repository/compare/window.js';

export interface CompareRequest extends WindowRequest {
  /** Empty: the tables that the consumer writes. */
  readonly tables: readonly string[];
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
  /** What was compared, for comparing it again though the clock has gone on. */
  readonly compared: WindowRequest;
  /** By table, the ranges in which rows differ. */
  readonly differing: ReadonlyMap<string, readonly DifferingRange[]>;
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

interface ReportFacts {
  readonly window: OpenRange;
  readonly method: DigestMethod;
  readonly resumedFrom: string | null;
}

class Comparer {
  readonly #leftOut = new Map<string, LeftOut>();
  readonly #listed: DifferenceRecord[] = [];
  #ledger = false;

  constructor(
    private readonly sides: ComparedSides,
    private readonly request: CompareRequest,
    private readonly hooks: CompareHooks,
  ) {}

  async run(): Promise<CompareOutcome> {
    const { sides, request } = this;
    const [primary, secondary] = [queryableOf(sides.primary), queryableOf(sides.secondary)];
    await assertDistinct(primary, secondary);
    const tables = await planTables(sides, request.tables);
    const method = await agreeOnMethod([primary, secondary], tables, request.digest);
    this.#ledger = await hasLedger(sides.primary.pool);
    // Another database under the same name is another comparison.
    const between = await Promise.all([readIdentity(primary), readIdentity(secondary)]);
    const recorder = await Recorder.open(sides, { ...scopeOf(tables, request), between }, request);
    return await recorder.hold(() => this.#compare(tables, method, recorder));
  }

  async #compare(tables: readonly TablePair[], method: DigestMethod, recorder: Recorder): Promise<CompareOutcome> {
    const { sides, request } = this;
    const window = await recorder.keepWindow(() => resolveWindow(sides, request));
    const digested: Digested[] = [];
    for (const table of tables) digested.push(await this.#digest({ sides, table, method }, window, recorder));
    const reports: TableReport[] = [];
    for (const each of digested) reports.push(await this.#resolve(each, recorder));
    const report = this.#report(reports, digested, { window, method, resumedFrom: recorder.resumedFrom });
    await recorder.finish(
      report,
      digested.flatMap(({ tally }) => tally.proven),
    );
    const strips = digested.flatMap(({ tally }) =>
      tally.strip === null ? [] : [[tally.table.name, tally.strip] as const],
    );
    const differing = new Map(digested.map(({ tally }) => [tally.table.name, tally.differing]));
    return { report, strips: new Map(strips), compared: { ...window, windowMicros: null }, differing };
  }

  async #digest(comparison: Comparison, window: OpenRange, recorder: Recorder): Promise<Digested> {
    const { table } = comparison;
    if (table.axis === null) return await this.#digestWhole(comparison);
    const resumed = recorder.progressOf(table.name);
    const { range, leftOut } = await rangeOfTable(this.sides, table, resumed?.range ?? window);
    if (leftOut !== null) this.#leftOut.set(table.name, leftOut);
    const tally = new Tally(table, range, this.sides);
    if (range === null) return { tally, comparison, primary: NOTHING, secondary: NOTHING, leaves: [] };
    const { bucketMicros, jobs } = this.request;
    const estimate = estimator(range, resumed?.scan.frontier ?? range.from);
    const scan = await scanRange(comparison, {
      range,
      bucketMicros,
      jobs,
      stop: this.hooks.stop,
      onProgress: async (progress) => {
        await recorder.save(table.name, { range, scan: progress });
        const { rows } = progress.primary;
        this.hooks.onProgress({ table: table.name, step: 'comparing digests', rows, ...estimate(progress.frontier) });
      },
      ...(resumed === undefined ? {} : { resumed: resumed.scan }),
    });
    await this.#throwIfStopped(recorder);
    return {
      tally,
      comparison,
      primary: scan.primary,
      secondary: scan.secondary,
      leaves: findLeaves(comparison, scan.differing),
    };
  }

  async #digestWhole(comparison: Comparison): Promise<Digested> {
    const { primary, secondary, differing } = await digestWholeTable(comparison);
    return { tally: new Tally(comparison.table, null, this.sides), comparison, primary, secondary, leaves: differing };
  }

  async #resolve(
    { tally, comparison, primary, secondary, leaves }: Digested,
    recorder: Recorder,
  ): Promise<TableReport> {
    const { settleMs } = this.request;
    const known = comparison.table.known !== null;
    // Without a ledger somebody else may copy the rows, at whatever pace.
    const waits = { ledger: this.#ledger && known, mayArrive: known || !this.#ledger };
    const options = { settleMs, stop: this.hooks.stop, ...waits };
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
    { window, method, resumedFrom }: ReportFacts,
  ): CompareReport {
    const ranges = digested.flatMap(({ tally: { range } }) => (range === null ? [] : [range]));
    return {
      verdict: verdictOf(tables),
      primary: this.sides.primary.side,
      window: windowOf(ranges, window),
      tables,
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

function windowOf(ranges: readonly TimeRange[], { from, to }: OpenRange): CompareReport['window'] {
  const start = from ?? (ranges.length === 0 ? null : Math.min(...ranges.map((range) => range.from)));
  const end = to ?? (ranges.length === 0 ? null : Math.max(...ranges.map((range) => range.to)));
  return { from: start === null ? null : formatInstant(start), to: end === null ? null : formatInstant(end) };
}

function scopeOf(tables: readonly TablePair[], { from, to, windowMicros }: CompareRequest): object {
  return { tables: tables.map(({ name }) => name), from, to, windowMicros };
}
