import {
  acknowledge,
  assertPrimary,
  commitBatch,
  crash,
  leaveToLedger,
  readState,
  settle,
  takeSharedFence,
  writeToSecondary,
} from './consumer.js';
import {
  lockRegistry,
  callOff,
  complete,
  crashRegistryRepair,
  passDeadline,
  repair,
  repairRegistry,
  settleRepaired,
} from './anyone.js';
import type { Model, Transition } from './explore.js';
import { invariantsOf } from './invariants.js';
import { keyOf } from './key.js';
import { begin, commitSwitch, findDrained, giveUp, takeFence } from './operator.js';
import type { Rules } from './rules.js';
import { CONSUMERS, initialWorld, MESSAGES, otherSide, SIDES, type World } from './world.js';

/**
 * The protocol of fence, epoch and ledger: two consumers, two messages, an operator an attempt, and what anyone may do.
 * Left out: clocks (a deadline passes whenever it likes), leases (a drain does not wait for them), phases 1 and 2 apart,
 * what a side refuses for good, and a database that loses what it committed.
 */
export function switchModel(rules: Rules): Model<World> {
  return {
    initial: initialWorld(),
    transitions: [...consumerSteps(rules), ...operatorSteps(rules), ...stepsOfAnyone(rules)],
    invariants: invariantsOf(rules),
    keyOf: (world) => keyOf(world, rules),
  };
}

type Steps = Transition<World>[];
type Apply = Transition<World>['apply'];

function consumerSteps(rules: Rules): Steps {
  return CONSUMERS.flatMap((index) => {
    const step = (name: string, apply: Apply) => ({ name: `consumer ${index + 1} ${name}`, by: 'consumer', apply });
    return [
      step('takes the shared fence', (world) => takeSharedFence(world, index, rules)),
      step('reads the row', (world) => assertPrimary(world, index, rules)),
      ...MESSAGES.map((message) =>
        step(`commits message ${message}`, (world) => commitBatch(world, index, message, rules)),
      ),
      step('acknowledges', (world) => acknowledge(world, index)),
      step('writes to the secondary', (world) => writeToSecondary(world, index, rules)),
      step('leaves it to the ledger', (world) => leaveToLedger(world, index)),
      step('settles', (world) => settle(world, index)),
      step('reads the state', (world) => readState(world, index)),
      step('crashes', (world) => crash(world, index)),
    ];
  });
}

function operatorSteps(rules: Rules): Steps {
  const step = (name: string, apply: Apply) => ({ name, by: 'operator', apply });
  return [
    ...SIDES.map((side) => step(`an operator begins a switch away from ${side}`, (world) => begin(world, side, rules))),
    ...upTo(rules.attempts).flatMap((token) => [
      step(`operator ${token + 1} takes the fence`, (world) => takeFence(world, token, rules)),
      step(`operator ${token + 1} finds the ledger drained`, (world) => findDrained(world, token, rules)),
      step(`operator ${token + 1} commits the switch`, (world) => commitSwitch(world, token, rules)),
      step(`operator ${token + 1} gives up`, (world) => giveUp(world, token)),
    ]),
  ];
}

function stepsOfAnyone(rules: Rules): Steps {
  const step = (name: string, apply: Apply, by = 'anyone') => ({ name, by, apply });
  const [completes, callsOff] = [rules.anyoneCompletes, rules.anyoneCallsOff].map((may) =>
    may ? 'anyone' : 'operator',
  );
  return [
    ...upTo(rules.attempts).map((nth) =>
      step(`someone completes switch ${nth + 1}`, (world) => complete(world, nth, rules), completes),
    ),
    ...SIDES.flatMap((side) => [
      step(`the deadline on ${side} passes`, (world) => passDeadline(world, side)),
      step(`someone calls the attempt on ${side} off`, (world) => callOff(world, side), callsOff),
      step(`a backfill from ${side} locks sensor_registry on the other side`, (world) =>
        lockRegistry(world, side, rules),
      ),
    ]),
    ...SIDES.flatMap((side) =>
      MESSAGES.flatMap((message) => [
        step(`a repair brings reading ${message} from ${side} to ${otherSide(side)}`, (world) =>
          repair(world, side, message, rules),
        ),
        step(`a repair settles reading ${message} on ${side}`, (world) => settleRepaired(world, side, message)),
      ]),
    ),
    step('the backfill repairs sensor_registry', (world) => repairRegistry(world, rules)),
    step('the backfill crashes', crashRegistryRepair),
  ];
}

function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}
