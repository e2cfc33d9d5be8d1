import { withSession } from '../../db/database.js';
import type { TimeRange } from '../../domain/time-range.js';
import { formatInstantText } from '../../domain/time.js';
import { ConflictError, UsageError } from '../../errors.js';
import type { CompareReport } from './compare-report.js';
import {
  beginComparison,
  canRecordComparisons,
  type ComparedRange,
  findUnfinishedComparison,
  finishComparison,
  saveProgress,
  tryHolding,
} from '../../repository/compare/comparison-record.js';
import type { ClassProgress } from '../../repository/compare/class-scan.js';
import type { ScanProgress } from '../../repository/compare/scan.js';
import type { ComparedSides } from '../../repository/compare/sides.js';
import type { OpenRange } from '../../repository/compare/window.js';

/** How far the scan of a table has come. */
export interface TableProgress {
  /** Along its axis. */
  readonly range?: TimeRange;
  readonly scan?: ScanProgress;
  /** The progress for rows that have no place there. */
  readonly classes?: ClassProgress;
}

/** The progress that is saved. */
interface Progress {
  readonly window?: OpenRange;
  readonly tables?: Readonly<Record<string, TableProgress>>;
}

const SAVE_EVERY_MS = 1_000;

/** Keeps record of a comparison on the primary, where the role may write there; elsewhere it remembers nothing. */
export class Recorder {
  readonly #tables: Map<string, TableProgress>;
  #window: OpenRange | undefined;
  #savedAt = performance.now();

  private constructor(
    private readonly sides: ComparedSides,
    private readonly id: number | null,
    { window, tables = {} }: Progress,
    /** When the comparison that is resumed began; null for a new one. */
    readonly resumedFrom: string | null = null,
  ) {
    this.#window = window;
    this.#tables = new Map(Object.entries(tables));
  }

  /** `scope` names what is compared: an interrupted comparison is resumed by one of the same scope. */
  static async open(
    sides: ComparedSides,
    scope: object,
    { resume, recorded = true }: { readonly resume: boolean; readonly recorded?: boolean },
  ): Promise<Recorder> {
    const { pool } = sides.primary;
    if (!recorded) return new Recorder(sides, null, {});
    if (!(await canRecordComparisons(pool))) {
      if (resume) throw nothingToResume('this role may not record comparisons, so none can be resumed');
      return new Recorder(sides, null, {});
    }
    if (!resume) return new Recorder(sides, (await beginComparison(pool, scope)).id, {});
    const record = await findUnfinishedComparison(pool, scope);
    if (record === null)
      throw nothingToResume('no comparison of this range and these tables was interrupted in the last day');
    return new Recorder(sides, record.id, record.progress as Progress, formatInstantText(record.begun));
  }

  /** Runs `work` while no other process can work on this comparison; throws a ConflictError where one does. */
  async hold<Result>(work: () => Promise<Result>): Promise<Result> {
    const { id } = this;
    if (id === null) return await work();
    return await withSession(this.sides.primary, async (session) => {
      if (await tryHolding(session, id)) return await work();
      throw new ConflictError('another process works on this comparison', {
        code: 'comparison-held',
      });
    });
  }

  get records(): boolean {
    return this.id !== null;
  }

  progressOf(table: string): TableProgress | undefined {
    return this.#tables.get(table);
  }

  /** The window of the comparison that is resumed, else the one that `resolve` answers. */
  async keepWindow(resolve: () => Promise<OpenRange>): Promise<OpenRange> {
    return (this.#window ??= await resolve());
  }

  /** Saves now and then, and whenever the range of a table is done. */
  async save(table: string, progress: TableProgress): Promise<void> {
    const { scan, range } = progress;
    this.#tables.set(table, { ...this.#tables.get(table), ...progress });
    const isDone = scan !== undefined && range !== undefined && scan.frontier >= range.to;
    if (isDone || performance.now() - this.#savedAt > SAVE_EVERY_MS) await this.saveNow();
  }

  async saveNow(): Promise<void> {
    if (this.id === null) return;
    this.#savedAt = performance.now();
    const progress: Progress = {
      tables: Object.fromEntries(this.#tables),
      ...(this.#window && { window: this.#window }),
    };
    await saveProgress(this.sides.primary.pool, this.id, progress);
  }

  async finish(report: CompareReport, ranges: readonly ComparedRange[]): Promise<void> {
    if (this.id === null) return;
    const { verdict, window, tables, failed, tablesLeftOut, digest, leftOut } = report;
    const summary = { window, tables, failed, tablesLeftOut, digest, leftOut };
    await finishComparison(this.sides.primary, this.id, { verdict, report: summary, ranges });
  }
}

function nothingToResume(message: string): UsageError {
  return new UsageError(message, { code: 'nothing-to-resume' });
}
