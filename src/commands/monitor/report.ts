import { CommandLineError } from '../../lib/cli/advice.js';
import { writeFile } from 'node:fs/promises';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { surveyGates } from '../../lib/cli/cutover-checks.js';
import { withMonitored } from '../../lib/cli/open-queue.js';
import { describeReport, renderReportPage } from '../../lib/cli/monitor/report-page.js';
import { durationFlag } from '../../lib/cli/flags.js';
import { describeFileFault } from '../../lib/errors.js';
import { readReport, type MonitorReport } from '../../lib/operations/monitor/monitor-report.js';

export default class MonitorReportCommand extends BaseCommand {
  static override summary = 'Write what monitors and comparisons have seen as one file, for a change ticket.';
  static override description =
    'Reads the samples that monitor has kept on both sides, the verdicts of compare and the changes of phase, and writes one HTML file that needs no other: plots, incidents, gaps opened and closed, verdicts, how old the proof of each table is, and in phase 2 the gates of phase 3 (a gate that the role may not measure counts as not met; --no-gates leaves them out).';
  static override examples = [
    '<%= config.bin %> <%= command.id %> --since 24h',
    '<%= config.bin %> <%= command.id %> --since 2d --output soak.html --json',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    since: Flags.string({ default: '24h', description: 'the last 24h, 2d, …' }),
    output: Flags.string({ default: 'sensorctl-report.html', description: 'file to write' }),
    gates: Flags.boolean({ default: true, allowNo: true, description: 'in phase 2, measure the gates of phase 3' }),
  };

  async run(): Promise<MonitorReport> {
    const { flags } = await this.parse(MonitorReportCommand);
    const sinceMs = durationFlag('since', flags.since) / 1000;
    const settings = this.settings();
    const logger = this.logger();
    const gates = flags.gates ? await surveyGates(settings, logger, this.stopSignal()) : null;
    const report = await withMonitored(settings, logger, ({ local, ec2 }) =>
      readReport({ local, ec2, sinceMs, selection: settings.tables, gates }),
    );
    await writeFile(flags.output, renderReportPage(report)).catch((error: unknown) => {
      throw new CommandLineError(
        `${flags.output} cannot be written: ${describeFileFault(error)}`,
        'give another --output',
      );
    });
    for (const message of report.notRead) this.note(`Warning: ${message}`);
    this.log(`${describeReport(report)}\nWritten: ${flags.output}`);
    return report;
  }
}
