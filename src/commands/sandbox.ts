import { writeFile } from 'node:fs/promises';
import { Flags } from '@oclif/core';
import { BaseCommand } from '../lib/cli/base-command.js';
import { startSandbox } from '../lib/sandbox/sandbox.js';

export default class SandboxCommand extends BaseCommand {
  static override summary = 'Run two PostgreSQL servers and an SQS-compatible queue on this machine.';
  static override description = `Everything comes from npm packages; nothing is installed by hand. Prints the settings for a second terminal, and stops everything at Ctrl-C. The data is discarded then, unless --data names a directory for it. The queue is kept in memory.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> --write-env .env.local',
    '<%= config.bin %> <%= command.id %> --data ./.sandbox',
  ];
  static override flags = {
    data: Flags.directory({ description: 'directory that keeps the data of both servers' }),
    'write-env': Flags.file({ description: 'file to write the settings to, such as .env.local' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(SandboxCommand);
    const stop = this.stopSignal();
    this.note('Starting two PostgreSQL servers and a queue...');
    const sandbox = await startSandbox(flags.data === undefined ? {} : { dataDir: flags.data });
    try {
      const settings = Object.entries(sandbox.settings()).map(([name, value]) => `${name}=${value}`);
      this.log(settings.join('\n'));
      if (flags['write-env'] !== undefined)
        await writeFile(flags['write-env'], `${settings.join('\n')}\n`, { mode: 0o600 });
      this.note(
        'Ready. In a second terminal: sensorctl init, then sensorctl consume --dual-write. Ctrl-C stops the sandbox.',
      );
      await aborted(stop);
    } finally {
      await sandbox.stop();
    }
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  // The listener alone does not keep Node running; the timer does.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  clearInterval(alive);
}
