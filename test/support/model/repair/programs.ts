import type { Cast, RepairRules } from './rules.js';
import { isClaimed, isTargetHeld, withBatch, writeSecondary, type Entry, type RepairWorld } from './world.js';

/** What programs do on the primary, and consumers on both sides. Each is atomic; anything may happen between two. */

/** Another writer inserts or updates the row, or deletes it, in a transaction of its own. */
export function writeRow(world: RepairWorld, isDelete: boolean, rules: RepairRules): RepairWorld | null {
  if (world.writesLeft === 0 || (isDelete && world.primary === 0)) return null;
  const changed = changeRow({ ...world, writesLeft: world.writesLeft - 1 }, isDelete);
  return rules.enterWithWrite ? enter(changed, { batch: null, gone: isDelete && rules.nameGone }) : changed;
}

/** A consumer's batch of another table makes a trigger of the operator's write the row. */
export function fireTrigger(world: RepairWorld, rules: RepairRules): RepairWorld | null {
  if (world.writesLeft === 0) return null;
  const changed = changeRow({ ...world, writesLeft: world.writesLeft - 1 }, false);
  return rules.skipOwnTablesAlone ? enter(changed, { batch: null, gone: false }) : changed;
}

function changeRow(world: RepairWorld, isDelete: boolean): RepairWorld {
  const changes = world.changes + 1;
  return { ...world, changes, primary: isDelete ? 0 : changes };
}

function enter(world: RepairWorld, { batch, gone }: Pick<Entry, 'batch' | 'gone'>): RepairWorld {
  const entry = { id: world.changes, batch, gone, missed: batch === null };
  return { ...world, ledger: [...world.ledger, entry] };
}

/** A redelivery that comes after a delete is a new row for the primary, too. */
export function commitBatch(world: RepairWorld, { batches, batchCount }: Cast): RepairWorld | null {
  const index = world.batches.length;
  if (index === batchCount || (batches === 'first' && world.primary !== 0)) return null;
  const changed = changeRow(world, false);
  const batch = { value: changed.primary, state: 'unsent' } as const;
  return enter({ ...changed, batches: [...changed.batches, batch] }, { batch: index, gone: false });
}

/** A send reaches the secondary: a first attempt, one that is repeated, or one that hung somewhere for any time. */
export function landSend(world: RepairWorld, index: number, cast: Cast, rules: RepairRules): RepairWorld | null {
  const batch = world.batches[index];
  if (batch === undefined || !rules.openSecondary || (rules.lockTarget && isTargetHeld(world))) return null;
  if (batch.state === 'taken over' || (batch.state === 'dead' && rules.refuseDead)) return null;
  if (batch.state === 'written' && rules.markSends) return null;
  const marked = batch.state === 'dead' ? world : withBatch(world, index, 'written');
  return takesRow(world, batch.value, cast) ? writeSecondary(marked, batch.value, 'a send') : marked;
}

/** `on conflict do nothing`, or where it is newer: a column says so, which other writers may set back. */
function takesRow({ secondary, batches }: RepairWorld, value: number, cast: Cast): boolean {
  if (secondary === 0 || cast.batches === 'first') return secondary === 0;
  return secondary < value || !batches.some((other) => other.value === secondary);
}

/** The consumer has its answer, after any time: what a repair holds that repair settles. */
export function confirm(world: RepairWorld, index: number): RepairWorld | null {
  const entry = world.ledger.find(({ batch }) => batch === index);
  if (entry === undefined || world.batches[index]?.state !== 'written' || isClaimed(world, entry.id)) return null;
  return { ...world, ledger: world.ledger.filter((each) => each !== entry) };
}

/** Its timeout or its lease is over; it may have been sent, or still be on its way. Where the rules hold nobody minds. */
export function giveUp(world: RepairWorld, index: number, { markMissed }: RepairRules): RepairWorld | null {
  const entry = world.ledger.find(({ batch }) => batch === index);
  if (markMissed || entry === undefined || entry.missed || isClaimed(world, entry.id)) return null;
  const ledger = world.ledger.map((each) => (each === entry ? { ...each, missed: true } : each));
  return { ...world, ledger };
}

/** Its consumer is dead for the primary, though it may be asleep: that is recorded on the secondary, and its markers go. */
export function bury(world: RepairWorld, index: number): RepairWorld | null {
  const batch = world.batches[index];
  return batch === undefined || batch.state === 'dead' ? null : withBatch(world, index, 'dead');
}

/** decompress_chunk, an ALTER that rewrites, a TRUNCATE that is filled again: no snapshot of before shows the rows. */
export function rewrite(world: RepairWorld): RepairWorld | null {
  if (world.rewritingsLeft === 0) return null;
  const blinded = <Reader extends { step: string; blind: boolean }>(reader: Reader): Reader =>
    reader.step === 'snapped' ? { ...reader, blind: true } : reader;
  const { repairs, unit, rewritingsLeft } = world;
  return { ...world, repairs: repairs.map(blinded), unit: blinded(unit), rewritingsLeft: rewritingsLeft - 1 };
}
