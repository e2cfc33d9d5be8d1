import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { durationFlag, numberFlag, parseRange, RANGE_FLAGS, TABLE_FLAG } from '../lib/cli/flags.js';
import { withJsonLines } from '../lib/cli/json-lines.js';
import { orientSides, withSides } from '../lib/cli/open-sides.js';
import { createProgress } from '../lib/cli/progress.js';
import { counted } from '../lib/cli/quantities.js';
import { renderBackfill, renderPlan, showBackfill } from '../lib/cli/render-backfill.js';
import { renderComparison, renderShare } from '../lib/cli/render-compare.js';
import { EXIT_CODE } from '../lib/errors.js';
import {
  type BackfillReport,
  requestForDiffering,
  type BackfillSides,
} from '../lib/operations/backfill/backfill-report.js';
import { type CompareReport, DIGEST_NAMES, type DigestName } from '../lib/operations/compare/compare-report.js';
import { compare, type CompareOutcome, type CompareRequest } from '../lib/operations/compare/compare.js';

export default class Compare extends BaseCommand {
  static override summary = 'Prove that both sides hold the same rows, or name each difference.';
  static override description = `Both servers compute digests of their rows, bucket by bucket, at the same time; only digests travel. Where they differ the rows themselves are compared, and looked at again until writes in flight have settled. What differs is pending (on its way), a known gap (in the ledger) or unexplained. Without a range: the last hour. Nothing is written but the verdict, and that only where this role may.

Exit code 0: identical, with nothing but pending rows between them. Exit code 1: different.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> --window 1h',
    '<%= config.bin %> <%= command.id %> --from 2025-07-01 --to 2025-07-02 --table water_level_readings',
    '<%= config.bin %> <%= command.id %> --all --output differences.jsonl --json',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    ...RANGE_FLAGS,
    table: TABLE_FLAG,
    bucket: Flags.string({ description: 'width of a digest, such as 1m [default: by the rows there are]' }),
    limit: numberFlag({ min: 0, max: 100_000, default: 20, description: 'differences to show, at most' }),
    output: Flags.string({ description: 'write every difference to this file, as JSON lines' }),
    settle: Flags.string({ default: '10s', description: 'how long writes in flight may take to settle' }),
    jobs: numberFlag({ min: 1, max: 4, default: 1, description: 'ranges compared side by side' }),
    digest: Flags.option({
      options: DIGEST_NAMES,
      description: 'digest of a row [default: the fast hash_record_extended where both servers compute it alike]',
    })(),
    repair: Flags.boolean({ description: 'bring what differs to EC2 with backfill, and compare again' }),
    resume: Flags.boolean({ description: 'go on with the same comparison where it was interrupted' }),
  };

  async run(): Promise<CompareReport & { repair?: BackfillReport }> {
    const { flags } = await this.parse(Compare);
    const asked = requestOf(flags);
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const request = { ...asked, selection: settings.tables };
    const stop = this.stopSignal();
    return await withSides(settings, 'compare', this.logger(), async (databases) => {
      const sides = await orientSides(databases);
      const outcome = await this.#compare(sides, request, { stop, output: flags.output });
      const isLast = outcome.report.verdict === 'identical' || !flags.repair;
      // What is done next needs no advice.
      this.log(renderComparison(outcome, { withNext: isLast }));
      if (isLast) return this.#conclude(outcome);
      const repair = await this.#repair({ ...databases, ...sides }, outcome, settings.tables, stop);
      const again = await this.#compare(sides, { ...request, ...outcome.compared, resume: false }, { stop });
      this.log(renderComparison(again));
      return { ...this.#conclude(again), repair };
    });
  }

  async #compare(
    sides: Parameters<typeof compare>[0],
    request: CompareRequest,
    { stop, output }: { stop: AbortSignal; output?: string | undefined },
  ): Promise<CompareOutcome> {
    const progress = createProgress('Comparing');
    const outcome = await withJsonLines(output, (onDifference) =>
      compare(sides, request, {
        stop,
        onDifference,
        onProgress: ({ table, step, rows, done, leftMs }) =>
          progress.update(`${table}, ${step}, ${counted(rows, 'row')}, ${renderShare(done, leftMs)}`),
      }),
    ).finally(() => progress.stop());
    return outcome;
  }

  async #repair(
    sides: BackfillSides & Parameters<typeof compare>[0],
    { differing }: CompareOutcome,
    selection: CompareRequest['selection'],
    stop: AbortSignal,
  ): Promise<BackfillReport> {
    const progress = createProgress('Repairing');
    // The modules that only --repair needs take their time to load.
    const { backfill } = await import('../lib/operations/backfill/backfill.js');
    const report = await backfill(sides, requestForDiffering(differing, sides.primary.side, selection), {
      stop,
      logger: this.logger(),
      onPlan: (plan) => this.note(renderPlan(plan)),
      onProgress: showBackfill(progress),
    }).finally(() => progress.stop());
    this.log(renderBackfill(report, sides.secondary.side, { withNext: false }));
    return report;
  }

  #conclude({ report }: CompareOutcome): CompareReport {
    if (report.verdict === 'different') process.exitCode = EXIT_CODE.no;
    return report;
  }
}

type CompareFlags = Parameters<typeof parseRange>[0] & {
  readonly table?: string[] | undefined;
  readonly bucket?: string | undefined;
  readonly limit: number;
  readonly settle: string;
  readonly jobs: number;
  readonly resume: boolean;
  readonly digest?: DigestName | undefined;
};

const HOUR_MICROS = 3_600_000_000;

function requestOf({ table = [], bucket, settle, ...flags }: CompareFlags): CompareRequest {
  const { jobs, limit, resume, digest } = flags;
  return {
    ...(parseRange(flags) ?? { from: null, to: null, windowMicros: HOUR_MICROS }),
    jobs,
    limit,
    resume,
    digest,
    tables: [...new Set(table)],
    bucketMicros: bucket === undefined ? null : durationFlag('bucket', bucket),
    settleMs: durationFlag('settle', settle, 0) / 1000,
  };
}
