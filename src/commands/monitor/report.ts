import { writeFile } from 'node:fs/promises';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { withMonitored } from '../../lib/cli/monitor/monitored.js';
import { describeReport, renderReportPage } from '../../lib/cli/monitor/report-page.js';
import { durationFlag } from '../../lib/cli/time-flags.js';
import { UsageError } from '../../lib/errors.js';
import { readReport, type MonitorReport } from '../../lib/operations/monitor/report.js';

export default class MonitorReportCommand extends BaseCommand {
  static override summary = 'Write what monitors and comparisons have seen as one file, for a change ticket.';
  static override description =
    'Reads the samples that monitor has kept on both sides, the verdicts of compare and the changes of phase, and writes one HTML file that needs no other: plots, incidents, gaps opened and closed, verdicts.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> --since 24h',
    '<%= config.bin %> <%= command.id %> --since 2d --output soak.html --json',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    since: Flags.string({ default: '24h', description: 'the last 24h, 2d, …' }),
    output: Flags.string({ default: 'sensorctl-report.html', description: 'file to write' }),
  };

  async run(): Promise<MonitorReport> {
    const { flags } = await this.parse(MonitorReportCommand);
    const sinceMs = durationFlag('since', flags.since) / 1000;
    const report = await withMonitored(this.settings(), this.logger(), ({ local, ec2 }) =>
      readReport({ local, ec2, sinceMs, gates: null }),
    );
    await writeFile(flags.output, renderReportPage(report)).catch((error: unknown) => {
      throw new UsageError(`${flags.output} cannot be written: ${(error as Error).message}`, {
        next: 'give another --output',
      });
    });
    for (const message of report.notRead) this.note(`Warning: ${message}`);
    this.log(`${describeReport(report)}\nWritten: ${flags.output}`);
    return report;
  }
}
