import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { numberFlag } from '../lib/cli/number-flags.js';
import { commandRunner } from '../lib/cli/command-runner.js';
import { renderTable } from '../lib/cli/table.js';
import { EXIT_CODE } from '../lib/errors.js';
import { demo, type DemoReport } from '../lib/operations/demo/demo.js';

const SECONDS_OF_LOAD = 60;

export default class Demo extends BaseCommand {
  static override summary =
    'Watch a whole migration in a sandbox, with EC2 lost and back, cutover and rollback, in about two minutes.';
  static override description = `Starts the sandbox, prepares both sides, and sends telemetry all the time while it runs the commands that an operator would: dual write, EC2 lost and back, compare finds what it lacks, backfill repairs it, compare proves it, cutover through the gates to phase 3, and rollback. It ends with a table that accounts for every message. Needs no database, no queue and no settings. Exit code 1 when the figures do not add up.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --file telemetry.jsonl',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    file: Flags.file({
      multiple: true,
      description: 'JSON-lines telemetry to send instead of generated',
      exclusive: ['messages', 'seed'],
    }),
    messages: numberFlag({ min: 30, default: 12_000, description: 'messages to generate' }),
    seed: numberFlag({ min: 0, default: 1, description: 'seed of the generated telemetry' }),
  };

  async run(): Promise<DemoReport> {
    const { flags } = await this.parse(Demo);
    const { file: files, messages, seed } = flags;
    const report = await demo({
      telemetry: files === undefined ? { messages, seed } : { files },
      loadSeconds: SECONDS_OF_LOAD,
      runner: commandRunner(this.config.root),
      tell: (line) => this.note(line),
      stop: this.stopSignal(),
    });
    this.log(renderReport(report));
    if (!report.adds) process.exitCode = EXIT_CODE.no;
    return report;
  }
}

function renderReport({ sent, consumed, local, ec2, missed, adds }: DemoReport): string {
  const sides = renderTable(
    ['table', 'local rows', 'EC2 rows', 'local newest', 'EC2 newest'],
    local.tables.map((here, index) => {
      const there = ec2.tables[index];
      return [here.table, here.rows, there?.rows ?? 0, here.newest ?? '-', there?.newest ?? '-'];
    }),
  );
  const account = renderTable(
    ['account of every message', 'count'],
    [
      ['messages sent', sent],
      ['+ further readings of gateway messages', consumed.furtherReadings],
      ['= readings that local accepted', consumed.accepted],
      ['+ retransmissions that local refused', consumed.refused],
      ['+ quarantined, with the reason', consumed.quarantined],
      ['readings on local', local.rows],
      ['= readings on EC2', ec2.rows],
      ['+ readings that the ledger says EC2 lacks', missed],
    ],
  );
  const verdict = adds
    ? 'It adds up: nothing is lost, and what EC2 lacks is known.'
    : 'It does not add up: this is a defect in sensorctl.';
  return `${sides}\n${account}\n${verdict}`;
}
