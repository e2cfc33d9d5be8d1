import { CommandLineError } from '../lib/cli/advice.js';
import * as Flags from '@oclif/core/flags';
import { renderBackfill, renderPlan, showBackfill, targetOf } from '../lib/cli/render-backfill.js';
import { numberFlag, parseRange, RANGE_FLAGS, TABLE_FLAG } from '../lib/cli/flags.js';
import { BaseCommand } from '../lib/cli/base-command.js';
import { confirm } from '../lib/cli/operator.js';
import { createProgress } from '../lib/cli/progress.js';
import { orientSides, withSides } from '../lib/cli/open-sides.js';
import { EXIT_CODE } from '../lib/errors.js';
import type { Logger } from '../lib/logger.js';
import { follow, type FollowedTurn } from '../lib/operations/backfill/follow.js';
import { backfill, planBackfill } from '../lib/operations/backfill/backfill.js';
import type {
  BackfillHooks,
  BackfillSides,
  BackfillMode,
  BackfillPlan,
  BackfillReport,
  BackfillRequest,
} from '../lib/operations/backfill/backfill-report.js';

export default class Backfill extends BaseCommand {
  static override summary = 'Bring to EC2 exactly what it missed, and verify it.';
  static override description = `Without a range: repairs the gaps that the ledger knows. With --window, --from and --to, or --all: compares first and copies what differs; with --full it copies without comparing (the first load of history). Runs beside live writes. Rows that only EC2 has are reported and left alone, unless --prune deletes them.

The work is cut into units that live on EC2: killed at any point, the same command goes on; started a second time, here or on another host, it joins in. The first Ctrl-C ends after the units at hand, the second at once.

With --follow it goes on: it repairs whatever the ledger holds, turn by turn, until Ctrl-C or SIGTERM, and changes its direction with a switch. That is for installations where other programs write and no consumer runs. With --json each turn that repaired something is a line.

Exit code 1 when gaps remain, rows were refused, or a table could not be copied.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --follow',
    '<%= config.bin %> <%= command.id %> --window 1d',
    '<%= config.bin %> <%= command.id %> --all --full --jobs 4',
    '<%= config.bin %> <%= command.id %> --from 2025-07-01 --to 2025-07-02 --dry-run',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    ...RANGE_FLAGS,
    follow: Flags.boolean({ description: 'repair what the ledger holds, and go on until stopped' }),
    full: Flags.boolean({ description: 'copy without comparing; with --all or a range' }),
    table: TABLE_FLAG,
    jobs: numberFlag({
      min: 1,
      max: 16,
      description: 'units copied side by side [default: 2, 8 to a distant side]',
    }),
    'max-rate': numberFlag({ min: 1, description: 'rows a second, at most' }),
    'dry-run': Flags.boolean({ description: 'say what would be done, and change nothing' }),
    direction: Flags.option({
      options: ['local-to-ec2', 'ec2-to-local'] as const,
      description:
        'way that rows take [default: from the primary to the other side]; to the primary, it adds what is missing there and overwrites nothing',
    })(),
    prune: Flags.boolean({
      default: false,
      description: 'delete rows that only the target has; they are kept in its quarantine',
    }),
    yes: Flags.boolean({ description: 'do not ask before --prune deletes' }),
  };

  #isFollowing = false;

  async run(): Promise<BackfillReport | BackfillPlan | undefined> {
    const { flags, raw } = await this.parse(Backfill);
    if (flags.follow) {
      await this.#follow(flags['max-rate'] ?? null, raw);
      return undefined;
    }
    const range = parseRange(flags);
    const mode = modeOf(flags, range !== null);
    assertPrunable(flags);
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const logger = this.logger();
    return await withSides(settings, 'backfill', logger, async (sides) => {
      const primary = (await orientSides(sides)).primary.side;
      const target = targetOf(flags, primary);
      const request: BackfillRequest = {
        ...(range ?? NO_RANGE),
        mode,
        target,
        primary,
        tables: [...new Set(flags.table ?? [])],
        selection: settings.tables,
        prune: flags.prune,
        jobs: flags.jobs ?? null,
        maxRate: flags['max-rate'] ?? null,
      };
      if (flags['dry-run']) return await this.#plan(sides, request, logger);
      if (flags.prune) await confirm(`Rows that only ${target} has will be deleted there.`, flags.yes);
      return await this.#backfill(sides, request, logger);
    });
  }

  async #follow(maxRate: number | null, given: readonly { readonly type: string }[]): Promise<void> {
    assertFollowable(given as readonly { readonly flag?: string }[]);
    this.#isFollowing = true;
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const logger = this.logger();
    const options = { maxRate, logger, stop: this.stopSignal() };
    const onTurn = (turn: FollowedTurn): void => {
      if (this.jsonEnabled()) this.logJson(turn);
    };
    await withSides(settings, 'backfill', logger, (sides) => follow(sides, { ...options, onTurn }));
  }

  /** With --follow a turn a line. */
  protected override logJson(value: unknown): void {
    if (value !== undefined) super.logJson(value, this.#isFollowing ? 0 : 2);
  }

  async #plan(sides: BackfillSides, request: BackfillRequest, logger: Logger): Promise<BackfillPlan> {
    const plan = await this.#withHooks(logger, (hooks) => planBackfill(sides, request, hooks));
    this.log(renderPlan(plan));
    return plan;
  }

  async #backfill(sides: BackfillSides, request: BackfillRequest, logger: Logger): Promise<BackfillReport> {
    const report = await this.#withHooks(logger, (hooks) => backfill(sides, request, hooks));
    this.log(renderBackfill(report, request.target));
    if (report.remainingGaps + report.rowsRefused + report.failed.length > 0) process.exitCode = EXIT_CODE.no;
    return report;
  }

  async #withHooks<Result>(logger: Logger, work: (hooks: BackfillHooks) => Promise<Result>): Promise<Result> {
    const progress = createProgress('Backfill');
    return await work({
      stop: this.stopSignal(),
      logger,
      onPlan: (plan) => this.note(renderPlan(plan)),
      onProgress: showBackfill(progress),
    }).finally(() => progress.stop());
  }
}

/** It takes whatever the ledger holds, and goes wherever the phase says. */
function assertFollowable(given: readonly { readonly flag?: string }[]): void {
  const allowed = new Set(['follow', 'max-rate', 'json', 'verbose']);
  const other = given.find(({ flag }) => flag !== undefined && !allowed.has(flag));
  if (other === undefined) return;
  throw new CommandLineError(
    `--follow goes with --max-rate alone, not with --${other.flag}`,
    'leave one of the two out',
  );
}

/** Rows that were not compared cannot be named as extra. */
function assertPrunable({ prune, full }: { prune: boolean; full: boolean }): void {
  if (!prune || !full) return;
  throw new CommandLineError('--prune needs the comparison that --full leaves out', 'leave --full or --prune out');
}

const NO_RANGE = { from: null, to: null, windowMicros: null };

function modeOf(
  flags: { full: boolean; prune: boolean; direction?: string | undefined },
  hasRange: boolean,
): BackfillMode {
  if (hasRange) return flags.full ? 'full' : 'differences';
  const lone = flags.full ? '--full' : flags.prune ? '--prune' : flags.direction !== undefined ? '--direction' : null;
  if (lone === null) return 'ledger';
  throw new CommandLineError(`${lone} needs a range`, 'give --all, --window, or --from and --to');
}
