import { expect } from 'chai';
import type pg from 'pg';
import { switchPrimary, type SwitchOutcome } from '../../src/lib/operations/cutover/switch.js';
import { prepareSides } from '../../src/lib/operations/init.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { readRecordedState } from '../../src/lib/repository/phase/state.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { silentLogger } from '../../src/lib/logger.js';
import { eventually } from '../support/cli.js';
import { ec2Server, localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const WHY = { by: 'test', reason: null, overriddenGates: [] };
const NOTES = 'create table note (id int primary key, body text)';
const READ = "select coalesce(string_agg(id || body, ',' order by id), '') as items from note";

describe('a switch beside other writers', function () {
  this.timeout(60_000);
  let local: TrackedSide;
  let ec2: TrackedSide;
  let writer: pg.PoolClient;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'switch writers', { side: 'local', sql: NOTES });
    ec2 = await TrackedSide.open(await ec2Server(), 'switch writers', { side: 'ec2', sql: NOTES });
    await prepareSides([local.database, ec2.database], { addKeys: false });
    for (const side of [local, ec2]) await side.track('note');
    const first = await recordFirstPhase(local.database, WHY);
    await copyRecord(ec2.database, await changePhase(local.database, first, { ...WHY, phase: 2 }));
    writer = await local.pool.connect();
    writer.on('error', () => undefined);
  });

  afterEach(async () => {
    writer.release(true);
    await local.close();
    await ec2.close();
  });

  async function begin(
    from: TrackedSide,
    to: TrackedSide,
    options: { maxPauseMs?: number; endWriters?: boolean } = {},
  ): Promise<SwitchOutcome> {
    const state = await readRecordedState(from.database.pool);
    return await switchPrimary({
      ...{ from: from.database, to: to.database, state, targetPhase: from === local ? 3 : 2, why: WHY },
      ...{ keepLocalCurrent: false, endWriters: false, force: false, maxPauseMs: 20_000, ...options },
      ...{ stop: new AbortController().signal, logger: silentLogger, onStep: () => undefined },
    });
  }

  const items = async (side: TrackedSide): Promise<string> =>
    (await side.pool.query<{ items: string }>(READ)).rows[0]!.items;

  async function waitsForGate(side: TrackedSide): Promise<void> {
    await eventually('a session waits for the gate', async () => {
      const { rows } = await side.pool.query(
        "select from pg_locks where relation = 'sensorctl.gate'::regclass and not granted",
      );
      return rows.length > 0;
    });
  }

  it('waits for a transaction that has written, takes what it commits along, and refuses the next on local', async () => {
    await writer.query("begin; insert into note values (1, 'a')");
    const switching = begin(local, ec2);
    await waitsForGate(local);
    await writer.query("insert into note values (2, 'b'); commit");
    expect((await switching).state.primary).to.equal('ec2');
    expect(await items(ec2)).to.equal('1a,2b');
    expect(await codeOf(writer.query("insert into note values (3, 'c')"))).to.equal('25006');
    expect(await codeOf(ec2.run("insert into note values (3, 'c')"))).to.equal('done');
  });

  it('goes back, and names who held it up, where a transaction does not end in time; nobody is ended', async () => {
    await writer.query("begin; insert into note values (1, 'a')");
    const error = await begin(local, ec2, { maxPauseMs: 1_000 }).then(
      () => null,
      (reason: unknown) => reason as Error,
    );
    expect(error?.message)
      .to.match(/another program/)
      .and.to.contain('insert into note');
    await writer.query('commit');
    expect(await codeOf(writer.query("insert into note values (2, 'b')"))).to.equal('done');
    expect((await readRecordedState(local.database.pool)).writeMode).to.equal('dual-write');
    expect((await begin(local, ec2)).state.primary).to.equal('ec2');
    expect(await items(ec2)).to.equal('1a,2b');
  });

  it('ends it where it is asked to', async () => {
    await writer.query("begin; insert into note values (1, 'a')");
    expect((await begin(local, ec2, { endWriters: true })).state.primary).to.equal('ec2');
    expect(await items(local)).to.equal('');
  });

  it('brings inserts, updates and deletes of phase 3 back on the way back', async () => {
    await writer.query("insert into note values (1, 'a'), (2, 'b')");
    await begin(local, ec2);
    await ec2.run(
      "insert into note values (3, 'c'); update note set body = 'x' where id = 1; delete from note where id = 2",
    );
    const back = await begin(ec2, local);
    expect(back.state).to.include({ primary: 'local', phase: 2 });
    expect(await items(local)).to.equal('1x,3c');
    expect(await codeOf(ec2.run('delete from note'))).to.equal('25006');
    expect(await codeOf(writer.query('delete from note where id = 1'))).to.equal('done');
  });

  it('lets programs that write all the while lose nothing, and never write the side that is not the primary', async () => {
    let ends = false;
    let last = 0;
    const committed: string[] = [];
    const program = async (side: TrackedSide): Promise<void> => {
      while (!ends) {
        const id = (last += 1);
        const outcome = await codeOf(side.run(`insert into note values (${id}, '${side === local ? 'l' : 'e'}')`));
        if (outcome === 'done') committed.push(String(id));
        else expect(outcome).to.be.oneOf(['25006', '40001']);
      }
    };
    const programs = [local, ec2, local, ec2].map(program);
    try {
      await begin(local, ec2);
      await begin(ec2, local);
    } finally {
      ends = true;
      await Promise.all(programs);
    }
    const ids = (await local.pool.query<{ id: number }>('select id from note')).rows.map(({ id }) => String(id));
    expect(ids).to.have.members(committed);
    expect(committed.length).to.be.greaterThan(0);
  });
});

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'done',
    (error: unknown) => (error as pg.DatabaseError).code ?? String(error),
  );
}
