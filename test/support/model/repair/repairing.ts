import type { RepairRules } from './rules.js';
import {
  IDLE,
  isClaimed,
  isTargetHeld,
  isTargetJoined,
  UNREAD,
  withBatch,
  withRepair,
  writeSecondary,
  type RepairWorld,
} from './world.js';

/**
 * The steps of a repair as the code takes them, and those of a unit of a backfill. What its transaction on the secondary
 * does under the lock shows with its commit, and so is one step; the reads on the primary before it are not.
 */

/** Locks entries that nobody else repairs: the nth of them, or all; pending ones too, as a drain does. */
export function claim(
  world: RepairWorld,
  index: number,
  { nth, readAfterLock }: { readonly nth: number | null } & Pick<RepairRules, 'readAfterLock'>,
): RepairWorld | null {
  if (world.repairs[index]?.step !== 'idle') return null;
  const free = world.ledger.filter(({ id }) => !isClaimed(world, id));
  const entries = nth === null ? free : free.slice(nth, nth + 1);
  // One entry at a time is the same as all, where there is one.
  if (entries.length === 0 || (nth !== null && free.length === 1)) return null;
  const unsettled = world.ledger.flatMap(({ batch }) => (batch === null ? [] : [batch]));
  const gone = entries.some((entry) => entry.gone);
  const ids = entries.map(({ id }) => id);
  const saw = readAfterLock ? 0 : world.primary;
  return withRepair(world, index, { step: 'claimed', ids, gone, unsettled, saw });
}

/** Marks the batches, so that none is written after this that is not there yet. */
export function markUnsettled(world: RepairWorld, index: number, rules: RepairRules): RepairWorld | null {
  const repair = world.repairs[index];
  if (repair?.step !== 'claimed') return null;
  let next = withRepair(world, index, { step: 'marked', unsettled: [] });
  if (!rules.markUnsettled) return next;
  for (const batch of repair.unsettled) {
    const isMissed = world.ledger.some((entry) => entry.batch === batch && entry.missed);
    if (world.batches[batch]?.state !== 'unsent' || (isMissed && !rules.markMissed)) continue;
    next = withBatch(next, batch, 'taken over');
  }
  return next;
}

/** Holds the target, and asks the primary once more whether it lacks what an entry says may be gone. */
export function lock(world: RepairWorld, index: number, rules: RepairRules): RepairWorld | null {
  const repair = world.repairs[index];
  if (repair?.step !== 'marked') return null;
  if (rules.lockTarget && (isTargetHeld(world) || isTargetJoined(world))) return null;
  const gone = repair.gone && (!rules.confirmGone || world.primary === 0);
  return withRepair(world, index, { step: 'locked', gone });
}

export function takeSnapshot(world: RepairWorld, index: number, { readAfterLock }: RepairRules): RepairWorld | null {
  if (world.repairs[index]?.step !== 'locked') return null;
  return withRepair(world, index, { step: 'snapped', ...(readAfterLock ? { saw: world.primary } : {}) });
}

/** Begins again where the snapshot shows no rows; its claim and its lock are gone then. */
export function read(world: RepairWorld, index: number, { lookForRewriting }: RepairRules): RepairWorld | null {
  const repair = world.repairs[index];
  if (repair?.step !== 'snapped') return null;
  if (repair.blind && lookForRewriting) return withRepair(world, index, IDLE);
  return withRepair(world, index, { step: 'read', blind: false, ...(repair.blind ? { saw: 0 } : {}) });
}

/** Deletes what is gone, writes what was read, and commits on the secondary. */
export function write(world: RepairWorld, index: number, rules: RepairRules): RepairWorld | null {
  const repair = world.repairs[index];
  if (repair?.step !== (rules.settleLast ? 'read' : 'settled early') || !rules.openSecondary) return null;
  const done = withRepair(world, index, rules.settleLast ? { step: 'written', ...UNREAD } : IDLE);
  return repair.saw === 0 && !repair.gone ? done : writeSecondary(done, repair.saw, 'a repair');
}

export function settle(world: RepairWorld, index: number, rules: RepairRules): RepairWorld | null {
  const repair = world.repairs[index];
  if (repair?.step !== (rules.settleLast ? 'written' : 'read')) return null;
  const ledger = rules.settleById ? world.ledger.filter(({ id }) => !repair.ids.includes(id)) : [];
  return withRepair({ ...world, ledger }, index, rules.settleLast ? IDLE : { step: 'settled early' });
}

/** kill -9, a lost connection, a deadlock: the locks are gone, and what did not commit. */
export function crash(world: RepairWorld, index: number): RepairWorld | null {
  return world.repairs[index]?.step === 'idle' ? null : withRepair(world, index, IDLE);
}

/** A unit reads older rows than a repair beside it would: so it holds the target, which sends do too. */
export function joinTarget(world: RepairWorld, { lockTarget }: RepairRules): RepairWorld | null {
  if (world.unit.step !== 'idle' || (lockTarget && isTargetHeld(world))) return null;
  return { ...world, unit: { ...world.unit, step: 'joined' } };
}

export function snapUnit(world: RepairWorld, rules: RepairRules): RepairWorld | null {
  if (world.unit.step !== 'joined') return null;
  const unit = { step: 'snapped', saw: world.primary, blind: false } as const;
  let next: RepairWorld = { ...world, unit };
  for (const { batch } of world.ledger) {
    if (batch === null || !rules.markUnsettled || world.batches[batch]?.state !== 'unsent') continue;
    next = withBatch(next, batch, 'taken over');
  }
  return next;
}

export function readUnit(world: RepairWorld, { lookForRewriting }: RepairRules): RepairWorld | null {
  const { unit } = world;
  if (unit.step !== 'snapped') return null;
  if (unit.blind && lookForRewriting) return { ...world, unit: { step: 'idle', ...UNREAD } };
  return { ...world, unit: { ...unit, step: 'read', blind: false, ...(unit.blind ? { saw: 0 } : {}) } };
}

/** Inserts what is missing, makes what differs what it has read; deletes nothing. */
export function writeUnit(world: RepairWorld): RepairWorld | null {
  const { unit } = world;
  if (unit.step !== 'read') return null;
  const done: RepairWorld = { ...world, unit: { step: 'done', ...UNREAD } };
  return unit.saw === 0 ? done : writeSecondary(done, unit.saw, 'a unit');
}
