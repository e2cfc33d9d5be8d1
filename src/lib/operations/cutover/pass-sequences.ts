import type { Database } from '../../db/database.js';
import { counted, listOf } from '../../domain/words.js';
import { sideTitle } from '../../domain/side.js';
import { CutoverRefusedError, type Problem } from '../../errors.js';
import { labelsOf, planSequences, type SequencePlan } from '../../repository/cutover/sequence-plan.js';
import { moveSequences, readSequences } from '../../repository/cutover/sequences.js';
import type { Measured } from './cutover-report.js';

/** The primary that is given up, and the side that becomes it. */
interface Sides {
  readonly from: Database;
  readonly to: Database;
}

/** Every sequence of the new primary can be moved past both sides' values; says what a switch would do now. */
export async function measureSequences(sides: Sides): Promise<Measured> {
  const plan = await readPlan(sides);
  const missing = describeMissingRight(plan, sides);
  if (missing !== null) return { passed: false, ...missing, forcible: false };
  if (plan.stuck.length > 0) return { passed: false, ...describeStuck(plan, sides) };
  return { passed: true, detail: `${describeMoves(plan, sides)} past both sides' values${describeAlone(plan, sides)}` };
}

/**
 * Moves the sequences of the new primary past both sides' values, while nobody writes to the old one; answers what was done.
 * Throws where one cannot be moved. With `force` such a one goes as far as it can.
 */
export async function passSequences(sides: Sides, force: boolean): Promise<string> {
  const plan = await readPlan(sides);
  const missing = describeMissingRight(plan, sides);
  if (missing !== null) throw new CutoverRefusedError(missing.detail, missing.advice);
  const { moves, stuck } = plan;
  const { detail, advice } = describeStuck(plan, sides);
  if (stuck.length > 0 && !force) throw new CutoverRefusedError(detail, advice);
  await moveSequences(sides.to.pool, [...moves, ...stuck.flatMap(({ atLeast }) => atLeast ?? [])]);
  const overridden = stuck.length === 0 ? '' : `; ${detail}, overridden`;
  return `${describeMoves(plan, sides)} past both sides' values${overridden}`;
}

async function readPlan({ from, to }: Sides): Promise<SequencePlan> {
  const [given, taking] = await Promise.all([from, to].map(({ pool }) => readSequences(pool)));
  return planSequences(given ?? [], taking ?? []);
}

function describeMoves({ moves }: SequencePlan, { to }: Sides): string {
  return `${counted(moves.length, 'sequence')} of ${sideTitle(to.side)}`;
}

function describeAlone({ alone }: SequencePlan, { from, to }: Sides): string {
  const of = ({ side }: Database, names: readonly string[]): string =>
    names.length === 0 ? '' : `; only ${sideTitle(side)} has ${listOf(names)}`;
  return of(from, alone.from) + of(to, alone.to);
}

function describeStuck({ stuck }: SequencePlan, { to }: Sides): { detail: string; advice: Problem } {
  const reasons = stuck.map(({ label, reason }) => `${label} ${reason}`);
  return {
    detail: `${counted(stuck.length, 'sequence')} of ${sideTitle(to.side)} cannot be moved past both sides' values: ${listOf(reasons)}`,
    advice: { code: 'sequences-stuck', facts: { side: to.side } },
  };
}

/** Null where the role may read and set whatever it has to. */
function describeMissingRight(
  { withoutRight }: SequencePlan,
  sides: Sides,
): { detail: string; advice: Problem } | null {
  const lacking = [
    { database: sides.from, what: 'read', rights: 'select', sequences: withoutRight.from },
    { database: sides.to, what: 'read and set', rights: 'select, update', sequences: withoutRight.to },
  ].filter(({ sequences }) => sequences.length > 0);
  if (lacking.length === 0) return null;
  const details = lacking.map(({ database, what, sequences }) => {
    return `on ${sideTitle(database.side)} this role may not ${what} ${listOf(labelsOf(sequences))}`;
  });
  const grants = lacking.map(({ database: { side, connection }, rights, sequences }) => {
    const names = sequences.map(({ sql }) => sql).join(', ');
    return { side, statement: `grant ${rights} on sequence ${names} to ${connection.user};` };
  });
  return { detail: details.join('; '), advice: { code: 'sequence-right-missing', facts: { grants } } };
}
