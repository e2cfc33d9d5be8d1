import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { openSide, withDatabases } from '../lib/cli/open-sides.js';
import {
  printPreparation,
  renderKeyPreview,
  renderPreparation,
  type PrintedPreparation,
} from '../lib/cli/render-init.js';
import { EXIT_CODE } from '../lib/errors.js';
import { prepareSides, previewKeys, type KeyPreview, type SidePreparation } from '../lib/operations/init.js';

const ADD_KEYS_EXPLAINED = `--add-keys changes existing tables. For each reading table without a unique key (sensor_id, time), in one transaction in which nobody else can write to that table: exact duplicate rows are removed; of rows that share a key but differ the one stored first stays and the others are moved to the quarantine; then the key is created.`;

export default class Init extends BaseCommand {
  static override summary = 'Create what is missing on either side: tables, keys, and the bookkeeping of sensorctl.';
  static override description = `Existing tables are left as they are; what stands in the way of dual write is reported. Runs any number of times.

${ADD_KEYS_EXPLAINED}

Exit code 1 when something still stands in the way.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --side local',
    '<%= config.bin %> <%= command.id %> --side local --add-keys --dry-run',
    '<%= config.bin %> <%= command.id %> --side ec2 --add-keys',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    side: Flags.option({
      options: ['local', 'ec2', 'both'] as const,
      description: 'side to prepare [default: both, or local where EC2_DB_HOST is not set]',
    })(),
    'add-keys': Flags.boolean({ description: 'remove duplicates and create missing unique keys (see above)' }),
    'dry-run': Flags.boolean({
      dependsOn: ['add-keys'],
      description: 'change nothing; say which rows share a key, and how they differ',
    }),
  };

  async run(): Promise<{ sides: PrintedPreparation[] } | { sides: KeyPreview[] }> {
    const { flags } = await this.parse(Init);
    const settings = this.settings();
    const wanted = flags.side ?? (settings.ec2 === null ? 'local' : 'both');
    const sides: SidePreparation['side'][] = wanted === 'both' ? ['local', 'ec2'] : [wanted];
    const databases = sides.map((side) => openSide(side, settings, 'init', this.logger()));
    if (flags['dry-run']) return await this.#preview(databases);
    if (flags['add-keys']) this.note(ADD_KEYS_EXPLAINED);
    const prepared = await withDatabases(databases, () => prepareSides(databases, { addKeys: flags['add-keys'] }));
    this.log(renderPreparation(prepared, { addKeys: flags['add-keys'] }));
    if (prepared.some(({ obstacles }) => obstacles.length > 0)) process.exitCode = EXIT_CODE.no;
    return { sides: prepared.map(printPreparation) };
  }

  async #preview(databases: readonly Parameters<typeof previewKeys>[0][]): Promise<{ sides: KeyPreview[] }> {
    const sides = await withDatabases(databases, () => Promise.all(databases.map(previewKeys)));
    this.log(renderKeyPreview(sides));
    return { sides };
  }
}
