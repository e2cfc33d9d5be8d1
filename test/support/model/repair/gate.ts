import type { Model, Transition } from '../explore.js';

/** Rule 3, the gate: other writers beside a switch from the old primary to the new one. Each part may be taken out. */
export interface GateRules {
  /** A statement holds the gate shared until its transaction ends; the switch takes it alone. */
  readonly gate: boolean;
  /** The switch holds it from before the drain to its commit point, in one transaction. */
  readonly heldUntilCommit: boolean;
  /** The record is read by a statement after the one that waits. */
  readonly readAfterGate: boolean;
  /** REPEATABLE READ and SERIALIZABLE lock the record, and fail where it is newer than their snapshot. */
  readonly lockRecord: boolean;
  /** A statement older than the change of the primary fails with 40001. */
  readonly refuseOlder: boolean;
  /** The side that is not the primary refuses with 25006. */
  readonly refuseSecondary: boolean;
}

export const GATE_RULES: GateRules = {
  gate: true,
  heldUntilCommit: true,
  readAfterGate: true,
  lockRecord: true,
  refuseOlder: true,
  refuseSecondary: true,
};

type Place = 'old' | 'new';

/** A transaction of one statement, and how often its side's record had changed in the snapshot of that. */
interface Writer {
  readonly side: Place;
  readonly keepsSnapshot: boolean;
  readonly step: 'idle' | 'begun' | 'writing' | 'over';
  readonly seen: number;
}

interface GateWorld {
  readonly operator: 'idle' | 'gate closed' | 'drained' | 'committed' | 'completed';
  readonly writers: readonly Writer[];
  /** What writers committed on the old primary, and what of it a drain brought to the new one. */
  readonly written: number;
  readonly carried: number;
  readonly attemptsLeft: number;
  readonly strayed: boolean;
  readonly outdated: boolean;
}

const IDLE = { step: 'idle', seen: 0 } as const;

export function gateModel(rules: GateRules): Model<GateWorld> {
  const writers = (['old', 'new'] as const).flatMap((side) =>
    [false, true].map((keepsSnapshot): Writer => ({ side, keepsSnapshot, ...IDLE })),
  );
  return {
    initial: {
      ...{ operator: 'idle', writers: [...writers, { ...writers[0]! }], written: 0, carried: 0, attemptsLeft: 2 },
      ...{ strayed: false, outdated: false },
    },
    transitions: [
      ...operatorSteps(rules),
      ...writers.flatMap((_, index) => writerSteps(index, rules)),
      ...writerSteps(4, rules),
    ],
    invariants: [
      { name: 'promise 17: only the primary is written', holds: ({ strayed }) => !strayed },
      { name: 'promise 17: what is older than the switch is told to try again', holds: ({ outdated }) => !outdated },
      {
        name: 'promises 11 and 15: the new primary holds what was committed on the old one',
        holds: (world) => !isSwitched(world) || world.written === world.carried,
      },
    ],
    keyOf: (world) => JSON.stringify(world),
  };
}

function isSwitched({ operator }: GateWorld): boolean {
  return operator === 'committed' || operator === 'completed';
}

/** How often the record of a side has changed; on the new one it is a copy, made later. */
function changesOf(world: GateWorld, side: Place): number {
  return Number(side === 'old' ? isSwitched(world) : world.operator === 'completed');
}

function isPrimary(side: Place, changes: number): boolean {
  return (side === 'old') === (changes === 0);
}

function operatorSteps(rules: GateRules): Transition<GateWorld>[] {
  const step = (name: string, from: GateWorld['operator'], apply: (world: GateWorld) => GateWorld | null) => ({
    name: `the switch ${name}`,
    by: 'operator',
    apply: (world: GateWorld) => (world.operator === from ? apply(world) : null),
  });
  return [
    step('takes the gate alone', 'idle', (world) =>
      isGateHeld(world, rules) ? null : { ...world, operator: 'gate closed' },
    ),
    step('drains the ledger', 'gate closed', (world) => ({ ...world, operator: 'drained', carried: world.written })),
    step('commits', 'drained', (world) => ({ ...world, operator: 'committed' })),
    step('completes on the new primary', 'committed', (world) => ({ ...world, operator: 'completed' })),
    ...(['gate closed', 'drained'] as const).map((from) =>
      step('goes back', from, ({ attemptsLeft, ...world }) =>
        attemptsLeft === 0 ? null : { ...world, operator: 'idle', attemptsLeft: attemptsLeft - 1 },
      ),
    ),
  ];
}

function isGateHeld({ writers }: GateWorld, { gate }: GateRules): boolean {
  return gate && writers.some(({ side, step }) => side === 'old' && step === 'writing');
}

function writerSteps(index: number, rules: GateRules): Transition<GateWorld>[] {
  const step = (what: string, from: Writer['step'], apply: (world: GateWorld, writer: Writer) => GateWorld | null) => ({
    name: `writer ${index + 1} ${what}`,
    by: 'writer',
    apply: (world: GateWorld) => (world.writers[index]!.step === from ? apply(world, world.writers[index]!) : null),
  });
  const put = (world: GateWorld, change: Partial<Writer>): GateWorld => ({
    ...world,
    writers: world.writers.with(index, { ...world.writers[index]!, ...change }),
  });
  return [
    step('takes the snapshot of a statement', 'idle', (world, { side }) =>
      put(world, { step: 'begun', seen: changesOf(world, side) }),
    ),
    step('passes the gate, or is refused', 'begun', (world, writer) =>
      isGateClosed(world, writer, rules)
        ? null
        : put(world, { step: mayWrite(world, writer, rules) ? 'writing' : 'over' }),
    ),
    step('commits', 'writing', (world, { side, seen }) => ({
      ...put(world, { step: 'over' }),
      written: world.written + Number(side === 'old'),
      strayed: world.strayed || isSwitched(world) === (side === 'old'),
      outdated: world.outdated || seen !== changesOf(world, side),
    })),
    step('rolls back', 'writing', (world) => put(world, { step: 'over' })),
  ];
}

/** Who has the gate goes on; who comes while it is closed waits. */
function isGateClosed({ operator }: GateWorld, { side }: Writer, { gate, heldUntilCommit }: GateRules): boolean {
  return gate && side === 'old' && (operator === 'gate closed' || (operator === 'drained' && heldUntilCommit));
}

function mayWrite(world: GateWorld, { side, seen, keepsSnapshot }: Writer, rules: GateRules): boolean {
  const sees = rules.readAfterGate && (!keepsSnapshot || rules.lockRecord);
  const found = sees ? changesOf(world, side) : seen;
  if (rules.refuseOlder && found !== seen) return false;
  // A locked read fails by itself.
  if (keepsSnapshot && rules.lockRecord && changesOf(world, side) !== seen) return false;
  return !rules.refuseSecondary || isPrimary(side, found);
}
