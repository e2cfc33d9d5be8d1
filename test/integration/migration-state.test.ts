// The record of the phase: its rules as constraints, and the protocol of the switch on two databases, step by step.
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import pg from 'pg';
import { withTransaction } from '../../src/lib/db/transaction.js';
import { NO_PHASE, type MigrationState, type Phase } from '../../src/lib/domain/migration.js';
import type { Side } from '../../src/lib/domain/side.js';
import { ConflictError } from '../../src/lib/errors.js';
import { silentLogger } from '../../src/lib/logger.js';
import { switchPrimary, type SwitchOutcome } from '../../src/lib/operations/cutover/switch.js';
import { holdAsSecondary, assertPrimary, endWriters, waitForWriters } from '../../src/lib/repository/phase/fence.js';
import { copyRecord, findDecidingState } from '../../src/lib/repository/phase/deciding-state.js';
import { readHistory, readState } from '../../src/lib/repository/phase/state.js';
import {
  beginDraining,
  callOff,
  callOffOverdue,
  changePhase,
  commitSwitch,
  recordFirstPhase,
} from '../../src/lib/repository/phase/transition.js';
import { PreparedPair } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';

const WHY = { by: 'a test', reason: null, overriddenGates: [] };
const EMPTY = 'truncate sensorctl.state, sensorctl.state_history';
const LONG_MS = 600_000;
/** Past as soon as it is recorded. */
const NO_MS = 0;

