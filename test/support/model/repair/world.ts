import type { Cast } from './rules.js';

/** What the row of one key held last: the number of the change that put it there; 0 where there is no row. */
export type Version = number;

/** An entry of the ledger on the primary. Its id is the number of the change that it names. */
export interface Entry {
  readonly id: number;
  /** The batch that it stands for; null: another writer's. */
  readonly batch: number | null;
  readonly gone: boolean;
  /** Of a batch: whether its consumer has given it up, or is taken for dead. */
  readonly missed: boolean;
}

/** A batch of one row, from its commit on the primary on. Its send may land at any time, and again. */
export interface Batch {
  readonly value: Version;
  /**
   * What its marker on the secondary says: a send has written it, or a repair has taken it over. `dead`: its consumer is
   * recorded as dead there, and its markers are gone.
   */
  readonly state: 'unsent' | 'written' | 'taken over' | 'dead';
}

interface Reading {
  readonly saw: Version;
  /** The snapshot shows the table without its rows. */
  readonly blind: boolean;
}

export type RepairStep = 'idle' | 'claimed' | 'marked' | 'locked' | 'snapped' | 'read' | 'written' | 'settled early';

/** One repair, by the steps of the code: claim, mark, lock, snapshot, read, write and commit, settle. */
export interface Repair extends Reading {
  readonly step: RepairStep;
  readonly ids: readonly number[];
  /** An entry says that the row may be no more; once it was asked, that the primary lacks it. */
  readonly gone: boolean;
  /** Batches that its claim's snapshot shows as not settled. */
  readonly unsettled: readonly number[];
}

/** A unit of a backfill, which holds the target beside sends and other units. */
export interface Unit extends Reading {
  readonly step: 'idle' | 'joined' | 'snapped' | 'read' | 'done';
}

export interface RepairWorld {
  /** Changes of the row on the primary so far. */
  readonly changes: number;
  readonly primary: Version;
  readonly secondary: Version;
  /** What the last write on the secondary did, where it went back behind what was there. */
  readonly regression: string | null;
  readonly ledger: readonly Entry[];
  readonly batches: readonly Batch[];
  readonly repairs: readonly Repair[];
  readonly unit: Unit;
  /** Statements of other writers, and rewritings, that are still to come. */
  readonly writesLeft: number;
  readonly rewritingsLeft: number;
}

export const UNREAD: Reading = { saw: 0, blind: false };
export const IDLE: Repair = { ...UNREAD, step: 'idle', ids: [], gone: false, unsettled: [] };
const NO_UNIT: Unit = { ...UNREAD, step: 'idle' };

/** Both sides hold the same row, or none; nothing is entered. */
export function initialWorld({ repairs, writes, rewritings, unit }: Cast, row: Version): RepairWorld {
  return {
    ...{ changes: row, primary: row, secondary: row, regression: null, ledger: [], batches: [] },
    repairs: Array.from({ length: repairs }, () => IDLE),
    unit: unit ? NO_UNIT : { ...NO_UNIT, step: 'done' },
    ...{ writesLeft: writes, rewritingsLeft: rewritings },
  };
}

export function withRepair(world: RepairWorld, index: number, change: Partial<Repair>): RepairWorld {
  return { ...world, repairs: world.repairs.with(index, { ...world.repairs[index]!, ...change }) };
}

export function withBatch(world: RepairWorld, index: number, state: Batch['state']): RepairWorld {
  return { ...world, batches: world.batches.with(index, { ...world.batches[index]!, state }) };
}

export function isClaimed({ repairs }: RepairWorld, id: number): boolean {
  return repairs.some(({ ids }) => ids.includes(id));
}

/** Whether a repair holds the target; it does so from its lock to its commit. */
export function isTargetHeld({ repairs }: RepairWorld): boolean {
  return repairs.some(({ step }) => HOLDING.includes(step));
}

const HOLDING: readonly RepairStep[] = ['locked', 'snapped', 'read'];

/** Whether a unit holds it beside sends. */
export function isTargetJoined({ unit }: RepairWorld): boolean {
  return unit.step === 'joined' || unit.step === 'snapped' || unit.step === 'read';
}

/** Puts a row on the secondary, or where `version` is 0 takes it off. */
export function writeSecondary(world: RepairWorld, version: Version, by: string): RepairWorld {
  if (version === world.secondary) return world;
  return { ...world, secondary: version, regression: regressionOf(world, version, by) };
}

function regressionOf({ primary, secondary }: RepairWorld, version: Version, by: string): string | null {
  if (version === 0) return primary === 0 ? null : `${by} deleted a row that the primary holds`;
  if (secondary === 0) return primary === version ? null : `${by} brought a row that the primary had deleted`;
  return version < secondary ? `${by} put an older value over a newer one` : null;
}

/** Whether the ledger says what the secondary lacks; only a delete says that it may hold too much. */
export function isCovered({ primary, secondary, ledger }: RepairWorld): boolean {
  return primary === secondary || ledger.some(({ gone }) => gone || primary !== 0);
}

/** All that tells a state from others; which of two repairs is which does not. */
export function keyOf(world: RepairWorld): string {
  const { changes, primary, secondary, regression, ledger, batches, unit, writesLeft, rewritingsLeft } = world;
  const readingOf = ({ saw, blind }: Reading): string => `${saw}${blind ? 'b' : ''}`;
  const repairs = world.repairs
    .map((each) => `${each.step}${each.ids.join()}${each.gone ? 'g' : ''}${each.unsettled.join()}${readingOf(each)}`)
    .sort();
  const entries = ledger.map(
    ({ id, batch, gone, missed }) => `${id}${batch ?? 'w'}${gone ? 'g' : ''}${missed ? 'm' : ''}`,
  );
  const sent = batches.map(({ value, state }) => `${value}${state}`);
  const rows = [changes, primary, secondary, regression, writesLeft, rewritingsLeft, unit.step, readingOf(unit)];
  return [rows, entries, sent, repairs].join('|');
}
