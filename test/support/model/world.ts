import type { Side } from '../../../src/lib/domain/side.js';

/** Two messages, each with one reading. A set of them is a sum of their bits. */
export const MESSAGES = [1, 2] as const;
export type Message = (typeof MESSAGES)[number];
export type MessageSet = number;
export const ALL_MESSAGES: MessageSet = 3;

export const SIDES = ['local', 'ec2'] as const satisfies readonly Side[];
export const CONSUMERS = [0, 1] as const;
export type ConsumerIndex = (typeof CONSUMERS)[number];

/** `sensorctl.state`, as far as who may write depends on it: draining where there is an attempt. */
export interface Row {
  readonly epoch: number;
  readonly primary: Side;
  /** The token of a change of the primary that is under way: the place of its operator in the list. */
  readonly attempt: number | null;
  /** Whether the attempt's deadline has passed. */
  readonly overdue: boolean;
}

export interface Database {
  readonly row: Row;
  readonly readings: MessageSet;
  /** Readings that the other side may lack. */
  readonly ledger: MessageSet;
}

export type ConsumerStep =
  | 'idle'
  /** Only where the rule is broken: the row was read, and the lock is not yet held. */
  | 'asserted too early'
  | 'fenced'
  | 'asserted'
  | 'committed'
  | 'acknowledged'
  | 'sent';

export interface Consumer {
  readonly step: ConsumerStep;
  /** The side that it takes for the primary. */
  readonly side: Side;
  /** The epoch of the row that let it write there; null: it reads the state before it writes again. */
  readonly epoch: number | null;
  /** Of the batch that it committed; 0 before. */
  readonly message: Message | 0;
  /** Whether the primary took the reading, and did not have it before. */
  readonly accepted: boolean;
}

export type OperatorStep = 'begun' | 'fenced' | 'drained' | 'over';

/** Who began an attempt. One that died and one that sleeps look alike: it does not take its next step. */
export interface Operator {
  readonly step: OperatorStep;
  readonly from: Side;
}

export interface World {
  readonly local: Database;
  readonly ec2: Database;
  readonly consumers: readonly [Consumer, Consumer];
  /** Deleted from the queue. */
  readonly acknowledged: MessageSet;
  readonly operators: readonly Operator[];
  /** Each row that a commit point wrote: anyone may have read it, and bring the copy to the other side ages later. */
  readonly switches: readonly Row[];
  /** Whether a consumer ever committed on a side after another had become the primary. */
  readonly strayed: boolean;
  /** The side that a backfill brings sensor_registry from, while it holds the locks of the other one's rows. */
  readonly registryFrom: Side | null;
  /** Whether a row of sensor_registry lost what a reading on its side had put there. */
  readonly registryLost: boolean;
}

/** Phase 2: both consumers dual-write with local as the primary. EC2 holds no row as yet. */
export function initialWorld(): World {
  const consumer: Consumer = { ...RESTARTED, epoch: 1 };
  const recorded: Row = { epoch: 1, primary: 'local', attempt: null, overdue: false };
  return {
    local: { row: recorded, readings: 0, ledger: 0 },
    ec2: { row: { ...recorded, epoch: 0 }, readings: 0, ledger: 0 },
    consumers: [consumer, consumer],
    acknowledged: 0,
    operators: [],
    switches: [],
    strayed: false,
    registryFrom: null,
    registryLost: false,
  };
}

/** A consumer that was just started: its settings name local, and it has yet to read the state. */
export const RESTARTED: Consumer = { step: 'idle', side: 'local', epoch: null, message: 0, accepted: false };

export function otherSide(side: Side): Side {
  return side === 'local' ? 'ec2' : 'local';
}

export function has(set: MessageSet, message: Message | 0): boolean {
  return (set & message) !== 0;
}

/** Whether a side would take a write as the primary, by its own row. */
export function isOpen(world: World, side: Side): boolean {
  const { row } = world[side];
  return row.primary === side && row.attempt === null;
}

/** The primary that the highest epoch names. */
export function primaryOf({ local, ec2 }: World): Side {
  return (local.row.epoch >= ec2.row.epoch ? local : ec2).row.primary;
}

export function withDatabase(world: World, side: Side, change: Partial<Database>): World {
  return side === 'local'
    ? { ...world, local: { ...world.local, ...change } }
    : { ...world, ec2: { ...world.ec2, ...change } };
}

export function withConsumer(world: World, index: ConsumerIndex, change: Partial<Consumer>): World {
  const [first, second] = world.consumers;
  const consumers: World['consumers'] =
    index === 0 ? [{ ...first, ...change }, second] : [first, { ...second, ...change }];
  return { ...world, consumers };
}

export function withOperator(world: World, index: number, step: OperatorStep): World {
  return { ...world, operators: world.operators.with(index, { ...world.operators[index]!, step }) };
}
