import * as Flags from '@oclif/core/flags';
import { DECODER_FLAGS, decoderSetting, DecodingCommand } from '../lib/cli/decoder.js';
import { METRICS_FLAGS, metricsAddress, numberFlag } from '../lib/cli/flags.js';
import { openQueue } from '../lib/cli/open-queue.js';
import { renderConsumeReport } from '../lib/cli/render-consume.js';
import { withRepository } from '../lib/cli/with-repository.js';
import { consume, type ConsumeReport } from '../lib/operations/consume/consume.js';

export default class Consume extends DecodingCommand {
  static override summary = 'Consume telemetry from the queue into local and, with dual write on, into EC2.';
  static override description = `Readings are committed locally, then acknowledged, then sent to EC2 in the background. An EC2 failure never blocks a local write: what EC2 misses stands in the ledger. Without --dual-write, ENABLE_DUAL_WRITE decides; without either, the phase that cutover recorded (none: local only). Once EC2 is the primary, a running consumer goes on there by itself, and --no-dual-write is refused.

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
    'max-messages': numberFlag({ min: 1, description: 'end after this many messages' }),
    'health-port': numberFlag({ min: 1, max: 65_535, description: 'port that answers /healthz and /readyz' }),
    'health-host': Flags.string({
      default: '127.0.0.1',
      description: 'address of the health port',
    }),
    ...METRICS_FLAGS,
    ...DECODER_FLAGS,
    pollers: numberFlag({ min: 1, max: 64, default: 8, description: 'long polls in parallel' }),
    'heal-rate': numberFlag({
      min: 0,
      max: 1_000_000,
      default: 2_000,
      description: 'rows a second that the background repair of missed ranges may copy; 0 switches it off',
    }),
    'batch-messages': numberFlag({
      min: 1,
      max: 10_000,
      default: 500,
      description: 'messages in one batch, at most',
    }),
    'batch-linger': numberFlag({
      min: 0,
      max: 10_000,
      default: 200,
      description: 'how long a batch waits for more messages, in ms',
    }),
  };

  async run(): Promise<ConsumeReport> {
    const { flags } = await this.parse(Consume);
    const chosen = flags['dual-write'] as boolean | undefined;
    const settings = this.settings({
      required: (given) => ['SQS_QUEUE_URL', ...(given.ENABLE_DUAL_WRITE === 'true' ? ['EC2_DB_HOST'] : [])],
      flags: { ...decoderSetting(flags), ...(chosen === undefined ? {} : { ENABLE_DUAL_WRITE: String(chosen) }) },
    });
    const logger = this.logger();
    const decoder = await this.openDecoder(settings);
    const queue = openQueue(settings);
    const stop = this.stopSignal();
    const tell = (line: string): void => this.note(line);
    const declared = decoder.decoder.tables ?? {};
    const options = { command: 'consume', healRate: flags['heal-rate'], declared, logger, tell };
    const report = await withRepository(settings, options, (repository) =>
      consume({
        queue,
        repository,
        decoder,
        fromMac: decoder.file === null ? settings.telemetry.sensorIdFromMac : null,
        pollers: flags.pollers,
        batchMessages: flags['batch-messages'],
        lingerMs: flags['batch-linger'],
        maxMessages: flags['max-messages'] ?? Infinity,
        drain: flags.drain,
        health: flags['health-port'] === undefined ? null : { host: flags['health-host'], port: flags['health-port'] },
        metrics: metricsAddress(flags),
        logger,
        stop,
      }),
    );
    queue.close();
    this.log(renderConsumeReport(report));
    return report;
  }
}
