import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Side } from '../../src/lib/domain/side.js';
import { STEPS, type StepName } from '../../src/lib/operations/cutover/cutover-report.js';
import { eventually, type RunningCli } from '../support/cli.js';
import { deadlinePast, type Arena } from './arena.js';

export const VICTIMS = ['operator', 'consumer', 'ec2', 'local'] as const;
export const BLOWS = ['killed', 'frozen'] as const;

/** Who is struck, how, and before which step of a switch that leaves the phase `from`. */
export interface Strike {
  readonly from: 2 | 3;
  readonly step: StepName;
  readonly victim: (typeof VICTIMS)[number];
  readonly blow: (typeof BLOWS)[number];
}

export function describeStrike({ from, step, victim, blow }: Strike): string {
  const who = { operator: 'the operator', consumer: 'a consumer', ec2: 'EC2', local: 'local' }[victim];
  return `${from === 2 ? '2 → 3' : '3 → 2'}, before ${step}: ${who} ${blow}`;
}

const MAX_PAUSE_MS = 2_500;
const PATIENT_MAX_PAUSE_MS = 20_000;
const DOWN_MS = 700;
const LOAD_MS = 300;

/**
 * Strikes once, under load, in the phase that it asks for; then everybody is left alone. Throws unless the state is the
 * old phase or the new one (the one that the strike leaves no choice about), consumers work again by themselves, and
 * every message is accounted for.
 */
export async function strike(arena: Arena, one: Strike): Promise<'gone back' | 'switched'> {
  const { from } = one;
  await arena.goTo(from);
  const before = await arena.settledState();
  arena.startLoad();
  await sleep(LOAD_MS);
  const struck = await BY_VICTIM[one.victim](arena, one);
  const settled = await arena.settledState();
  await sleep(LOAD_MS);
  const after = await arena.calm();
  expect(after.epoch, 'nobody changes the phase any more').to.equal(settled.epoch);
  const outcome = after.phase === from ? 'gone back' : 'switched';
  expect(after.phase).to.equal(outcome === 'gone back' ? from : 5 - from);
  if (struck.forced !== null) expect(outcome, `${JSON.stringify(struck)} ${before.epoch}`).to.equal(struck.forced);
  const violations = await arena.audit(after);
  expect(violations.slice(0, 10), `${violations.length} violations`).to.deep.equal([]);
  return outcome;
}

/** What the strike leaves no choice about, and what the operator said of it. */
interface Struck {
  readonly forced: 'gone back' | 'switched' | null;
  readonly said: string;
}

const BY_VICTIM: Record<Strike['victim'], (arena: Arena, one: Strike) => Promise<Struck>> = {
  operator: strikeOperator,
  consumer: strikeConsumer,
  ec2: strikeServer,
  local: strikeServer,
};

async function strikeOperator(arena: Arena, { from, step, blow }: Strike): Promise<Struck> {
  const operator = await arena.operatorAt(step, MAX_PAUSE_MS);
  if (blow === 'killed') {
    operator.kill('SIGKILL');
    await operator.wait();
    return { forced: isCommitted(step) ? 'switched' : 'gone back', said: operator.stdout };
  }
  operator.kill('SIGSTOP');
  const isBegun = step !== 'prove' && step !== 'pause' && !isCommitted(step);
  if (isBegun) await calledOff(arena, from);
  else await sleep(MAX_PAUSE_MS + 200);
  operator.kill('SIGCONT');
  operator.go();
  const code = await operator.wait();
  // Before the pause there is no deadline yet.
  const forced = isCommitted(step) || step === 'prove' ? 'switched' : 'gone back';
  expect(code, operator.stdout + operator.stderr).to.be.oneOf(forced === 'switched' ? [0] : [1, 4]);
  return { forced, said: operator.stdout };
}

/** Consumers call it off by themselves: the operator sleeps. */
async function calledOff(arena: Arena, from: 2 | 3): Promise<void> {
  const primary = arena.sides[sideOf(from)];
  await deadlinePast(primary);
  await eventually('consumers have called it off', async () => {
    const { attempt } = (await arena.readRecords())[primary.side];
    return attempt === null;
  });
}

async function strikeConsumer(arena: Arena, { step, blow }: Strike): Promise<Struck> {
  let frozen: RunningCli | undefined;
  const outcome = await arena.switch(
    async (name) => {
      if (name !== step) return;
      if (blow === 'killed') {
        await arena.replaceConsumer();
        return;
      }
      [frozen] = arena.consumers;
      frozen?.kill('SIGSTOP');
    },
    { maxPauseMs: PATIENT_MAX_PAUSE_MS },
  );
  frozen?.kill('SIGCONT');
  return { forced: 'switched', said: JSON.stringify(outcome.steps) };
}

async function strikeServer(arena: Arena, { from, step, victim, blow }: Strike): Promise<Struck> {
  const server = arena.servers[victim as Side];
  let restored: Promise<void> = Promise.resolve();
  const outcome = await arena
    .switch(
      async (name) => {
        if (name !== step) return;
        if (blow === 'killed') {
          await server.stop('immediate');
          restored = sleep(DOWN_MS).then(() => server.start());
        } else {
          await server.freeze();
          restored = sleep(MAX_PAUSE_MS + 700).then(() => server.thaw());
        }
      },
      { maxPauseMs: MAX_PAUSE_MS },
    )
    .then(
      ({ state }) => `switched to epoch ${state.epoch}`,
      (error: unknown) => `went back: ${String(error)}`,
    );
  await restored;
  const isOldPrimary = victim === sideOf(from);
  const isPaused = STEPS.indexOf(step) >= STEPS.indexOf('pause');
  if (isCommitted(step)) return { forced: 'switched', said: outcome };
  if (blow === 'frozen' && isPaused && isOldPrimary) return { forced: 'gone back', said: outcome };
  if (step === 'switch' && !isOldPrimary) return { forced: 'switched', said: outcome };
  return { forced: null, said: outcome };
}

function isCommitted(step: StepName): boolean {
  return STEPS.indexOf(step) >= STEPS.indexOf('complete');
}

function sideOf(phase: 2 | 3): Side {
  return phase === 2 ? 'local' : 'ec2';
}