describe('the record of the phase', function () {
  this.timeout(30_000);
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('migration state');
  });

  after(async () => {
    await pair.close();
  });

  beforeEach(async () => {
    await pair.query(EMPTY);
  });

  /** Records this phase on both sides. */
  async function goTo(phase: Phase): Promise<MigrationState> {
    let state = await recordFirstPhase(pair.local, WHY);
    if (phase > 1) state = await changePhase(pair.local, state, { ...WHY, phase: 2 });
    await copyRecord(pair.ec2, state);
    if (phase < 3) return state;
    const { token } = await drain('local', state, 3);
    state = await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
    await copyRecord(pair.ec2, state);
    return state;
  }

  async function drain(from: Side, state: MigrationState, targetPhase: Phase, maxPauseMs = LONG_MS) {
    const token = randomUUID();
    return { token, state: await beginDraining(pair[from], state, { ...WHY, token, targetPhase, maxPauseMs }) };
  }

  const set = (pool: pg.Pool, assignments: string): Promise<unknown> =>
    pool.query(`update sensorctl.state set ${assignments}`);

  describe('as constraints', () => {
    for (const [what, assignments, rule] of [
      ['an epoch that stays', 'reason = null', 'epochs_only_grow'],
      ['an epoch that falls', 'epoch = epoch - 1', 'epochs_only_grow'],
      ['a fourth phase', 'epoch = epoch + 1, phase = 4', 'known_phase'],
      ['EC2 as the primary in phase 2', "epoch = epoch + 1, primary_side = 'ec2'", 'primary_of_the_phase'],
      ['local as the primary in phase 3', 'epoch = epoch + 1, phase = 3', 'primary_of_the_phase'],
      ['EC2 alone in phase 2', "epoch = epoch + 1, write_mode = 'ec2-only'", 'ec2_only_in_phase_3'],
      ['draining by nobody', "epoch = epoch + 1, write_mode = 'draining'", 'draining_is_an_attempt'],
    ] as const) {
      it(`refuses ${what}: ${rule}`, async () => {
        const before = await goTo(2);
        expect(await constraintBroken(set(pair.here, assignments))).to.equal(rule);
        expect(await readState(pair.local.pool)).to.deep.equal(before);
      });
    }

    it('keeps the record: it cannot be deleted, nor be there twice', async () => {
      const before = await goTo(1);
      expect(await constraintBroken(pair.here.query('delete from sensorctl.state'))).to.equal('state_stays');
      const second =
        'insert into sensorctl.state (singleton, phase, write_mode, epoch, primary_side, changed_by) values (';
      expect(await constraintBroken(pair.here.query(`${second}true, 1, 'dual-write', 9, 'local', 'x')`))).to.equal(
        'state_pkey',
      );
      expect(await constraintBroken(pair.here.query(`${second}false, 1, 'dual-write', 9, 'local', 'x')`))).to.equal(
        'one_state',
      );
      expect(await readState(pair.local.pool)).to.deep.equal(before);
    });

    it('lets one transition under way at a time, until its deadline is past', async () => {
      await drain('local', await goTo(2), 3);
      const takeOver = `epoch = epoch + 1, attempt = gen_random_uuid()`;
      expect(await constraintBroken(set(pair.here, takeOver))).to.equal('one_transition_at_a_time');
      await set(
        pair.here,
        "epoch = epoch + 1, attempt = null, target_phase = null, deadline = null, write_mode = 'dual-write'",
      );
      await drain('local', await readState(pair.local.pool), 3, NO_MS);
      await set(pair.here, takeOver);
    });

    it('remembers every change, each epoch once, with who and why', async () => {
      const state = await goTo(2);
      const { token } = await drain('local', state, 3);
      await callOff(pair.local, { token }, { by: 'somebody else', reason: 'a test' });
      const history = await readHistory(pair.local.pool, 10);
      expect(history.map(({ epoch, phase, writeMode }) => [epoch, phase, writeMode])).to.deep.equal([
        [4, 2, 'dual-write'],
        [3, 2, 'draining'],
        [2, 2, 'dual-write'],
        [1, 1, 'dual-write'],
      ]);
      expect(history[0]).to.include({ changedBy: 'somebody else', reason: 'a test' });
    });
  });

  describe('changed by two at once', () => {
    it('goes to one of those who record the first phase', async () => {
      const both = await Promise.allSettled(['A', 'B'].map((by) => recordFirstPhase(pair.local, { ...WHY, by })));
      expectOneWinner(both);
      expect((await readHistory(pair.local.pool, 10)).length).to.equal(1);
    });

    it('goes to one of those who change the phase, and the other is told who was first', async () => {
      const state = await goTo(1);
      const both = await Promise.allSettled(
        ['A', 'B'].map((by) => changePhase(pair.local, state, { ...WHY, by, phase: 2 })),
      );
      const [winner, loser] = expectOneWinner(both);
      expect(loser.message).to.include(`by ${winner.changedBy ?? ''} at`);
    });

    it('goes to one of those who begin to drain, and the other is told who, and until when', async () => {
      const state = await goTo(2);
      const both = await Promise.allSettled(
        ['A', 'B'].map((by) =>
          beginDraining(pair.local, state, { ...WHY, by, token: randomUUID(), targetPhase: 3, maxPauseMs: LONG_MS }),
        ),
      );
      const [winner, loser] = expectOneWinner(both);
      expect(loser.message).to.include(`under way, begun by ${winner.changedBy ?? ''}`);
      expect(loser.message).to.include(winner.attempt?.deadline ?? 'a deadline');
    });

    it('is not changed by whoever knows an older epoch', async () => {
      const old = await goTo(1);
      const state = await changePhase(pair.local, old, { ...WHY, phase: 2 });
      expect(await failureOf(changePhase(pair.local, old, { ...WHY, phase: 1 }))).to.be.instanceOf(ConflictError);
      expect(await failureOf(drain('local', old, 3))).to.be.instanceOf(ConflictError);
      expect(await readState(pair.local.pool)).to.deep.equal(state);
    });
  });

  describe('in a switch', () => {
    it('is committed by the token of its attempt alone', async () => {
      const { state } = await drain('local', await goTo(2), 3);
      const stranger = commitSwitch(pair.local, { token: randomUUID() }, { keepLocalCurrent: false });
      expect(await failureOf(stranger)).to.be.instanceOf(ConflictError);
      expect(await callOff(pair.local, { token: randomUUID() }, WHY)).to.equal(false);
      expect(await readState(pair.local.pool)).to.deep.equal(state);
    });

    it('is not committed after the deadline, though nobody has called it off yet', async () => {
      const { token, state } = await drain('local', await goTo(2), 3, NO_MS);
      const late = commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect(await failureOf(late)).to.be.instanceOf(ConflictError);
      expect(await readState(pair.local.pool)).to.deep.equal(state);
    });

    it('is judged by the clock of the server when the commit has the fence, not when it was asked for', async () => {
      const { token } = await drain('local', await goTo(2), 3, 400);
      const writer = await pair.openSession('local');
      await writer.client.query('begin');
      await writer.client.query('select sensorctl.hold_fence()');
      const commit = failureOf(commitSwitch(pair.local, { token }, { keepLocalCurrent: false }));
      await deadlineIsPast();
      await writer.client.query('rollback');
      expect(await commit).to.be.instanceOf(ConflictError);
      expect((await readState(pair.local.pool)).primary).to.equal('local');
    });

    it('is called off by anyone once the deadline is past, by the clock of the server, and not before', async () => {
      const before = await goTo(2);
      const { token } = await drain('local', before, 3, 300);
      expect(await callOffOverdue(pair.local, 'a consumer')).to.equal(false);
      await deadlineIsPast();
      const realNow = Date.now;
      Date.now = () => 0;
      try {
        expect(await callOffOverdue(pair.local, 'a consumer')).to.equal(true);
      } finally {
        Date.now = realNow;
      }
      const after = await readState(pair.local.pool);
      expect(after).to.include({ phase: 2, writeMode: 'dual-write', epoch: before.epoch + 2, primary: 'local' });
      expect(after).to.include({ attempt: null, changedBy: 'a consumer' });
      expect(await callOffOverdue(pair.local, 'another consumer')).to.equal(false);
      const late = commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect(await failureOf(late)).to.be.instanceOf(ConflictError);
    });

    it('cannot be called off once it is committed', async () => {
      const { token } = await drain('local', await goTo(2), 3);
      const committed = await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect(await callOff(pair.local, { token }, WHY)).to.equal(false);
      expect(await callOffOverdue(pair.local, 'a consumer')).to.equal(false);
      expect(await readState(pair.local.pool)).to.deep.equal(committed);
    });

    for (const [from, phase, kept, mode] of [
      ['local', 2, false, 'dual-write'],
      ['ec2', 3, false, 'ec2-only'],
      ['ec2', 3, true, 'dual-write'],
    ] as const) {
      it(`that is called off goes back to ${mode} in phase ${phase}`, async () => {
        let before = await goTo(phase);
        if (kept) {
          await set(pair.there, "epoch = epoch + 1, keep_local_current = true, write_mode = 'dual-write'");
          before = await readState(pair.ec2.pool);
        }
        const { token } = await drain(from, before, phase === 2 ? 3 : 2);
        await callOff(pair[from], { token }, WHY);
        const after = await readState(pair[from].pool);
        expect(after).to.include({ phase, writeMode: mode, primary: from, keepLocalCurrent: kept, attempt: null });
        expect(after.phaseSince, 'the soak goes on').to.equal(before.phaseSince);
      });
    }
  });

  describe('on the other side', () => {
    it('is a copy that only a higher epoch changes', async () => {
      const old = await goTo(1);
      const state = await changePhase(pair.local, old, { ...WHY, phase: 2 });
      await copyRecord(pair.ec2, state);
      const copy = await readState(pair.ec2.pool);
      await copyRecord(pair.ec2, old);
      await copyRecord(pair.ec2, { ...state, changedBy: 'somebody else' });
      expect(await readState(pair.ec2.pool)).to.deep.equal(copy);
      expect(copy).to.deep.equal(state);
    });

    it('is completed by whoever looks first, from either side', async () => {
      const state = await goTo(2);
      const { token } = await drain('local', state, 3);
      const committed = await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect((await readState(pair.ec2.pool)).primary).to.equal('local');
      const sides = { local: pair.local, ec2: pair.ec2 };
      const found = await Promise.all([findDecidingState(sides, 'local'), findDecidingState(sides, 'ec2')]);
      for (const each of found) expect(each.state).to.deep.equal(committed);
      expect(await readState(pair.ec2.pool)).to.deep.equal(committed);
      const back = await drain('ec2', committed, 2);
      const rolledBack = await commitSwitch(pair.ec2, back, { keepLocalCurrent: false });
      expect((await readState(pair.local.pool)).primary).to.equal('ec2');
      for (const last of ['local', 'ec2'] as const) {
        expect((await findDecidingState(sides, last)).state).to.deep.equal(rolledBack);
      }
      expect(await readState(pair.local.pool)).to.deep.equal(rolledBack);
    });

    for (const [restored, asItWas] of [
      ['restored from a copy of phase 2', 2],
      ['created again by init', null],
    ] as const) {
      it(`puts a local that was ${restored} behind the fence again, as soon as a process starts`, async () => {
        const three = await goTo(3);
        await pair.here.query(EMPTY);
        if (asItWas !== null) await recordOn(pair.here, { phase: asItWas, epoch: 2, primary: 'local' });
        expect(await accepts('local'), 'its own record knows no better').to.equal(true);
        const sides = { local: pair.local, ec2: pair.ec2 };
        expect(await findDecidingState(sides)).to.deep.equal({ state: three, primary: pair.ec2 });
        expect(await readState(pair.local.pool)).to.deep.equal(three);
        expect(await write('local', 2)).to.equal('SF001');
      });
    }

    it('and an EC2 that was restored from a copy of phase 3 after the way back, likewise', async () => {
      const three = await goTo(3);
      const two = await commitSwitch(pair.ec2, await drain('ec2', three, 2), { keepLocalCurrent: false });
      await copyRecord(pair.local, two);
      await pair.there.query(EMPTY);
      await recordOn(pair.there, { phase: 3, epoch: three.epoch, primary: 'ec2' });
      const sides = { local: pair.local, ec2: pair.ec2 };
      expect(await findDecidingState(sides)).to.deep.equal({ state: two, primary: pair.local });
      expect(await readState(pair.ec2.pool)).to.deep.equal(two);
    });

    it('and while EC2 is draining it is not believed either; whoever looks afterwards puts it behind the fence', async () => {
      const three = await goTo(3);
      const { token, state } = await drain('ec2', three, 2);
      await pair.here.query(EMPTY);
      await recordOn(pair.here, { phase: 2, epoch: 2, primary: 'local' });
      const sides = { local: pair.local, ec2: pair.ec2 };
      expect(await findDecidingState(sides)).to.deep.equal({ state, primary: pair.ec2 });
      await callOff(pair.ec2, { token }, WHY);
      expect((await findDecidingState(sides)).primary).to.equal(pair.ec2);
      expect(await write('local', 2)).to.equal('SF001');
    });

    it('of two that name themselves in one epoch neither is believed', async () => {
      const three = await goTo(3);
      await pair.here.query(EMPTY);
      await recordOn(pair.here, { phase: 2, epoch: three.epoch, primary: 'local' });
      const failure = await failureOf(findDecidingState({ local: pair.local, ec2: pair.ec2 }));
      expect(failure).to.be.instanceOf(ConflictError);
      expect((failure as ConflictError).message).to.match(/both sides record themselves as the primary in epoch/);
    });

    it('is done by one of two operators, also where the other comes to it after the first is through', async () => {
      const state = await goTo(2);
      const change = async (beforePause: () => Promise<unknown>): Promise<SwitchOutcome> =>
        await switchPrimary({
          ...{
            from: pair.local,
            to: pair.ec2,
            state,
            targetPhase: 3,
            keepLocalCurrent: false,
            why: WHY,
            endWriters: false,
            force: false,
          },
          ...{ maxPauseMs: LONG_MS, stop: new AbortController().signal, logger: silentLogger },
          onStep: async (name) => {
            if (name === 'pause') await beforePause();
          },
        });
      let first: Promise<SwitchOutcome> | undefined;
      const second = await failureOf(change(() => (first = change(() => Promise.resolve()))));
      expect((await first)?.state).to.include({ phase: 3, primary: 'ec2' });
      expect(second).to.be.instanceOf(ConflictError);
      expect((await readHistory(pair.local.pool, 10)).length, 'epochs: 1, 2, draining, 3').to.equal(4);
    });

    it('makes no two primaries, at no step from phase 1 to 3 and back', async () => {
      const primaries = async (): Promise<Side[]> => {
        const takes = await Promise.all((['local', 'ec2'] as const).map(async (side) => [side, await accepts(side)]));
        return takes.filter(([, taken]) => taken).map(([side]) => side as Side);
      };
      expect(await primaries(), 'no phase').to.deep.equal(['local']);
      const two = await goTo(2);
      expect(await primaries(), 'phase 2').to.deep.equal(['local']);
      const { token } = await drain('local', two, 3);
      expect(await primaries(), 'draining').to.deep.equal([]);
      const three = await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect(await primaries(), 'committed').to.deep.equal([]);
      await copyRecord(pair.ec2, three);
      expect(await primaries(), 'completed').to.deep.equal(['ec2']);
      const back = await drain('ec2', three, 2);
      expect(await primaries(), 'draining back').to.deep.equal([]);
      const again = await commitSwitch(pair.ec2, back, { keepLocalCurrent: false });
      expect(await primaries(), 'committed back').to.deep.equal([]);
      await copyRecord(pair.local, again);
      expect(await primaries(), 'completed back').to.deep.equal(['local']);
    });
  });

  describe('behind the fence', () => {
    it('tells a writer why it is refused: another primary, a change under way, another epoch', async () => {
      const two = await goTo(2);
      expect(await write('ec2', two.epoch)).to.equal('SF001');
      expect(await write('local', two.epoch - 1)).to.equal('SF003');
      expect(await write('local', two.epoch + 1)).to.equal('SF003');
      expect(await write('local', two.epoch)).to.equal(undefined);
      const { token, state } = await drain('local', two, 3);
      expect(await write('local', state.epoch)).to.equal('SF002');
      await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      expect(await write('local', state.epoch + 1)).to.equal('SF001');
    });

    it('lets a writer that waits for the lock see what its holder has committed', async () => {
      const two = await goTo(2);
      const holder = await pair.openSession('local');
      await holder.client.query('begin');
      await holder.client.query('select sensorctl.close_fence()');
      const waiting = write('local', two.epoch);
      await eventually('a writer waits for the fence', () => isFenceAwaited());
      await holder.client.query('update sensorctl.state set epoch = epoch + 1');
      await holder.client.query('commit');
      expect(await waiting).to.equal('SF003');
    });

    it('is taken from whoever hangs on the side that becomes the primary: the switch is completed', async () => {
      const { token } = await drain('local', await goTo(2), 3);
      const committed = await commitSwitch(pair.local, { token }, { keepLocalCurrent: false });
      const hanging = await pair.openSession('ec2');
      await hanging.client.query('begin');
      await holdAsSecondary(hanging.client, 'ec2');
      await copyRecord(pair.ec2, committed);
      expect(await readState(pair.ec2.pool)).to.deep.equal(committed);
      expect(await failureOf(hanging.client.query('commit'))).to.be.instanceOf(Error);
    });

    it('waits for writers, and ends one that hangs', async () => {
      const two = await goTo(2);
      expect(await waitForWriters(pair.local, 100)).to.equal(true);
      const hanging = await pair.openSession('local');
      await hanging.client.query('begin');
      for (const { text, values = [] } of assertPrimary('local', two.epoch))
        await hanging.client.query(text, [...values]);
      expect(await waitForWriters(pair.local, 100)).to.equal(false);
      expect(await endWriters(pair.local)).to.equal(1);
      expect(await waitForWriters(pair.local, 2_000)).to.equal(true);
      expect(await endWriters(pair.local)).to.equal(0);
    });
  });

  it('is none where no phase was recorded: local is the primary in epoch 0, and EC2 is not', async () => {
    expect(await readState(pair.local.pool)).to.deep.equal(NO_PHASE);
    expect(await write('local', 0)).to.equal(undefined);
    expect(await write('ec2', 0)).to.equal('SF001');
  });

  /** A record as a copy of the side held it that was restored by hand. */
  async function recordOn(
    pool: pg.Pool,
    { phase, epoch, primary }: Pick<MigrationState, 'phase' | 'epoch' | 'primary'>,
  ) {
    await pool.query(
      `insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by)
       values ($1, 'dual-write', $2, $3, 'a copy')`,
      [phase, epoch, primary],
    );
  }

  /** Whether a side would take a batch as primary under its own record. */
  async function accepts(side: Side): Promise<boolean> {
    return (await write(side, (await readState(pair[side].pool)).epoch)) === undefined;
  }

  /** The SQLSTATE with which a batch is refused; undefined where it is taken. */
  async function write(side: Side, epoch: number): Promise<string | undefined> {
    try {
      await withTransaction(pair[side].pool, async (client) => {
        for (const { text, values = [] } of assertPrimary(side, epoch)) await client.query(text, [...values]);
      });
      return undefined;
    } catch (error) {
      return (error as pg.DatabaseError).code;
    }
  }

  async function deadlineIsPast(): Promise<void> {
    await eventually('the deadline is past', async () => {
      const { rows } = await pair.here.query<{ past: boolean }>(
        'select deadline < clock_timestamp() as past from sensorctl.state',
      );
      return rows[0]?.past === true;
    });
  }

  async function isFenceAwaited(): Promise<boolean> {
    const { rowCount } = await pair.here.query(
      "select from pg_locks where relation = 'sensorctl.fence'::regclass and not granted",
    );
    return (rowCount ?? 0) > 0;
  }
});

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function constraintBroken(work: Promise<unknown>): Promise<string | undefined> {
  const error = await failureOf(work);
  return error instanceof pg.DatabaseError ? error.constraint : String(error);
}

function expectOneWinner(outcomes: readonly PromiseSettledResult<MigrationState>[]): [MigrationState, ConflictError] {
  const won = outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const lost = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
  expect([won.length, lost.length]).to.deep.equal([1, 1]);
  expect(lost[0]).to.be.instanceOf(ConflictError);
  return [won[0]!, lost[0] as ConflictError];
}
