import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { parseRecordOrAll } from '../../lib/cli/flags.js';
import { DECODER_FLAGS, decoderSetting, DecodingCommand } from '../../lib/cli/decoder.js';
import { withRepository } from '../../lib/cli/with-repository.js';
import { openSide, withDatabases } from '../../lib/cli/open-sides.js';
import { oneLine } from '../../lib/cli/output.js';
import { EXIT_CODE } from '../../lib/errors.js';
import { retryQuarantined, type RetryOutcome } from '../../lib/operations/manage-quarantine.js';

export default class QuarantineRetry extends DecodingCommand {
  static override summary = 'Decode quarantined messages again and store them, after what was in their way is mended.';
  static override description = `Messages are decoded by the decoder of today; a row of a table goes back into it where its key is not there. Rows are written as a consumer writes them: to the primary, and to the other side where dual write is on. What is stored is closed; what fails again stays open. Exit code 1 when any failed.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> local:12',
    '<%= config.bin %> <%= command.id %> --all',
  ];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ description: 'record, such as local:12' }) };
  static override flags = {
    all: Flags.boolean({ description: 'every open record on the primary' }),
    table: Flags.string({ description: 'table that takes rows of tables, in place of the one that they are of' }),
    ...DECODER_FLAGS,
  };

  async run(): Promise<RetryOutcome> {
    const { args, flags } = await this.parse(QuarantineRetry);
    const named = parseRecordOrAll(args.record, flags.all);
    const settings = this.settings({ flags: decoderSetting(flags) });
    const decoder = await this.openDecoder(settings);
    const logger = this.logger();
    // A database without the guide's tables has rows of its own in the quarantine.
    const declared = decoder.file === null ? {} : (decoder.decoder.tables ?? {});
    const options = { command: 'quarantine', healRate: 0, declared, logger };
    const { keptOn, outcome } = await withRepository(settings, options, async (repository) => {
      const side = named?.keptOn ?? repository.roles.primary;
      const database = openSide(side, settings, 'quarantine', logger);
      const ids = named === null ? 'all' : [named.id];
      const done = await withDatabases([database], () =>
        retryQuarantined(repository, database, { ids, decoder, table: flags.table ?? null }),
      );
      return { keptOn: side, outcome: done };
    });
    this.log(`Stored ${outcome.stored}, failed again ${outcome.failed.length}.`);
    for (const { id, reason } of outcome.failed) this.log(oneLine(`  ${keptOn}:${id}  ${reason}`));
    if (outcome.failed.length > 0) process.exitCode = EXIT_CODE.no;
    return outcome;
  }
}
