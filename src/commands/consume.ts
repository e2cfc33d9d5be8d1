import { hostname } from 'node:os';
import { Flags } from '@oclif/core';
import { BaseCommand } from '../lib/cli/base-command.js';
import { queueConnection } from '../lib/cli/queue.js';
import { openSide, withDatabases } from '../lib/cli/sides.js';
import { renderTable } from '../lib/cli/table.js';
import type { Settings } from '../lib/config.js';
import { asUnreachable, type Database } from '../lib/db/database.js';
import { SensorctlError } from '../lib/errors.js';
import { consume } from '../lib/operations/consume/consume.js';
import type { ConsumeSummary } from '../lib/operations/consume/tally.js';
import { Queue } from '../lib/queue/queue.js';
import { DualWriteRepository } from '../lib/repository/dual-write-repository.js';

export default class Consume extends BaseCommand {
  static override summary = 'Consume telemetry from the queue into local and, with dual write on, into EC2.';
  static override description = `Readings are committed locally, then acknowledged, then sent to EC2 in the background. An EC2 failure never blocks a
local write: what EC2 misses stands in the ledger. Without --dual-write, ENABLE_DUAL_WRITE decides (default: local only).

The first Ctrl-C or SIGTERM finishes what is in hand and exits with 0; the second stops at once with 130. Nothing is lost either way.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> --dual-write',
    '<%= config.bin %> <%= command.id %> --dual-write --drain --json',
    '<%= config.bin %> <%= command.id %> --no-dual-write --max-messages 1000',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    'dual-write': Flags.boolean({
      allowNo: true,
      description: 'write to EC2 too, or not; over ENABLE_DUAL_WRITE',
    }),
    drain: Flags.boolean({ description: 'end once the queue is empty and every EC2 write has settled' }),
    'max-messages': Flags.integer({ min: 1, description: 'end after this many messages' }),
    pollers: Flags.integer({ min: 1, max: 64, default: 8, description: 'long polls in parallel' }),
    'batch-messages': Flags.integer({
      min: 1,
      max: 10_000,
      default: 500,
      description: 'messages in one batch, at most',
    }),
    'batch-linger': Flags.integer({
      min: 0,
      max: 10_000,
      default: 200,
      description: 'how long a batch waits for more messages, in ms',
    }),
  };

  async run(): Promise<ConsumeSummary> {
    const { flags } = await this.parse(Consume);
    const chosen = flags['dual-write'] as boolean | undefined;
    const settings = this.settings({
      required: ['SQS_QUEUE_URL'],
      flags: chosen === undefined ? {} : { ENABLE_DUAL_WRITE: String(chosen) },
    });
    const logger = this.logger(flags.verbose);
    const local = openSide('local', settings, 'consume', logger);
    const ec2 = settings.enableDualWrite === true ? openSide('ec2', settings, 'consume', logger) : null;
    const queue = new Queue(queueConnection(settings));
    const databases = ec2 === null ? [local] : [local, ec2];
    const summary = await withDatabases(databases, async () => {
      const repository = await this.#openRepository(settings, local, ec2);
      try {
        return await consume({
          queue,
          repository,
          primarySide: 'local',
          telemetry: settings.telemetry,
          pollers: flags.pollers,
          batchMessages: flags['batch-messages'],
          lingerMs: flags['batch-linger'],
          maxMessages: flags['max-messages'] ?? Infinity,
          drain: flags.drain,
          logger,
          stop: this.stopSignal(),
        });
      } finally {
        await repository.close();
        queue.close();
      }
    });
    this.log(renderSummary(summary));
    return summary;
  }

  async #openRepository(settings: Settings, local: Database, ec2: Database | null): Promise<DualWriteRepository> {
    this.note(ec2 === null ? '📝 Initializing single-write repository...' : '🔄 Initializing dual-write repository...');
    for (const warning of ec2 === null ? [] : settings.warnings) this.note(`Warning: ${warning}`);
    try {
      return await DualWriteRepository.open({
        primary: local,
        secondary: ec2,
        retry: { retries: settings.ec2Write.retries, delayMs: settings.ec2Write.retryDelayMs },
        concurrency: ec2?.pool.options.max ?? 1,
        consumer: { host: hostname(), pid: process.pid },
        logger: this.logger(),
      });
    } catch (error) {
      throw error instanceof SensorctlError ? error : asUnreachable(error, local);
    }
  }
}

function renderSummary(summary: ConsumeSummary): string {
  const items = summary.accepted + summary.refused + summary.quarantined;
  return renderTable(
    ['consumed', 'count'],
    [
      ['messages', summary.messages],
      ['further readings of gateway messages', summary.furtherReadings],
      ['= readings accepted by local', summary.accepted],
      ['+ retransmissions that local refused', summary.refused],
      ['+ quarantined', summary.quarantined],
      ['  (sum)', items],
      ['sent to EC2 and confirmed', summary.confirmed],
      ['entered in the ledger as missed', summary.missed],
      ['not acknowledged (will come again)', summary.unacknowledged],
    ],
  );
}
