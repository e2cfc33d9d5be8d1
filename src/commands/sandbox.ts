import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { runSandbox } from '../lib/operations/sandbox.js';

export default class SandboxCommand extends BaseCommand {
  static override summary = 'Run two PostgreSQL servers and an SQS-compatible queue on this machine.';
  static override description = `Everything comes from npm packages; nothing is installed by hand. Prints the settings for a second terminal, and stops everything at Ctrl-C. The data is discarded then, unless --data names a directory for it. The queue is kept in memory.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> --write-env .env.local',
    '<%= config.bin %> <%= command.id %> --data ./.sandbox',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    data: Flags.directory({ description: 'directory that keeps the data of both servers' }),
    'write-env': Flags.file({ description: 'file to write the settings to, such as .env.local' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(SandboxCommand);
    const ready =
      'Ready. In a second terminal: sensorctl init, then sensorctl consume --dual-write. Ctrl-C stops the sandbox.';
    // From here on a signal ends what was started, too.
    const stop = this.stopSignal();
    this.note('Starting two PostgreSQL servers and a queue...');
    await runSandbox({
      dataDir: flags.data,
      envFile: flags['write-env'],
      onReady: (settings) => {
        const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
        this.log(lines.join('\n'));
        if (this.jsonEnabled()) this.logJson({ settings });
        this.note(ready);
      },
      stop,
    });
  }
}
