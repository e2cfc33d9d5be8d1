import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../lib/cli/base-command.js';
import { numberFlag } from '../../lib/cli/number-flags.js';
import { openSide, withDatabases } from '../../lib/cli/sides.js';
import { formatTime } from '../../lib/cli/quantities.js';
import { renderTable } from '../../lib/cli/table.js';
import { listQuarantine, type NamedRecord } from '../../lib/operations/quarantine.js';

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

function describeNone(resolvedToo: boolean, isOneSilent: boolean): string {
  const what = resolvedToo ? 'No record' : 'No open record';
  return isOneSilent ? `${what} on the side that answers.` : `${what} on any side.`;
}

const REASON_WIDTH = 60;

function renderRecords(records: readonly NamedRecord[]): string {
  const rows = records.map(({ keptOn, id, quarantinedAt, faults, furtherFaults, resolution }) => {
    const [first] = faults;
    const more = faults.length + furtherFaults - 1;
    const reason = `${more > 0 ? `(1 of ${more + 1}) ` : ''}${first?.reason ?? ''}`;
    const short = reason.length > REASON_WIDTH ? `${reason.slice(0, REASON_WIDTH - 1)}…` : reason;
    return [
      `${keptOn}:${id}`,
      formatTime(quarantinedAt).slice(0, 19),
      first?.sensorId ?? '-',
      short,
      resolution ?? 'open',
    ];
  });
  const table = renderTable(['record', 'since (UTC)', 'sensor', 'reason', 'state'], rows);
  return `${table}\nNext: sensorctl quarantine show ${rows[0]?.[0] ?? ''}`;
}
