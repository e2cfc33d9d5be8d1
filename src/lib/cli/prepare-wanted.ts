import type { Settings } from '../config.js';
import type { Side } from '../domain/side.js';
import type { Logger } from '../logger.js';
import { initSides, prepareSides, previewKeys, type KeyPreview, type SidePreparation } from '../operations/init.js';
import { bringSchema } from '../operations/verify-schema/bring-schema.js';
import { verifySchema } from '../operations/verify-schema/verify-schema.js';
import { openSide, withCatalogs, withDatabases, withSides } from './open-sides.js';
import { createProgress } from './progress.js';
import { counted } from './quantities.js';
import { renderPlan } from './render-init.js';

export interface InitContext {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly wanted: Side | 'both';
}

interface PrepareOptions {
  readonly addKeys: boolean;
  /** Throws where nobody agrees to the plan. */
  readonly ask: (question: string, plan: string) => Promise<void>;
}

/** Opens the sides that are wanted, and prepares them; local is read wherever EC2 is prepared. */
export async function prepareWanted(
  { settings, logger, wanted }: InitContext,
  { addKeys, ask }: PrepareOptions,
): Promise<SidePreparation[]> {
  if (wanted === 'local') {
    const local = openSide('local', settings, 'init', logger);
    return await withDatabases([local], () => prepareSides([local], { addKeys }));
  }
  const progress = createProgress('Init');
  const prepared = withSides(settings, 'init', logger, async (sides) => {
    const bring = (): ReturnType<typeof bringSchema> =>
      bringSchema(sides, {
        addKeys,
        selection: settings.tables,
        confirm: async (steps) => {
          progress.stop();
          await ask(`Carry out ${counted(steps.length, 'step')} on EC2?`, renderPlan(steps));
        },
        onStep: (step) => progress.update(step),
      });
    return await initSides(sides, wanted, { addKeys, bring });
  });
  return await prepared.finally(() => progress.stop());
}

/** The script that would be carried out on EC2, as `verify-schema --sql` prints it; null for local alone. */
export async function previewSchema({ settings, logger, wanted }: InitContext): Promise<string | null> {
  if (wanted === 'local') return null;
  const { script } = await withCatalogs(settings, 'init', logger, (sides) => verifySchema(sides, [], settings.tables));
  return script;
}

/** Which rows share a key on the sides that are wanted; changes nothing. */
export async function previewKeysOf({ settings, logger, wanted }: InitContext): Promise<KeyPreview[]> {
  const sides: Side[] = wanted === 'both' ? ['local', 'ec2'] : [wanted];
  const databases = sides.map((side) => openSide(side, settings, 'init', logger));
  return await withDatabases(databases, () => Promise.all(databases.map(previewKeys)));
}
