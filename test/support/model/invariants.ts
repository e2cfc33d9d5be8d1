import type { Side } from '../../../src/lib/domain/side.js';
import type { Invariant } from './explore.js';
import type { Rules } from './rules.js';
import { isOpen, otherSide, primaryOf, SIDES, type MessageSet, type World } from './world.js';

/** What must hold in each state; of several that a state breaks the first is named. */
export function invariantsOf({ sameKey }: Rules): readonly Invariant<World>[] {
  return [
    {
      name: 'promise 9: no two sides take writes as the primary',
      holds: (world) => !SIDES.every((side) => isOpen(world, side)),
    },
    {
      name: 'promise 9: no commit on the old primary after the commit point',
      holds: ({ strayed }) => !strayed,
    },
    {
      name: 'promise 9: an epoch names one primary, and the side with the lower epoch is not it',
      holds: (world) => SIDES.every((side) => world[side].row.primary !== side || isAhead(world, side)),
    },
    {
      name: 'promises 3 and 11: the primary holds whatever either side holds',
      holds: (world) => {
        const primary = primaryOf(world);
        return isWithin(world[otherSide(primary)].readings, world[primary].readings);
      },
    },
    {
      name: 'promises 2 and 11: the primary holds what was acknowledged',
      holds: (world) => {
        const { readings } = world[primaryOf(world)];
        return sameKey ? world.acknowledged === 0 || readings !== 0 : isWithin(world.acknowledged, readings);
      },
    },
    {
      name: 'promise 3: each reading is on both sides or in the ledger',
      holds: (world) =>
        SIDES.every((side) => isWithin(world[side].readings, world[side].ledger | world[otherSide(side)].readings)),
    },
    {
      name: 'promise 7: no repair takes from sensor_registry what is newer',
      holds: ({ registryLost }) => !registryLost,
    },
  ];
}

function isAhead(world: World, side: Side): boolean {
  const [own, other] = [world[side].row, world[otherSide(side)].row];
  return own.epoch > other.epoch || (own.epoch === other.epoch && own.primary === other.primary);
}

function isWithin(part: MessageSet, whole: MessageSet): boolean {
  return (part & ~whole) === 0;
}
