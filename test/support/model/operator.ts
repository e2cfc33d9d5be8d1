import type { Side } from '../../../src/lib/domain/side.js';
import type { Rules } from './rules.js';
import { otherSide, withDatabase, withOperator, type ConsumerStep, type Row, type World } from './world.js';

/**
 * The steps of whoever changes the primary: a cutover from local to ec2, a rollback from ec2 to local. Each attempt has an
 * operator of its own, known by its token, who may sleep for any time, or die, at each step; others then go on.
 */

/** (a) The row of the primary becomes draining; what is overdue may be taken over. */
export function begin(world: World, from: Side, { attempts }: Rules): World | null {
  const { row } = world[from];
  if (world.operators.length === attempts || row.primary !== from) return null;
  if (row.attempt !== null && !row.overdue) return null;
  const attempt = world.operators.length;
  const draining = { epoch: row.epoch + 1, primary: from, attempt, overdue: false };
  const operators = [...world.operators, { step: 'begun', from } as const];
  return withDatabase({ ...world, operators }, from, { row: draining });
}

/** (b) Waits for the transactions that hold the fence shared. Those that hang are ended on the server: they crash. */
export function takeFence(world: World, token: number, rules: Rules): World | null {
  const { step, from } = world.operators[token] ?? OVER;
  if (step !== 'begun' || (rules.fenceBeforeDrain && !isFenceFree(world, from, rules))) return null;
  return withOperator(world, token, 'fenced');
}

/** (c), (d) Has found the ledger empty, and both sides equal. The batches are brought as any repair brings them. */
export function findDrained(world: World, token: number, { drainLedger }: Rules): World | null {
  const { step, from } = world.operators[token] ?? OVER;
  if (step !== 'fenced' || (drainLedger && world[from].ledger !== 0)) return null;
  return withOperator(world, token, 'drained');
}

/** (e) The commit point: one transaction on the side that is given up. */
export function commitSwitch(world: World, token: number, rules: Rules): World | null {
  const { step, from } = world.operators[token] ?? OVER;
  const { row } = world[from];
  if (step !== 'drained' || (rules.fenceAtCommit && !isFenceFree(world, from, rules))) return null;
  if (rules.drainingAtCommit && row.attempt === null) return null;
  if (rules.tokenAtCommit && row.attempt !== token) return null;
  if (rules.deadlineAtCommit && row.overdue) return null;
  const given = { epoch: row.epoch + 1, primary: otherSide(from), attempt: null, overdue: false };
  const switched = withDatabase({ ...world, switches: [...world.switches, given] }, from, { row: given });
  return withOperator(switched, token, 'over');
}

/** A gate was not met, or the operator thought better of it: back to the phase it came from. */
export function giveUp(world: World, token: number): World | null {
  const { from } = world.operators[token] ?? OVER;
  const { row } = world[from];
  if (row.attempt !== token) return null;
  return withOperator(calledOff(world, from), token, 'over');
}

export function calledOff(world: World, side: Side): World {
  const row: Row = { epoch: world[side].row.epoch + 1, primary: side, attempt: null, overdue: false };
  return withDatabase(world, side, { row });
}

const OVER = { step: 'over', from: 'local' } as const;

function isFenceFree({ consumers }: World, side: Side, { fence }: Rules): boolean {
  return !fence || !consumers.some((consumer) => consumer.side === side && FENCED_STEPS.includes(consumer.step));
}

const FENCED_STEPS: readonly ConsumerStep[] = ['fenced', 'asserted'];
