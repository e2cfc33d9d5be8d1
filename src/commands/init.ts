import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { confirm } from '../lib/cli/operator.js';
import { prepareWanted, previewKeysOf, previewSchema } from '../lib/cli/prepare-wanted.js';
import {
  printPreparation,
  renderKeyPreview,
  renderPreparation,
  type PrintedPreparation,
} from '../lib/cli/render-init.js';
import { EXIT_CODE } from '../lib/errors.js';
import type { KeyPreview, SidePreparation } from '../lib/operations/init.js';

const ADD_KEYS_EXPLAINED = `--add-keys changes existing tables. For each reading table without a unique key (sensor_id, time), in one transaction in which nobody else can write to that table: exact duplicate rows are removed; of rows that share a key but differ the one stored first stays and the others are moved to the quarantine; then the key is created.`;

const LOCAL_ALONE = '-- On local the bookkeeping would be made, and where it holds no tables those of the guide.';

export default class Init extends BaseCommand {
  static override summary =
    'Create what is missing on either side: tables and all they rest on, keys, the bookkeeping.';
  static override description = `On both sides the bookkeeping of sensorctl; on a local that holds no tables those of the guide; on EC2 whatever it lacks of local's schema, each object by itself, after asking. What fails is named, and the rest goes on. Runs any number of times.

${ADD_KEYS_EXPLAINED}

Exit code 1 when something still stands in the way, or could not be brought.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --dry-run',
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
    yes: Flags.boolean({ description: 'do not ask before EC2 is changed' }),
    'dry-run': Flags.boolean({
      description:
        'change nothing; print the script for EC2, or with --add-keys which rows share a key, and how they differ',
    }),
  };

  async run(): Promise<{ sides: PrintedPreparation[] } | { sides: KeyPreview[] } | { script: string | null }> {
    const { flags } = await this.parse(Init);
    const settings = this.settings();
    const wanted = flags.side ?? (settings.ec2 === null ? 'local' : 'both');
    const context = { settings, logger: this.logger(), wanted };
    if (flags['dry-run']) {
      if (flags['add-keys']) {
        const sides = await previewKeysOf(context);
        this.log(renderKeyPreview(sides));
        return { sides };
      }
      const script = await previewSchema(context);
      this.logScript(script ?? LOCAL_ALONE);
      return { script };
    }
    if (flags['add-keys']) this.note(ADD_KEYS_EXPLAINED);
    const ask = (question: string, plan: string): Promise<void> => {
      if (!flags.yes) this.note(plan);
      return confirm(question, flags.yes);
    };
    const prepared = await prepareWanted(context, { addKeys: flags['add-keys'], ask });
    this.log(renderPreparation(prepared, { addKeys: flags['add-keys'] }));
    if (prepared.some(isUnfinished)) process.exitCode = EXIT_CODE.no;
    return { sides: prepared.map(printPreparation) };
  }
}

function isUnfinished({ obstacles, brought }: SidePreparation): boolean {
  return obstacles.length > 0 || (brought?.failed.length ?? 0) > 0;
}
