import type { Side } from '../../../src/lib/domain/side.js';
import type { Rules } from './rules.js';
import {
  has,
  isOpen,
  otherSide,
  primaryOf,
  RESTARTED,
  withConsumer,
  withDatabase,
  type ConsumerIndex,
  type Message,
  type World,
} from './world.js';

/** The steps of a consumer, in the order in which a message lives. Each is atomic; anything may happen between two. */

/** Begins the transaction on the side taken for the primary, and takes the shared fence there. */
export function takeSharedFence(world: World, index: ConsumerIndex, rules: Rules): World | null {
  const { step, epoch } = world.consumers[index];
  if (step !== 'idle' || epoch === null) return null;
  return rules.readAfterLock
    ? withConsumer(world, index, { step: 'fenced' })
    : assertThen(world, index, 'asserted too early', rules);
}

/** Reads the row in a later statement; SF00x ends the transaction, and the consumer has to read the state anew. */
export function assertPrimary(world: World, index: ConsumerIndex, rules: Rules): World | null {
  const { step } = world.consumers[index];
  if (step === 'asserted too early') return withConsumer(world, index, { step: 'asserted' });
  return step === 'fenced' ? assertThen(world, index, 'asserted', rules) : null;
}

function assertThen(world: World, index: ConsumerIndex, then: 'asserted' | 'asserted too early', rules: Rules): World {
  const { side, epoch } = world.consumers[index];
  const { row } = world[side];
  const isRefused =
    (rules.refuseOtherPrimary && row.primary !== side) ||
    (rules.refuseDraining && row.attempt !== null) ||
    (rules.refuseOtherEpoch && row.epoch !== epoch);
  return withConsumer(world, index, isRefused ? { ...RESTARTED, side } : { step: then, epoch: null });
}

/**
 * Commits the reading, where its key is free, and its ledger entry; releases the fence. Which message it was is decided
 * only here, where it first matters: the queue may deliver any, to anyone, even one that was acknowledged.
 */
export function commitBatch(world: World, index: ConsumerIndex, message: Message, rules: Rules): World | null {
  const { step, side } = world.consumers[index];
  if (step !== 'asserted' || isRegistryLocked(world, side)) return null;
  const { readings, ledger } = world[side];
  const accepted = rules.sameKey ? readings === 0 : !has(readings, message);
  const entered = rules.enterWithReading ? ledger | message : ledger;
  const stored = accepted ? withDatabase(world, side, { readings: readings | message, ledger: entered }) : world;
  const strayed = world.strayed || side !== primaryOf(world);
  return withConsumer({ ...stored, strayed }, index, { step: 'committed', message, accepted });
}

export function acknowledge(world: World, index: ConsumerIndex): World | null {
  const { step, side, message, accepted } = world.consumers[index];
  if (step !== 'committed') return null;
  const acknowledged = { ...world, acknowledged: world.acknowledged | message };
  return withConsumer(acknowledged, index, accepted ? { step: 'acknowledged' } : { ...RESTARTED, side });
}

/** Inserts on the other side what the primary accepted. */
export function writeToSecondary(world: World, index: ConsumerIndex, rules: Rules): World | null {
  const { step, side, message } = world.consumers[index];
  if (step !== 'acknowledged' || (side === 'ec2' && !rules.keepLocalCurrent)) return null;
  if (isRegistryLocked(world, otherSide(side))) return null;
  return withConsumer(bring(world, otherSide(side), message, rules) ?? world, index, { step: 'sent' });
}

/** The secondary is away, or phase 3 does not keep it current: the entry stays. */
export function leaveToLedger(world: World, index: ConsumerIndex): World | null {
  const { step, side } = world.consumers[index];
  return step === 'acknowledged' ? withConsumer(world, index, { ...RESTARTED, side }) : null;
}

export function settle(world: World, index: ConsumerIndex): World | null {
  const { step, side, message } = world.consumers[index];
  if (step !== 'sent') return null;
  const settled = withDatabase(world, side, { ledger: world[side].ledger & ~message });
  return withConsumer(settled, index, { ...RESTARTED, side });
}

/** Reads the row of the side taken for the primary: it lets the consumer write there, or sends it to the other side. */
export function readState(world: World, index: ConsumerIndex): World | null {
  const { step, side, epoch } = world.consumers[index];
  const { row } = world[side];
  if (step !== 'idle' || epoch === row.epoch) return null;
  if (row.primary !== side) return withConsumer(world, index, { side: row.primary, epoch: null });
  return isOpen(world, side) ? withConsumer(world, index, { epoch: row.epoch }) : null;
}

/** kill -9, and a new start: what was not committed is gone, its locks are released, what was pending is missed. */
export function crash(world: World, index: ConsumerIndex): World | null {
  const { step } = world.consumers[index];
  return step === 'idle' ? null : withConsumer(world, index, RESTARTED);
}

/** `on conflict do nothing`: null where the key is taken, or the row of sensor_registry locked. */
export function bring(world: World, to: Side, message: Message | 0, { sameKey }: Rules): World | null {
  const { readings } = world[to];
  const isTaken = sameKey ? readings !== 0 : has(readings, message);
  return isTaken || isRegistryLocked(world, to) ? null : withDatabase(world, to, { readings: readings | message });
}

function isRegistryLocked({ registryFrom }: World, side: Side): boolean {
  return registryFrom !== null && registryFrom !== side;
}
