import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { counted } from '../../lib/cli/quantities.js';
import { parseRecordName } from '../../lib/cli/record-names.js';
import { openSide, withDatabases } from '../../lib/cli/sides.js';
import { discardQuarantined } from '../../lib/operations/quarantine.js';

export default class QuarantineDiscard extends BaseCommand {
  static override summary = 'Close a quarantined record without storing it; its body is kept.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> local:12',
    '<%= config.bin %> <%= command.id %> --all',
  ];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ description: 'record, such as local:12 or ec2:3' }) };
  static override flags = {
    all: Flags.boolean({ description: 'every open record of the side' }),
    side: Flags.option({ options: ['local', 'ec2'] as const, default: 'local', description: 'side of --all' })(),
  };

  async run(): Promise<{ discarded: number }> {
    const { args, flags } = await this.parse(QuarantineDiscard);
    const name = flags.all ? { keptOn: flags.side, id: 'all' as const } : parseRecordName(args.record);
    const database = openSide(name.keptOn, this.settings(), 'quarantine', this.logger());
    const discarded = await withDatabases([database], () =>
      discardQuarantined(database, name.id === 'all' ? 'all' : [name.id]),
    );
    this.log(`Discarded ${counted(discarded, 'record')}.`);
    return { discarded };
  }
}
