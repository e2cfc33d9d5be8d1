import { CommandLineError } from '../../lib/cli/advice.js';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { counted } from '../../lib/cli/quantities.js';
import { parseRecordOrAll } from '../../lib/cli/flags.js';
import { openSide, withDatabases } from '../../lib/cli/open-sides.js';
import { discardQuarantined } from '../../lib/operations/manage-quarantine.js';

export default class QuarantineDiscard extends BaseCommand {
  static override summary = 'Close a quarantined record without storing it; its body is kept.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> local:12',
    '<%= config.bin %> <%= command.id %> --all --side local',
  ];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ description: 'record, such as local:12 or ec2:3' }) };
  static override flags = {
    all: Flags.boolean({ description: 'every open record of --side' }),
    side: Flags.option({ options: ['local', 'ec2'] as const, description: 'side of --all', dependsOn: ['all'] })(),
  };

  async run(): Promise<{ discarded: number }> {
    const { args, flags } = await this.parse(QuarantineDiscard);
    const named = parseRecordOrAll(args.record, flags.all);
    const side = named?.keptOn ?? flags.side;
    if (side === undefined) throw new CommandLineError('--all wants the side', 'give --side local or --side ec2');
    const database = openSide(side, this.settings(), 'quarantine', this.logger());
    const discarded = await withDatabases([database], () =>
      discardQuarantined(database, named === null ? 'all' : [named.id]),
    );
    this.log(`Discarded ${counted(discarded, 'record')}.`);
    return { discarded };
  }
}
