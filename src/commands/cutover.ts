import { CommandLineError } from '../lib/cli/advice.js';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { createChecks, USUAL_SOAK } from '../lib/cli/cutover-checks.js';
import { confirm, describeOperator } from '../lib/cli/operator.js';
import {
  describeChange,
  printCutover,
  renderCutover,
  renderGates,
  type PrintedCutover,
} from '../lib/cli/render-cutover.js';
import { createProgress } from '../lib/cli/progress.js';
import { withSides } from '../lib/cli/open-sides.js';
import { durationFlag } from '../lib/cli/flags.js';
import { EXIT_CODE } from '../lib/errors.js';
import { cutover, type CutoverRequest } from '../lib/operations/cutover/cutover.js';

export default class Cutover extends BaseCommand {
  static override summary = 'Show where the migration stands, or change its phase behind gates.';
  static override description = `Phase 1, testing: dual write is on, EC2 may be behind. Phase 2, production: dual write, both sides proven equal. Phase 3: EC2 is the primary, local is kept as it was (or current, with --keep-local-current).

Consumers follow the recorded phase by themselves. A change of the primary pauses them while what is under way is drained and compared; other programs that write to tracked tables wait at their first write, and those that have begun are waited for. If it takes longer than --max-pause, fails, or this process is killed, it goes back to the phase before by itself.

Exit code 1 when a gate is not met or the change went back, 4 when somebody else changes the phase.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --phase 2',
    '<%= config.bin %> <%= command.id %> --phase 3 --dry-run',
    '<%= config.bin %> <%= command.id %> --phase 3 --keep-local-current',
    '<%= config.bin %> <%= command.id %> --rollback',
    '<%= config.bin %> <%= command.id %> --phase 3 --yes --force --reason "soak cut short, change 4711"',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    phase: Flags.option({
      options: ['1', '2', '3'] as const,
      description: 'phase to go to',
      exclusive: ['rollback'],
    })(),
    rollback: Flags.boolean({ description: 'go one phase back' }),
    'dry-run': Flags.boolean({ description: 'measure the gates, and change nothing' }),
    yes: Flags.boolean({ description: 'do not ask' }),
    force: Flags.boolean({ description: 'override gates that are not met; recorded', dependsOn: ['reason'] }),
    reason: Flags.string({ description: 'why, for the record' }),
    'keep-local-current': Flags.boolean({ default: false, description: 'in phase 3, write to local too, after EC2' }),
    'min-soak': Flags.string({ default: USUAL_SOAK, description: 'time in phase 2 before phase 3' }),
    'end-writers': Flags.boolean({
      description: 'end the sessions of other programs whose transactions hold up a change of the primary',
    }),
    'max-pause': Flags.string({ default: '60s', description: 'time consumers may pause, at most' }),
  };

  async run(): Promise<PrintedCutover> {
    const { flags } = await this.parse(Cutover);
    if (flags.force && flags.reason?.trim() === '')
      throw new CommandLineError('--force wants a reason', '--reason "why"');
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const to = flags.rollback ? 'back' : flags.phase === undefined ? null : (Number(flags.phase) as 1 | 2 | 3);
    const request: CutoverRequest = {
      to,
      dryRun: flags['dry-run'],
      force: flags.force,
      reason: flags.reason ?? null,
      keepLocalCurrent: keepsLocal(flags['keep-local-current'], to),
      by: describeOperator(),
      selection: settings.tables,
      minSoakMs: durationFlag('min-soak', flags['min-soak'], 0) / 1000,
      endWriters: flags['end-writers'],
      maxPauseMs: durationFlag('max-pause', flags['max-pause']) / 1000,
    };
    const logger = this.logger();
    const stop = this.stopSignal();
    const progress = createProgress('Cutover');
    progress.update('asking both sides where the migration stands');
    const report = await withSides(settings, 'cutover', logger, (sides) =>
      cutover(sides, request, {
        checks: createChecks(sides, settings.tables, stop),
        hooks: {
          stop,
          logger,
          confirm: async (plan) => {
            progress.stop();
            if (to === null || flags.yes) return;
            this.noteLines(renderGates(plan.gates));
            await confirm(describeChange(to, plan), false);
          },
          onGate: (names) => progress.update(`gates: ${names}`),
          onStep: (name, detail) => progress.update(detail === '' ? name : `${name}: ${detail}`),
        },
      }),
    ).finally(() => progress.stop());
    const change = to === 'back' ? '--rollback' : `--phase ${String(to)}`;
    const soak = flags['min-soak'] === USUAL_SOAK ? '' : ` --min-soak ${flags['min-soak']}`;
    // Who was asked has seen the gates.
    const told = report.changed && !flags.yes ? { ...report, gates: [] } : report;
    this.log(renderCutover(told, to === null ? null : `sensorctl cutover ${change}${soak}`));
    if (!report.changed && report.gates.some(({ passed }) => !passed)) process.exitCode = EXIT_CODE.no;
    return printCutover(report);
  }
}

function keepsLocal(flag: boolean, to: number | 'back' | null): boolean {
  if (flag && to !== 3) throw new CommandLineError('--keep-local-current belongs to --phase 3', 'leave it out');
  return flag;
}
