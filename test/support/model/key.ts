import type { Side } from '../../../src/lib/domain/side.js';
import type { Rules } from './rules.js';
import { type Consumer, type MessageSet, type Row, type World } from './world.js';

/**
 * What tells a state of the world from others. Left out is what nothing can follow from: who of two consumers is which,
 * which message is which, how large an epoch is beside its place in the order, and what an operator without the token,
 * or the copy of a row that the other side has outgrown, might have done.
 */
export function keyOf(world: World, rules: Rules): string {
  const [key, swapped] = [keyWith(AS_THEY_ARE, world, rules), keyWith(SWAPPED, world, rules)];
  return controlOf(world, rules) + (key < swapped ? key : swapped);
}

const STEPS = ['idle', 'asserted too early', 'fenced', 'asserted', 'committed', 'acknowledged', 'sent'];
const OPERATOR_STEPS = ['begun', 'fenced', 'drained', 'over'];
/** Of an operator that can do nothing more. */
const OVER = 0xff;
const AS_THEY_ARE: readonly MessageSet[] = [0, 1, 2, 3];
const SWAPPED: readonly MessageSet[] = [0, 2, 1, 3];

function controlOf(world: World, rules: Rules): string {
  const { local, ec2, operators, switches, strayed, registryFrom, registryLost } = world;
  const rows = [local.row, ec2.row];
  for (const row of switches) if (!rules.epochsOnlyGrow || world[row.primary].row.epoch < row.epoch) rows.push(row);
  const codes = rows.map((row) => rowCode(row, rows));
  for (const [token, { step, from }] of operators.entries()) {
    const isOver = rules.tokenAtCommit && world[from].row.attempt !== token;
    codes.push(isOver ? OVER : OPERATOR_STEPS.indexOf(step) * 2 + Number(from === 'ec2'));
  }
  codes.push(0xff00 + sideCode(registryFrom) * 4 + Number(strayed) * 2 + Number(registryLost));
  return String.fromCharCode(...codes);
}

function sideCode(side: Side | null): number {
  return side === null ? 0 : side === 'local' ? 1 : 2;
}

function rowCode({ epoch, primary, attempt, overdue }: Row, rows: readonly Row[]): number {
  let older = 0;
  for (const row of rows) if (row.epoch < epoch) older += 1;
  return ((older * 8 + (attempt ?? 7)) * 2 + Number(primary === 'ec2')) * 2 + Number(overdue);
}

function keyWith(named: readonly MessageSet[], world: World, rules: Rules): string {
  const { local, ec2, consumers, acknowledged } = world;
  const first = consumerCode(consumers[0], named, world, rules);
  const second = consumerCode(consumers[1], named, world, rules);
  const [onLocal, onEc2] = [local, ec2].map(({ readings, ledger }) => named[readings]! * 4 + named[ledger]!);
  const data = (onLocal! * 16 + onEc2!) * 4 + named[acknowledged]!;
  return String.fromCharCode(Math.min(first, second), Math.max(first, second), data);
}

function consumerCode(
  { step, side, epoch, message, accepted }: Consumer,
  named: readonly MessageSet[],
  world: World,
  { refuseOtherEpoch }: Rules,
): number {
  const isStale = refuseOtherEpoch && epoch !== world[side].row.epoch;
  const known = epoch === null ? 0 : isStale ? 1 : 2;
  const flags = (Number(side === 'ec2') * 2 + Number(accepted)) * 4 + known;
  return (STEPS.indexOf(step) * 4 + named[message]!) * 16 + flags;
}
