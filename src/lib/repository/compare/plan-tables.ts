import { KNOWN_TABLES } from '../tables/reading-tables.js';
import { discoverTables, type Discovery } from '../tables/discover-tables.js';
import {
  findNotTaken,
  instruct,
  pairDiscovered,
  selectTables,
  type Candidate,
  type Instructions,
} from '../tables/select-tables.js';
import { pairTables, type TablePair } from '../tables/table-pair.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { sideTitle, type Role, type Side } from '../../domain/side.js';
import { UsageError, type Problem } from '../../errors.js';
import { queryableOf, type ComparedSides } from './sides.js';

/** A table that cannot be compared or copied, and why. */
export interface NotHandled {
  readonly table: string;
  readonly reason: string;
  readonly advice: Problem | null;
}

/** Data that a command leaves alone, and why. */
export interface LeftOutTable {
  readonly table: string;
  readonly reason: string;
}

/** Which tables a command works on, and what it does not. */
export interface TablePlan {
  readonly pairs: readonly TablePair[];
  readonly notHandled: readonly NotHandled[];
  readonly leftOut: readonly LeftOutTable[];
}

export interface WantedTables {
  /** The tables of the migration. */
  readonly selection?: TableSelection | undefined;
  /** Of these the ones of this command, by name or pattern; empty: all. */
  readonly names: readonly string[];
}

/** Which side is which. */
export type NamedSides = Readonly<Record<Role, { readonly side: Side }>>;

/**
 * Finds the tables of both sides and says how each is compared. Throws a UsageError for a name that no table has.
 */
export async function planTables(sides: ComparedSides, { selection, names }: WantedTables): Promise<TablePlan> {
  const [here, there] = await Promise.all([
    discoverTables(queryableOf(sides.primary)),
    discoverTables(queryableOf(sides.secondary)),
  ]);
  return planDiscovered({ primary: here, secondary: there }, sides, { selection, names });
}

/** The same from what was discovered on both sides before. */
export function planDiscovered(
  { primary: here, secondary: there }: Readonly<Record<Role, Discovery>>,
  sides: NamedSides,
  { selection, names }: WantedTables,
): TablePlan {
  const { chosen, leftOut, unknown } = selectTables(pairDiscovered(here, there), selection, names);
  const named = unknown.map((name) => explainName(name, here, there));
  const ordered = names.length > 0 ? chosen : inUsualOrder(chosen);
  const plans = ordered.map((candidate) => planPair(candidate, sides, names.length > 0));
  return {
    pairs: plans.flatMap((each) => ('sides' in each ? [each] : [])),
    notHandled: [...plans.flatMap((each) => ('advice' in each ? [each] : [])), ...named],
    leftOut: [
      ...plans.flatMap((each) => ('sides' in each || 'advice' in each ? [] : [each])),
      ...leftOut,
      ...(names.length > 0 ? [] : notTakenBy(here)),
    ],
  };
}

/** The guide's tables first; of these the ones without an axis last, as they lag behind where the others do. */
function inUsualOrder<Each extends Candidate>(candidates: readonly Each[]): Each[] {
  const names = [...KNOWN_TABLES].toSorted(
    ([, one], [, other]) => Number(one.axis === null) - Number(other.axis === null),
  );
  const places = new Map(names.map(([name], place) => [name, place]));
  const placeOf = ({ name }: Each): number => places.get(name) ?? places.size;
  return candidates.toSorted((one, other) => placeOf(one) - placeOf(other));
}

function planPair(
  candidate: Candidate & Instructions,
  sides: NamedSides,
  isNamed: boolean,
): TablePair | NotHandled | LeftOutTable {
  const { name, primary, secondary, except } = candidate;
  const differs = (reason: string): NotHandled => ({ table: name, reason, advice: { code: 'schema-differs' } });
  const known = KNOWN_TABLES.get(name);
  if (secondary === undefined) return differs(`is missing on ${sideTitle(sides.secondary.side)}`);
  if (primary === undefined) {
    return isNamed || known !== undefined
      ? differs(`is missing on ${sideTitle(sides.primary.side)}`)
      : { table: name, reason: `only ${sideTitle(sides.secondary.side)} has it` };
  }
  for (const [table, { side }] of [[primary, sides.primary] as const, [secondary, sides.secondary] as const]) {
    if (!table.hidesRows) continue;
    const reason = `row security on ${sideTitle(side)} may hide rows of it from this role`;
    return { table: name, reason, advice: { code: 'rows-hidden', facts: { side, table: table.label } } };
  }
  const [here, there] = [instruct(primary, candidate, known), instruct(secondary, candidate, known)];
  if (typeof here === 'string') return differs(here);
  if (typeof there === 'string') return differs(`${there} on ${sideTitle(sides.secondary.side)}`);
  const pair = pairTables({ primary: here, secondary: there, known, except });
  return 'sides' in pair ? pair : differs(pair.join(', '));
}

/** A name that means something else than a table of the migration. */
function explainName(name: string, here: Discovery, there: Discovery): NotHandled {
  const found = findNotTaken([...here.notTaken, ...there.notTaken], name);
  if (found === undefined) throw new UsageError(`neither side has the table ${name}`, { code: 'tables-unknown' });
  return { table: found.label, reason: `it is ${found.reason}`, advice: null };
}

/** What the primary holds besides tables; partitions go with theirs. */
function notTakenBy({ notTaken }: Discovery): LeftOutTable[] {
  return notTaken.filter(({ isPartition }) => !isPartition).map(({ label, reason }) => ({ table: label, reason }));
}
