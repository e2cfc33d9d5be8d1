import type { Database } from '../../db/database.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { applySteps, type Brought } from '../../repository/schema/apply.js';
import { holdsTables } from '../../repository/schema/holds-tables.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import type { ScriptStep } from './script.js';
import { verifySchema } from './verify-schema.js';

export interface BringOptions {
  /** Steps that take rows away which share a key are carried out too. */
  readonly addKeys: boolean;
  /** Of these tables what is there is mended too. */
  readonly selection: TableSelection;
  readonly confirm: (steps: readonly ScriptStep[]) => Promise<void>;
  readonly onStep: (step: string) => void;
}

/** What one round makes can let another one see more: a table that became a hypertable takes its policies. */
const MOST_ROUNDS = 4;

/** EC2 holds nothing, and gets no more than the guide's tables: nothing of anybody's can be touched. */
async function isGuideAlone(steps: readonly ScriptStep[], { ec2 }: { readonly ec2: Database }): Promise<boolean> {
  const isGuides = ({ what, table }: ScriptStep): boolean =>
    what === 'extension timescaledb' || (table !== null && ALL_TABLES.includes(table));
  return steps.every(isGuides) && !(await holdsTables(ec2));
}

/** Brings EC2 to local's schema: each step by itself, as `verify-schema --sql` prints them. A second run finds nothing. */
export async function bringSchema(
  sides: { readonly local: Database; readonly ec2: Database },
  { addKeys, selection, confirm, onStep }: BringOptions,
): Promise<Brought> {
  const done = new Set<string>();
  for (let round = 1; ; round += 1) {
    const { steps, leftOut } = await verifySchema(sides, [], selection);
    const wanted = steps.filter(({ removesRows }) => addKeys || !removesRows);
    if (round === 1 && wanted.length > 0 && !(await isGuideAlone(wanted, sides))) await confirm(wanted);
    const outcomes = await applySteps(sides.ec2, wanted, ({ what }) => onStep(what));
    const made = outcomes.filter(({ problem }) => problem === null);
    for (const { step } of made) done.add(step.what);
    const failed = outcomes.flatMap(({ step: { what }, problem }) => (problem === null ? [] : [{ what, problem }]));
    if (made.length === 0 || round === MOST_ROUNDS) return { done: [...done], failed, leftOut };
  }
}
