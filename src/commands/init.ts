import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { openSide, withCatalogs, withDatabases, withSides } from '../lib/cli/open-sides.js';
import { confirm } from '../lib/cli/operator.js';
import { createProgress } from '../lib/cli/progress.js';
import { counted } from '../lib/cli/quantities.js';
import {
  printPreparation,
  renderKeyPreview,
  renderPlan,
  renderPreparation,
  type PrintedPreparation,
} from '../lib/cli/render-init.js';
import { EXIT_CODE } from '../lib/errors.js';
import { initSides, prepareSides, previewKeys, type KeyPreview, type SidePreparation } from '../lib/operations/init.js';
import type { ScriptStep } from '../lib/operations/verify-schema/script.js';
import { verifySchema } from '../lib/operations/verify-schema/verify-schema.js';
import type { Settings } from '../lib/config.js';
import type { Side } from '../lib/domain/side.js';

const ADD_KEYS_EXPLAINED = `--add-keys changes existing tables. For each reading table without a unique key (sensor_id, time), in one transaction in which nobody else can write to that table: exact duplicate rows are removed; of rows that share a key but differ the one stored first stays and the others are moved to the quarantine; then the key is created.`;

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
    if (flags['dry-run'])
      return flags['add-keys'] ? await this.#previewKeys(settings, wanted) : await this.#preview(settings, wanted);
    if (flags['add-keys']) this.note(ADD_KEYS_EXPLAINED);
    const prepared = await this.#prepare(settings, wanted, { addKeys: flags['add-keys'], yes: flags.yes });
    this.log(renderPreparation(prepared, { addKeys: flags['add-keys'] }));
    if (prepared.some(isUnfinished)) process.exitCode = EXIT_CODE.no;
    return { sides: prepared.map(printPreparation) };
  }

  async #prepare(
    settings: Settings,
    wanted: Side | 'both',
    { addKeys, yes }: { addKeys: boolean; yes: boolean },
  ): Promise<SidePreparation[]> {
    if (wanted === 'local') {
      const local = openSide('local', settings, 'init', this.logger());
      return await withDatabases([local], () => prepareSides([local], { addKeys }));
    }
    const progress = createProgress('Init');
    const options = {
      addKeys,
      confirm: async (steps: readonly ScriptStep[]) => {
        progress.stop();
        if (yes) return;
        this.note(renderPlan(steps));
        await confirm(`Carry out ${counted(steps.length, 'step')} on EC2?`, false);
      },
      onStep: (step: string) => progress.update(step),
    };
    return await withSides(settings, 'init', this.logger(), (sides) => initSides(sides, wanted, options)).finally(() =>
      progress.stop(),
    );
  }

  /** The script is what `verify-schema --sql` prints. */
  async #preview(settings: Settings, wanted: Side | 'both'): Promise<{ script: string | null }> {
    if (wanted === 'local') {
      this.log('The bookkeeping would be made on local, and on a local without tables those of the guide.');
      return { script: null };
    }
    const { script } = await withCatalogs(settings, 'init', this.logger(), (sides) => verifySchema(sides));
    this.logScript(script);
    return { script };
  }

  async #previewKeys(settings: Settings, wanted: Side | 'both'): Promise<{ sides: KeyPreview[] }> {
    const sides: Side[] = wanted === 'both' ? ['local', 'ec2'] : [wanted];
    const databases = sides.map((side) => openSide(side, settings, 'init', this.logger()));
    const previews = await withDatabases(databases, () => Promise.all(databases.map(previewKeys)));
    this.log(renderKeyPreview(previews));
    return { sides: previews };
  }
}

function isUnfinished({ obstacles, brought }: SidePreparation): boolean {
  return obstacles.length > 0 || (brought?.failed.length ?? 0) > 0;
}
