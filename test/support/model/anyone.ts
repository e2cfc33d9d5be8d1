import type { Side } from '../../../src/lib/domain/side.js';
import { bring } from './consumer.js';
import { calledOff } from './operator.js';
import type { Rules } from './rules.js';
import { has, otherSide, withDatabase, type Message, type World } from './world.js';

/**
 * What any process may do at any time: consumers, commands, a repair. None of it needs a memory in the model, for
 * whoever slept meanwhile does what these steps allow anyway.
 */

/** Time passes. */
export function passDeadline(world: World, side: Side): World | null {
  const { row } = world[side];
  return row.attempt === null || row.overdue ? null : withDatabase(world, side, { row: { ...row, overdue: true } });
}

export function callOff(world: World, side: Side): World | null {
  const { row } = world[side];
  return row.attempt !== null && row.overdue ? calledOff(world, side) : null;
}

/** (f) Copies the row of a commit point to the side that it makes the primary; it may have been read long ago. */
export function complete(world: World, nth: number, { epochsOnlyGrow }: Rules): World | null {
  const row = world.switches[nth];
  if (row === undefined || world[row.primary].row.epoch === row.epoch) return null;
  if (epochsOnlyGrow && world[row.primary].row.epoch > row.epoch) return null;
  return withDatabase(world, row.primary, { row });
}

/** Brings a reading to the other side: a drain, a repair, a backfill, or a late write. */
export function repair(world: World, from: Side, message: Message, rules: Rules): World | null {
  if (!has(world[from].readings, message)) return null;
  return bring(world, otherSide(from), message, rules);
}

/** Takes an entry out of the ledger whose reading the repair has seen on the other side. */
export function settleRepaired(world: World, side: Side, message: Message): World | null {
  const { ledger } = world[side];
  if (!has(ledger, message) || !has(world[otherSide(side)].readings, message)) return null;
  return withDatabase(world, side, { ledger: ledger & ~message });
}

/** A backfill, begun when `from` was the primary, locks the other side's rows of sensor_registry: writes there wait. */
export function lockRegistry(world: World, from: Side, { registryRepair }: Rules): World | null {
  const wasPrimary = from === 'local' || world[from].row.primary === from;
  if (registryRepair === 'none' || world.registryFrom !== null || !wasPrimary) return null;
  return { ...world, registryFrom: from };
}

/** Sets the rows to what `from` holds by now, and releases them. Each reading on a side has updated the rows there. */
export function repairRegistry(world: World, { registryRepair }: Rules): World | null {
  const from = world.registryFrom;
  if (from === null) return null;
  const isRefused = registryRepair === 'asserting' && world[from].row.primary !== from;
  const isOutdated = (world[otherSide(from)].readings & ~world[from].readings) !== 0;
  return { ...world, registryFrom: null, registryLost: world.registryLost || (isOutdated && !isRefused) };
}

export function crashRegistryRepair(world: World): World | null {
  return world.registryFrom === null ? null : { ...world, registryFrom: null };
}
