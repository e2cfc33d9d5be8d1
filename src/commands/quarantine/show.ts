import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { parseRecordName } from '../../lib/cli/record-names.js';
import { openSide, withDatabases } from '../../lib/cli/sides.js';
import { oneLine } from '../../lib/cli/output.js';
import { getQuarantined, type NamedRecord } from '../../lib/operations/quarantine.js';

export default class QuarantineShow extends BaseCommand {
  static override summary = 'Show one quarantined message or reading: the reason, and the message as it came.';
  static override examples = ['<%= config.bin %> <%= command.id %> local:12'];
  static override enableJsonFlag = true;
  static override args = { record: Args.string({ required: true, description: 'record, such as local:12 or ec2:3' }) };

  async run(): Promise<NamedRecord> {
    const { args } = await this.parse(QuarantineShow);
    const { keptOn, id } = parseRecordName(args.record);
    const database = openSide(keptOn, this.settings(), 'quarantine', this.logger());
    const record = await withDatabases([database], () => getQuarantined(database, id));
    const { body, ...facts } = record;
    const lines = Object.entries(facts).map(([name, value]) => oneLine(`${`${name}:`.padEnd(15)} ${value ?? '-'}`));
    // Set in, so that no line of a message looks like one of ours; --json prints it as it came.
    this.log(`${lines.join('\n')}\n\n${body.replaceAll(/^/gm, '  ')}`);
    return record;
  }
}
