import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { openSide, withDatabases } from '../lib/cli/open-sides.js';
import { confirm } from '../lib/cli/operator.js';
import { prepareWanted, previewKeysOf, previewSchema, type InitContext } from '../lib/cli/prepare-wanted.js';
import { renderRemoval, renderTracking } from '../lib/cli/render-track.js';
import {
  printPreparation,
  renderKeyPreview,
  renderPreparation,
  type PrintedPreparation,
} from '../lib/cli/render-init.js';
import { EXIT_CODE } from '../lib/errors.js';
import { prepareSides, type KeyPreview, type SidePreparation } from '../lib/operations/init.js';
import { removeSides, type SideRemoval } from '../lib/operations/remove.js';
import { trackSides, type SideTracking, type TrackOptions } from '../lib/operations/track.js';

const ADD_KEYS_EXPLAINED = `--add-keys changes existing tables. For each reading table without a unique key (sensor_id, time), in one transaction in which nobody else can write to that table: exact duplicate rows are removed; of rows that share a key but differ the one stored first stays and the others are moved to the quarantine; then the key is created.`;

const TRACK_EXPLAINED = `--track covers programs that write beside the consumer, on both sides: triggers on each table enter in the ledger what a statement touches, in its own transaction, and let only the primary be written. Creating them locks a table against writers for a moment. A single-row insert takes some 0.1 ms longer; bulk statements take up to a third longer, in one place where their keys have to be gathered.`;

const REMOVE_EXPLAINED = `--remove takes the triggers and the schema sensorctl with everything in it off both sides. It refuses while a phase, an entry of the ledger, an open record of the quarantine or an unfinished backfill rests on them; --abandon gives these up. What is running it never removes.`;

const LOCAL_ALONE = '-- On local the bookkeeping would be made, and where it holds no tables those of the guide.';

type InitReport =
  | { script: string | null }
  | { sides: PrintedPreparation[] }
  | { sides: KeyPreview[] }
  | { tracking: SideTracking[] }
  | { removal: SideRemoval[] };

interface TrackFlags {
  readonly yes: boolean;
  readonly 'dry-run': boolean;
  readonly table?: string[] | undefined;
  readonly selection: TrackOptions['selection'];
}

interface RemoveFlags {
  readonly yes: boolean;
  readonly abandon: boolean;
  readonly 'dry-run': boolean;
}

export default class Init extends BaseCommand {
  static override summary =
    'Create what is missing on either side: tables and all they rest on, keys, the bookkeeping.';
  static override description = `On both sides the bookkeeping of sensorctl; on a local that holds no tables those of the guide; on EC2 whatever it lacks of local's schema, each object by itself, after asking. What fails is named, and the rest goes on. Runs any number of times.

${ADD_KEYS_EXPLAINED}

${TRACK_EXPLAINED}

${REMOVE_EXPLAINED}

Exit code 1 when something still stands in the way, or could not be brought.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --dry-run',
    '<%= config.bin %> <%= command.id %> --side local',
    '<%= config.bin %> <%= command.id %> --side local --add-keys --dry-run',
    '<%= config.bin %> <%= command.id %> --side ec2 --add-keys',
    '<%= config.bin %> <%= command.id %> --track --dry-run',
    '<%= config.bin %> <%= command.id %> --remove',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    side: Flags.option({
      options: ['local', 'ec2', 'both'] as const,
      description: 'side to prepare [default: both, or local where EC2_DB_HOST is not set]',
    })(),
    'add-keys': Flags.boolean({ description: 'remove duplicates and create missing unique keys (see above)' }),
    track: Flags.boolean({ description: 'cover other programs that write (see above)', exclusive: ['add-keys'] }),
    table: Flags.string({
      multiple: true,
      dependsOn: ['track'],
      description: 'track only this table, or a pattern such as sales.*, once or more often',
    }),
    remove: Flags.boolean({
      description: 'take everything of sensorctl off (see above)',
      exclusive: ['add-keys', 'track'],
    }),
    abandon: Flags.boolean({ dependsOn: ['remove'], description: 'give up what still rests on it' }),
    yes: Flags.boolean({ description: 'do not ask' }),
    'dry-run': Flags.boolean({
      description:
        'change nothing; print the script for EC2, or with --add-keys which rows share a key, and how they differ',
    }),
  };

  async run(): Promise<InitReport> {
    const { flags } = await this.parse(Init);
    const settings = this.settings();
    const wanted = flags.side ?? (settings.ec2 === null ? 'local' : 'both');
    if (flags.remove || flags.track) {
      const sides: SidePreparation['side'][] = wanted === 'both' ? ['local', 'ec2'] : [wanted];
      const databases = sides.map((side) => openSide(side, settings, 'init', this.logger()));
      return await withDatabases(databases, async () =>
        flags.remove
          ? await this.#remove(databases, flags)
          : await this.#track(databases, { ...flags, selection: settings.tables }),
      );
    }
    const context = { settings, logger: this.logger(), wanted };
    if (flags['dry-run']) return await this.#preview(context, flags['add-keys']);
    if (flags['add-keys']) this.note(ADD_KEYS_EXPLAINED);
    const ask = (question: string, plan: string): Promise<void> => {
      if (!flags.yes) this.noteLines(plan);
      return confirm(question, flags.yes);
    };
    const prepared = await prepareWanted(context, { addKeys: flags['add-keys'], ask });
    this.log(renderPreparation(prepared, { addKeys: flags['add-keys'] }));
    if (prepared.some(isUnfinished)) process.exitCode = EXIT_CODE.no;
    return { sides: prepared.map(printPreparation) };
  }

  async #track(databases: Parameters<typeof trackSides>[0], flags: TrackFlags): Promise<{ tracking: SideTracking[] }> {
    const { yes, selection, 'dry-run': dryRun, table: tables = [] } = flags;
    this.note(TRACK_EXPLAINED);
    if (!dryRun) await confirm('Track the other writers of these tables?', yes);
    if (!dryRun) await prepareSides(databases, { addKeys: false });
    const tracking = await trackSides(databases, { selection, tables, dryRun });
    this.log(renderTracking(tracking, { dryRun }));
    return { tracking };
  }

  async #remove(databases: Parameters<typeof trackSides>[0], flags: RemoveFlags): Promise<{ removal: SideRemoval[] }> {
    const { yes, abandon, 'dry-run': dryRun } = flags;
    this.note(REMOVE_EXPLAINED);
    if (!dryRun) await confirm('Remove sensorctl with everything that it has recorded?', yes);
    const removal = await removeSides(databases, { abandon, dryRun });
    this.log(renderRemoval(removal, { dryRun }));
    if (!dryRun && removal.some(({ resting, bookkeeping }) => resting.length > 0 && !bookkeeping)) {
      process.exitCode = EXIT_CODE.no;
    }
    return { removal };
  }

  async #preview(context: InitContext, addKeys: boolean): Promise<{ sides: KeyPreview[] } | { script: string | null }> {
    if (addKeys) {
      const sides = await previewKeysOf(context);
      this.log(renderKeyPreview(sides));
      return { sides };
    }
    const script = await previewSchema(context);
    this.logScript(script ?? LOCAL_ALONE);
    return { script };
  }
}

function isUnfinished({ obstacles, brought }: SidePreparation): boolean {
  return obstacles.length > 0 || (brought?.failed.length ?? 0) > 0;
}
