import type { Invariant, Model, Transition } from '../explore.js';
import { bury, commitBatch, confirm, fireTrigger, giveUp, landSend, rewrite, writeRow } from './programs.js';
import {
  claim,
  crash,
  joinTarget,
  lock,
  markUnsettled,
  read,
  readUnit,
  settle,
  snapUnit,
  takeSnapshot,
  write,
  writeUnit,
} from './repairing.js';
import type { Cast, RepairRules } from './rules.js';
import { initialWorld, isCovered, keyOf, type RepairWorld } from './world.js';

/** Entries that wait at once, at most, of which a repair takes any one. */
const CHOICES = [null, 0, 1, 2];

/**
 * One row that consumers, other writers, two repairs and a unit of a backfill write, with its ledger and its markers. Left
 * out is what more than one row shows: see the other models. `row`: both sides hold it to begin with.
 */
export function repairModel(rules: RepairRules, cast: Cast, row: 0 | 1 = 0): Model<RepairWorld> {
  return {
    initial: initialWorld(cast, row),
    transitions: [...stepsOfPrograms(rules, cast), ...stepsOfRepairs(rules, cast), ...stepsOfUnit(rules, cast)],
    invariants: INVARIANTS,
    keyOf,
  };
}

/** What went back on the secondary for a moment, in the order of sends and repairs, stays in the ledger until it is mended. */
const INVARIANTS: readonly Invariant<RepairWorld>[] = [
  {
    name: 'promise 16: nothing deleted, nothing older comes back, and nothing is deleted that the primary holds',
    holds: (world) => world.regression === null || isCovered(world),
  },
  { name: 'promise 15: each change of the primary is on the secondary or in the ledger', holds: isCovered },
];

/** Whether both sides hold the same, and nothing is left to do. */
export function isAtRest({ primary, secondary, ledger }: RepairWorld): boolean {
  return primary === secondary && ledger.length === 0;
}

type Steps = Transition<RepairWorld>[];
type Apply = Transition<RepairWorld>['apply'];

function stepsOfPrograms(rules: RepairRules, cast: Cast): Steps {
  const step = (name: string, apply: Apply, by = 'consumer') => ({ name, by, apply });
  return [
    step('another writer deletes the row', (world) => writeRow(world, true, rules), 'writer'),
    step('another writer writes the row', (world) => writeRow(world, false, rules), 'writer'),
    step("the operator's trigger writes the row", (world) => fireTrigger(world, rules), 'writer'),
    step('the table is rewritten', rewrite, 'writer'),
    step('a consumer commits a batch with the row', (world) => commitBatch(world, cast), 'writer'),
    ...upTo(cast.batchCount).flatMap((index) => [
      step(`batch ${index + 1} reaches the secondary`, (world) => landSend(world, index, cast, rules)),
      step(`the consumer settles batch ${index + 1}`, (world) => confirm(world, index)),
      step(`batch ${index + 1} is given up`, (world) => giveUp(world, index, rules)),
      step(`the consumer of batch ${index + 1} is recorded as dead`, (world) => bury(world, index), 'undertaker'),
    ]),
  ];
}

function stepsOfRepairs(rules: RepairRules, { repairs }: Cast): Steps {
  return upTo(repairs).flatMap((index) => {
    const step = (what: string, apply: Apply, by = 'repair') => ({ name: `repair ${index + 1} ${what}`, by, apply });
    return [
      ...CHOICES.map((nth) =>
        step(nth === null ? 'claims all entries' : `claims entry ${nth + 1}`, (world) =>
          claim(world, index, { nth, ...rules }),
        ),
      ),
      step('marks the batches that have not settled', (world) => markUnsettled(world, index, rules)),
      step('locks the target, and looks for what is gone', (world) => lock(world, index, rules)),
      step('takes its snapshot', (world) => takeSnapshot(world, index, rules)),
      step('reads the row', (world) => read(world, index, rules)),
      step('writes and commits', (world) => write(world, index, rules)),
      step('settles', (world) => settle(world, index, rules)),
      step('crashes', (world) => crash(world, index), 'misfortune'),
    ];
  });
}

function stepsOfUnit(rules: RepairRules, { unit }: Cast): Steps {
  const step = (what: string, apply: Apply) => ({ name: `a unit ${what}`, by: 'unit', apply });
  if (!unit) return [];
  return [
    step('joins the target', (world) => joinTarget(world, rules)),
    step('takes its snapshot', (world) => snapUnit(world, rules)),
    step('reads the row', (world) => readUnit(world, rules)),
    step('writes and commits', writeUnit),
  ];
}

function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}
