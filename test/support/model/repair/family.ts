import type { Model, Transition } from '../explore.js';

/** Rule 4, a table and one that refers to it: a child, which goes with its parent (`on delete cascade`). */
export interface FamilyRules {
  /** A repair that deletes holds the tables that refer to its own, too. */
  readonly lockFamily: boolean;
  /** What a repair deletes takes nothing along on the secondary: it is in replica role, where it may. */
  readonly replicaRole: boolean;
}

export const FAMILY_RULES: FamilyRules = { lockFamily: true, replicaRole: false };

interface Row {
  readonly primary: number;
  readonly secondary: number;
}

interface FamilyWorld {
  readonly changes: number;
  readonly parent: Row;
  readonly child: Row;
  /** Entries of other writers by the change that they name. */
  readonly ledger: readonly { readonly of: 'parent' | 'child'; readonly id: number; readonly gone: boolean }[];
  /** The consumer's batch with the child: the row that it holds; 0: none as yet. */
  readonly batch: number;
  readonly isSettled: boolean;
  /** What the repair of the parent found; null: none is under way. */
  readonly repair: { readonly ids: readonly number[]; readonly saw: number } | null;
  readonly taken: boolean;
}

/** Both sides hold the parent; a writer may delete it and make it again, and a consumer writes the child. */
export function familyModel(rules: FamilyRules): Model<FamilyWorld> {
  const row = { primary: 1, secondary: 1 };
  return {
    initial: {
      ...{ changes: 1, parent: row, child: { primary: 0, secondary: 0 }, ledger: [], batch: 0, isSettled: true },
      ...{ repair: null, taken: false },
    },
    transitions: steps(rules),
    invariants: [
      {
        name: 'promise 16: nothing is deleted that the primary holds',
        holds: ({ taken, child, isSettled, ledger }) =>
          !taken || child.primary === child.secondary || !isSettled || ledger.some(({ of }) => of === 'child'),
      },
      {
        name: 'promise 15: each change of the primary is on the secondary or in the ledger',
        holds: ({ parent, child, isSettled, ledger }) =>
          isCovered(
            parent,
            ledger.some(({ of }) => of === 'parent'),
          ) && isCovered(child, !isSettled || ledger.some(({ of }) => of === 'child')),
      },
    ],
    keyOf: (world) => JSON.stringify(world),
  };
}

function isCovered({ primary, secondary }: Row, isEntered: boolean): boolean {
  return primary === secondary || isEntered;
}

function steps(rules: FamilyRules): Transition<FamilyWorld>[] {
  const step = (name: string, apply: (world: FamilyWorld) => FamilyWorld | null) => ({ name, by: 'anyone', apply });
  return [
    step('another writer deletes the parent, and with it the child', deleteParent),
    step('another writer makes the parent again', makeParent),
    step('a consumer commits the child', (world) =>
      world.parent.primary === 0 || world.batch !== 0
        ? null
        : {
            ...{ ...world, changes: world.changes + 1, batch: world.changes + 1, isSettled: false },
            child: { ...world.child, primary: world.changes + 1 },
          },
    ),
    step('its send reaches the secondary', (world) => landChild(world, rules)),
    step('a repair of the parent locks its table, and looks', lookForParent),
    step('it writes, commits and settles', (world) => writeParent(world, rules)),
    step('a repair of the child brings it', bringChild),
  ];
}

function deleteParent(world: FamilyWorld): FamilyWorld | null {
  if (world.parent.primary === 0 || world.changes > 4) return null;
  const id = world.changes + 1;
  const ofChild = world.child.primary === 0 ? [] : [{ of: 'child', id, gone: true } as const];
  return {
    ...{ ...world, changes: id, parent: { ...world.parent, primary: 0 }, child: { ...world.child, primary: 0 } },
    ledger: [...world.ledger, { of: 'parent', id, gone: true }, ...ofChild],
  };
}

function makeParent(world: FamilyWorld): FamilyWorld | null {
  if (world.parent.primary !== 0) return null;
  const id = world.changes + 1;
  const ledger = [...world.ledger, { of: 'parent', id, gone: false } as const];
  return { ...world, changes: id, parent: { ...world.parent, primary: id }, ledger };
}

/** A child needs its parent, whichever row of that it is. A send holds the target of its own table alone. */
function landChild(world: FamilyWorld, { lockFamily }: FamilyRules): FamilyWorld | null {
  const { batch, isSettled, parent, repair, child } = world;
  if (batch === 0 || isSettled || parent.secondary === 0 || (lockFamily && repair !== null)) return null;
  return { ...world, isSettled: true, child: { ...child, secondary: batch } };
}

function lookForParent(world: FamilyWorld): FamilyWorld | null {
  const ids = world.ledger.flatMap(({ of, id }) => (of === 'parent' ? [id] : []));
  return world.repair !== null || ids.length === 0 ? null : { ...world, repair: { ids, saw: world.parent.primary } };
}

function writeParent(world: FamilyWorld, { replicaRole }: FamilyRules): FamilyWorld | null {
  if (world.repair === null) return null;
  const { saw, ids } = world.repair;
  const ledger = world.ledger.filter(({ of, id }) => of !== 'parent' || !ids.includes(id));
  const cascades = saw === 0 && !replicaRole && world.child.secondary !== 0;
  return {
    ...{ ...world, repair: null, ledger, parent: { ...world.parent, secondary: saw } },
    child: cascades ? { ...world.child, secondary: 0 } : world.child,
    taken: world.taken || (cascades && world.child.primary !== 0),
  };
}

/** It holds the table of the parents, too. The batch is marked with it, so that no send comes after. */
function bringChild(world: FamilyWorld): FamilyWorld | null {
  const { child, isSettled, ledger, repair } = world;
  if (repair !== null) return null;
  if (isSettled && !ledger.some(({ of }) => of === 'child')) return null;
  const rest = ledger.filter(({ of }) => of !== 'child');
  return { ...world, isSettled: true, ledger: rest, child: { ...child, secondary: child.primary } };
}
