import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { parseRecordName } from '../../lib/cli/flags.js';
import { openSide, withDatabases } from '../../lib/cli/open-sides.js';
import { renderRecord } from '../../lib/cli/render-quarantine.js';
import { getQuarantined, type NamedRecord } from '../../lib/operations/manage-quarantine.js';

export default class QuarantineShow extends BaseCommand {
  static override summary = 'Show one quarantined message: what is wrong with it, and the message as it came.';
  static override examples = ['<%= config.bin %> <%= command.id %> local:12'];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ required: true, description: 'record, such as local:12 or ec2:3' }) };

  async run(): Promise<NamedRecord> {
    const { args } = await this.parse(QuarantineShow);
    const { keptOn, id } = parseRecordName(args.record);
    const database = openSide(keptOn, this.settings(), 'quarantine', this.logger());
    const record = await withDatabases([database], () => getQuarantined(database, id));
    this.log(renderRecord(record));
    return record;
  }
}
