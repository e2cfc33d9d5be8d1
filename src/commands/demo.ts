import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { commandRunner } from '../lib/cli/command-runner.js';
import { numberFlag } from '../lib/cli/flags.js';
import { renderDemoReport } from '../lib/cli/render-demo.js';
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
    this.log(renderDemoReport(report));
    if (!report.adds) process.exitCode = EXIT_CODE.no;
    return report;
  }
}
