import * as Args from '@oclif/core/args';
import { BaseCommand } from '../lib/cli/base-command.js';
import { numberFlag } from '../lib/cli/flags.js';
import { createProgress } from '../lib/cli/progress.js';
import { openQueue } from '../lib/cli/open-queue.js';
import { counted } from '../lib/cli/quantities.js';
import { EXIT_CODE } from '../lib/errors.js';
import { readBodies, replay, type ReplaySummary } from '../lib/operations/replay.js';

export default class Replay extends BaseCommand {
  static override summary = 'Send telemetry from JSON-lines files to the queue, one message a line.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> telemetry.jsonl',
    '<%= config.bin %> <%= command.id %> day-1.jsonl day-2.jsonl --rate 500',
  ];
  static override enableJsonFlag = true;
  static override strict = false;
  static override args = {
    file: Args.file({ description: 'JSON-lines file, or - for stdin; several may be given', required: true }),
  };
  static override flags = {
    rate: numberFlag({ min: 1, description: 'messages a second [default: as fast as the queue takes them]' }),
  };

  async run(): Promise<ReplaySummary> {
    const { argv, flags } = await this.parse(Replay);
    const queue = openQueue(this.settings({ required: ['SQS_QUEUE_URL'] }));
    const stop = this.stopSignal();
    const progress = createProgress('Sending');
    try {
      const summary = await replay({
        queue,
        bodies: readBodies(argv as string[], process.stdin),
        rate: flags.rate ?? Infinity,
        stop,
        onProgress: (sent) => progress.update(counted(sent, 'message')),
      });
      this.log(`Sent ${counted(summary.sent, 'message')} in ${summary.seconds} s.`);
      if (stop.aborted) process.exitCode = EXIT_CODE.interrupted;
      return summary;
    } finally {
      progress.stop();
      queue.close();
    }
  }
}
