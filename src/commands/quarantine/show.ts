import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { parseRecordName } from '../../lib/cli/record-names.js';
import { openSide, withDatabases } from '../../lib/cli/sides.js';
import { oneLine } from '../../lib/cli/output.js';
import { counted } from '../../lib/cli/quantities.js';
import { getQuarantined, type NamedRecord } from '../../lib/operations/quarantine.js';

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

function renderRecord({ body, faults, furtherFaults, ...facts }: NamedRecord): string {
  const listed = faults.map(({ reason, ...about }) => {
    const known = Object.entries(about).filter(([, value]) => value !== null);
    return [`fault: ${reason}`, ...known.map(([name, value]) => `  ${name}: ${value}`)].map(oneLine).join('\n');
  });
  const more = furtherFaults > 0 ? [`and ${counted(furtherFaults, 'fault')} more`] : [];
  return [
    ...Object.entries(facts).map(([name, value]) => oneLine(`${name}: ${value ?? '-'}`)),
    ...listed,
    ...more,
    '',
    // Set in, so that no line of a message looks like one of ours; --json prints it as it came.
    ...body.split('\n').map((line) => `  ${line}`),
  ].join('\n');
}
