import { Flags } from '@oclif/core';
import { BaseCommand } from '../lib/cli/base-command.js';
import { renderComparison } from '../lib/cli/comparison.js';
import { withJsonLines } from '../lib/cli/json-lines.js';
import { createProgress } from '../lib/cli/progress.js';
import { openSideForBulk, withDatabases } from '../lib/cli/sides.js';
import { formatCount } from '../lib/cli/table.js';
import { durationFlag, instantFlag } from '../lib/cli/time-flags.js';
import { EXIT_CODE, UsageError } from '../lib/errors.js';
import { compare, type CompareRequest } from '../lib/operations/compare/compare.js';
import { DIGEST_NAMES, type CompareReport, type DigestName } from '../lib/operations/compare/report.js';

export default class Compare extends BaseCommand {
  static override summary = 'Prove that both sides hold the same rows, or name each difference.';
  static override description = `Both servers compute digests of their rows, bucket by bucket, at the same time; only digests travel. Where they differ the rows themselves are compared, and looked at again until writes in flight have settled. What EC2 lacks is pending (on its way), a known gap (in the ledger) or unexplained. Nothing is written but the verdict, and that only where this role may.

Exit code 0: identical, with nothing but pending rows between them. Exit code 1: different.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> --window 1h',
    '<%= config.bin %> <%= command.id %> --from 2025-07-01 --to 2025-07-02 --table water_level_readings',
    '<%= config.bin %> <%= command.id %> --all --output differences.jsonl --json',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    window: Flags.string({
      description: 'compare the last 15m, 1h, 2d, … up to now, or to --to [default: 1h]',
      exclusive: ['from', 'all'],
    }),
    from: Flags.string({ description: 'compare from this time on (ISO 8601, UTC where it names no zone)' }),
    to: Flags.string({ description: 'compare up to this time, exclusive [default: everything newer]' }),
    all: Flags.boolean({ description: 'compare everything', exclusive: ['from', 'to', 'window'] }),
    table: Flags.string({
      multiple: true,
      description: 'table to compare [default: sensor_registry and all readings]',
    }),
    bucket: Flags.string({ description: 'width of a digest, such as 1m [default: by the rows there are]' }),
    limit: Flags.integer({ min: 0, max: 100_000, default: 20, description: 'differences to show, at most' }),
    output: Flags.string({ description: 'write every difference to this file, as JSON lines' }),
    settle: Flags.string({ default: '10s', description: 'how long writes in flight may take to settle' }),
    jobs: Flags.integer({ min: 1, max: 4, default: 1, description: 'ranges compared side by side' }),
    digest: Flags.option({
      options: DIGEST_NAMES,
      description: 'digest of a row [default: the fast hash_record_extended where both servers compute it alike]',
    })(),
    resume: Flags.boolean({ description: 'go on with the same comparison where it was interrupted' }),
  };

  async run(): Promise<CompareReport> {
    const { flags } = await this.parse(Compare);
    const request = requestOf(flags);
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const primary = openSideForBulk('local', settings, 'compare', this.logger(flags.verbose));
    const secondary = openSideForBulk('ec2', settings, 'compare', this.logger(flags.verbose));
    const progress = createProgress('Comparing');
    const stop = this.stopSignal();
    const outcome = await withDatabases([primary, secondary], () =>
      withJsonLines(flags.output, (onDifference) =>
        compare({ primary, secondary }, request, {
          ...{ stop, onDifference },
          onProgress: ({ table, step, rows, done, leftMs }) =>
            progress.update(`${table}, ${step}, ${formatCount(rows)} rows, ${renderShare(done, leftMs)}`),
        }),
      ),
    ).finally(() => progress.stop());
    this.log(renderComparison(outcome));
    if (outcome.report.verdict === 'different') process.exitCode = EXIT_CODE.no;
    return outcome.report;
  }
}

interface RangeFlags {
  readonly window?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly all: boolean;
  readonly table?: string[] | undefined;
  readonly bucket?: string | undefined;
  readonly limit: number;
  readonly settle: string;
  readonly jobs: number;
  readonly resume: boolean;
  readonly digest?: DigestName | undefined;
}

function requestOf({ window, from, to, all, table = [], bucket, settle, ...flags }: RangeFlags): CompareRequest {
  const start = from === undefined ? null : instantFlag('from', from);
  const end = to === undefined ? null : instantFlag('to', to);
  if (start !== null && end !== null && start >= end) {
    throw new UsageError('--to is not after --from', { next: 'ranges are [from, to): give a later --to' });
  }
  const windowed = !all && start === null && (window !== undefined || end === null);
  return {
    ...flags,
    tables: [...new Set(table)],
    from: start,
    to: end,
    windowMicros: windowed ? durationFlag('window', window ?? '1h') : null,
    bucketMicros: bucket === undefined ? null : durationFlag('bucket', bucket),
    settleMs: durationFlag('settle', settle, 0) / 1000,
  };
}

/** `42 %, about 3 min left`. */
function renderShare(done: number, leftMs: number | null): string {
  const share = `${Math.floor(done * 100)} %`;
  if (leftMs === null) return share;
  return `${share}, about ${leftMs < 90_000 ? `${Math.ceil(leftMs / 1000)} s` : `${Math.ceil(leftMs / 60_000)} min`} left`;
}
