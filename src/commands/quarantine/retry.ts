import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { parseRecordName } from '../../lib/cli/record-names.js';
import { withRepository } from '../../lib/cli/repository.js';
import { openSide, withDatabases } from '../../lib/cli/sides.js';
import { EXIT_CODE, UsageError } from '../../lib/errors.js';
import { retryQuarantined, type RetryOutcome } from '../../lib/operations/quarantine.js';

export default class QuarantineRetry extends BaseCommand {
  static override summary = 'Decode quarantined messages again and store them, after what was in their way is mended.';
  static override description = `Readings are written as a consumer writes them: to local, and to EC2 where dual write is on. What is stored is closed; what fails again stays open. Exit code 1 when any failed.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> local:12',
    '<%= config.bin %> <%= command.id %> --all',
  ];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ description: 'record on local, such as local:12' }) };
  static override flags = { all: Flags.boolean({ description: 'every open record on local' }) };

  async run(): Promise<RetryOutcome> {
    const { args, flags } = await this.parse(QuarantineRetry);
    const ids = flags.all ? 'all' : [recordOnLocal(args.record ?? '')];
    const settings = this.settings();
    const logger = this.logger();
    const local = openSide('local', settings, 'quarantine', logger);
    const outcome = await withDatabases([local], () =>
      withRepository(settings, { command: 'quarantine', healRate: 0, logger }, (repository) =>
        retryQuarantined(repository, local, { ids, telemetry: settings.telemetry }),
      ),
    );
    this.log(`Stored ${outcome.stored}, failed again ${outcome.failed.length}.`);
    for (const { id, reason } of outcome.failed) this.log(`  local:${id}  ${reason}`);
    if (outcome.failed.length > 0) process.exitCode = EXIT_CODE.no;
    return outcome;
  }
}

function recordOnLocal(text: string): number {
  const { keptOn, id } = parseRecordName(text);
  if (keptOn === 'local') return id;
  throw new UsageError(`${text} is kept on EC2: a row that a repair replaced, not a message to store`, {
    next: 'run: sensorctl quarantine show',
  });
}
