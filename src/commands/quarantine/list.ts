import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { numberFlag } from '../../lib/cli/flags.js';
import { openSide, withDatabases } from '../../lib/cli/open-sides.js';
import { describeNone, renderRecords } from '../../lib/cli/render-quarantine.js';
import { listQuarantine, type NamedRecord } from '../../lib/operations/manage-quarantine.js';

export default class QuarantineList extends BaseCommand {
  static override summary = 'List what could not be stored, on both sides, the oldest first.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --all --json',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    all: Flags.boolean({ description: 'also those that were retried or discarded' }),
    limit: numberFlag({ min: 1, max: 100_000, default: 100, description: 'records a side, at most' }),
  };

  async run(): Promise<{ records: NamedRecord[] }> {
    const { flags } = await this.parse(QuarantineList);
    const settings = this.settings();
    const sides = settings.ec2 === null ? (['local'] as const) : (['local', 'ec2'] as const);
    const databases = sides.map((side) => openSide(side, settings, 'quarantine', this.logger()));
    const { records, more, failures } = await withDatabases(databases, () =>
      listQuarantine(databases, { resolvedToo: flags.all, limit: flags.limit }),
    );
    this.log(records.length === 0 ? describeNone(flags.all, failures.length > 0) : renderRecords(records));
    if (more) this.log(`There are more: --limit ${flags.limit * 10}`);
    for (const failure of failures) this.note(`Warning: ${failure.message}`);
    return { records: [...records] };
  }
}
