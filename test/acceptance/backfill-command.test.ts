// The command `backfill` as an operator runs it. SENSORCTL_TEST_KILLS=50 kills processes so often.
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { WATER_SENSORS, waterRows } from '../support/backfilled.js';
import { eventually, readContent, runCli, Stage, startCli, type CliResult, type RunningCli } from '../support/cli.js';
import { STALLS_SOON, timesOf } from '../support/times.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(41);
const KILLS = Number(process.env.SENSORCTL_TEST_KILLS ?? 0);
const KILLS_IN_SHORT = 4;
const WATER = 'water_level_readings';
/** Makes small units, and a run that lasts long enough to be disturbed. */
const SLOWLY = ['--max-rate', '4000', '--jobs', '2'];

describe('sensorctl backfill', function () {
  this.timeout(90_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('backfill command');
    const { code, stderr } = await stage.run(['init']);
    expect(code, stderr).to.equal(0);
  });

  afterEach(() => stage.empty());

  after(() => stage.close());

  async function fillLocal(rows: number): Promise<void> {
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(WATER_SENSORS)));
    await stage.local.query(waterRows(0, rows - 1));
  }

  async function expectEqual(): Promise<void> {
    expect(await readContent(stage.ec2)).to.deep.equal(await readContent(stage.local));
    expect(await stage.runJson<{ verdict: string }>(['compare'])).to.include({ verdict: 'identical' });
  }

  async function rowsThere(): Promise<number> {
    return (await stage.ec2.query(`select from ${WATER}`)).rowCount ?? 0;
  }

  it('repairs what EC2 missed while it was away; the ledger is empty, both sides are equal, and then there is nothing to do', async () => {
    const away = { EC2_DB_PORT: String(await findFreePort()), EC2_RETRY_ATTEMPTS: '0' };
    const bodies = [...generateTelemetry({ seed: SEED, count: 450 })];
    const accepted: number[] = [];
    for (const [part, settings] of [{}, away, {}].entries()) {
      await stage.send(bodies.slice(part * 150, (part + 1) * 150));
      const drained = await stage.run(['consume', '--dual-write', '--drain', '--heal-rate', '0', '--json'], settings);
      accepted.push((JSON.parse(drained.stdout) as { accepted: number }).accepted);
    }
    const report = await stage.runJson<BackfillReport>(['backfill']);
    expect(report.ranges).to.be.greaterThan(0);
    const readings = report.tables.filter(({ table }) => table !== 'sensor_registry');
    expect(readings.reduce((sum, { rowsInserted }) => sum + rowsInserted, 0)).to.equal(accepted[1]);
    expect(report.tables.map(({ table }) => table)).to.include('sensor_registry');
    for (const count of ['ranges', 'rowsCopied', 'rowsInserted', 'rowsSkipped', 'rowsCorrected'] as const)
      expect(
        report.tables.reduce((sum, of) => sum + of[count], 0),
        count,
      ).to.equal(report[count]);
    expect(report.rowsCopied).to.equal(report.rowsInserted + report.rowsSkipped + report.rowsCorrected);
    expect(report).to.include({ verified: report.rowsCopied, remainingGaps: 0, rowsRefused: 0 });
    expect((await stage.local.query('select from sensorctl.ledger')).rowCount).to.equal(0);
    await expectEqual();

    const again = await fastest(() => stage.run(['backfill']));
    expect(again.result).to.include({ code: 0, stdout: 'Nothing to do: EC2 lacks nothing that was asked for.\n' });
    const { ms: startMs } = await fastest(() => stage.run(['--version']));
    // Well under a second where a program starts in an eighth of one.
    expect(again.ms / startMs, 'times the start of the program').to.be.below(8);
  });

  it('names the rows of each table that it brings, of sensor_registry and of one without a time too, and never beside "Nothing to do"', async () => {
    await stage.local.query(WATER_SENSORS);
    await stage.ec2.query(`insert into sensor_registry (sensor_id, sensor_type) values ('AWD-0', 'moisture')`);
    const registry = await stage.run(['backfill', '--window', '2h']);
    expect(registry.code, registry.stderr).to.equal(0);
    expect(registry.stdout).to.match(/table .* inserted .* equal .* corrected .* refused .* only on EC2 .* deleted/);
    expect(countsIn(registry.stdout, 'sensor_registry')).to.deep.equal([6, 0, 1, 0, 0, 0]);
    await stage.local.query(`create table notes (id int primary key, body text);
      insert into notes select n, 'x' from generate_series(1, 28) as n`);
    await stage.ec2.query(`create table notes (id int primary key, body text); insert into notes values (1, 'y')`);
    await stage.local.query(waterRows(0, 2));
    const all = await stage.run(['backfill', '--all']);
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query('drop table notes')));
    expect(all.stdout).not.to.include('Nothing to do').and.not.to.include('sensor_registry');
    expect(countsIn(all.stdout, 'notes')).to.deep.equal([27, 0, 1, 0, 0, 0]);
    expect(countsIn(all.stdout, WATER)).to.deep.equal([3, 0, 0, 0, 0, 0]);
    const again = await stage.run(['backfill', '--window', '2h']);
    expect(again.stdout).to.equal('Nothing to do: EC2 lacks nothing that was asked for.\n');
  });

  /** What the report's table says of a table of the database. */
  function countsIn(report: string, table: string): number[] {
    const line = report.split('\n').find((each) => each.includes(` ${table} `));
    return (line ?? '').match(/\b[\d,]+\b/g)?.map((count) => Number(count.replaceAll(',', ''))) ?? [];
  }

  it('says first what it will do, on stderr, and last what came of it, on stdout', async () => {
    await fillLocal(2_000);
    const { code, stdout, stderr } = await stage.run(['backfill', '--all', '--full']);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/^To do: \d+ ranges?, up to 2,\d{3} rows, \d.* kB, about \d+ s$/m);
    expect(stdout).to.match(/inserted on EC2\s.*2,000/);
    expect(stdout).to.match(/Next: sensorctl compare --all {4}# proves it\n$/);
    await expectEqual();
  });

  it('prints one JSON document whose numbers add up', async () => {
    await fillLocal(3_000);
    await stage.ec2.query(waterRows(0, 1_499));
    await stage.ec2.query(`update ${WATER} set rssi = 1 where time < '2025-07-01T00:01:00Z'`);
    await stage.ec2.query(
      `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00:01Z', 'AWD-1', 1)`,
    );
    const report = await stage.runJson<BackfillReport>(['backfill', '--all']);
    expect(report).to.include.all.keys(
      'ranges',
      'rowsCopied',
      'rowsInserted',
      'rowsSkipped',
      'verified',
      'remainingGaps',
    );
    expect(report).to.include({ rowsInserted: 1_500, rowsCorrected: 6, rowsExtra: 1, remainingGaps: 0 });
    expect(report.rowsCopied).to.equal(report.rowsInserted + report.rowsSkipped + report.rowsCorrected);
    expect(report.verified).to.equal(report.rowsCopied);
  });

  it('ends with 1 and the reasons where gaps remain', async () => {
    await fillLocal(11);
    await stage.ec2.query(`alter table ${WATER} add constraint not_3 check (sensor_id <> 'AWD-3')`);
    try {
      const { code, stdout } = await stage.run(['backfill', '--all']);
      expect(code).to.equal(1);
      expect(stdout)
        .to.match(/23514.*not_3/s)
        .and.to.match(/Next: sensorctl verify-schema {4}# mend what the reasons say/);
      expect((await stage.run(['backfill', '--json'])).code).to.equal(1);
    } finally {
      await stage.ec2.query(`alter table ${WATER} drop constraint not_3`);
    }
    expect(await stage.runJson<BackfillReport>(['backfill'])).to.include({ rowsInserted: 2, remainingGaps: 0 });
  });

  it('refuses what makes no sense, and says what to do', async () => {
    const refused = [
      { args: ['--full'], message: /--full needs a range/ },
      { args: ['--prune', '--yes'], message: /--prune needs a range/ },
      { args: ['--direction', 'ec2-to-local'], message: /--direction needs a range/ },
      { args: ['--all', '--prune'], message: /^Rows .*Nobody can be asked here; nothing was done\nNext: give --yes$/m },
      { args: ['--all', '--prune', '--yes', '--direction', 'ec2-to-local'], message: /never deletes from local/ },
      { args: ['--all', '--full', '--prune', '--yes'], message: /--prune needs the comparison/ },
      { args: ['--from', '2025-07-02', '--to', '2025-07-01'], message: /--to is not after --from/ },
      { args: ['--window', 'soon'], message: /--window/ },
      { args: ['--all', '--window', '1h'], message: /--all/ },
      { args: ['--all', '--jobs', '0'], message: /jobs|0/ },
    ];
    const results = await Promise.all(refused.map(({ args }) => stage.run(['backfill', ...args])));
    for (const [index, { code, stdout, stderr }] of results.entries()) {
      const { args, message } = refused[index]!;
      expect(code, `${args.join(' ')}: ${stderr}`).to.equal(2);
      expect(stdout, args.join(' ')).to.equal('');
      expect(stderr, args.join(' '))
        .to.match(message)
        .and.to.match(/^Next: /m);
    }
  });

  it('says which side does not answer', async () => {
    for (const [name, side] of [
      ['EC2_DB_PORT', 'EC2'],
      ['TIMESCALE_PORT', 'local'],
    ] as const) {
      const { code, stderr } = await stage.run(['backfill', '--all'], { [name]: String(await findFreePort()) });
      expect(code, stderr).to.equal(3);
      expect(stderr).to.include(`the ${side} database at`).and.to.include(name.replace('_PORT', '_HOST'));
    }
  });

  it('--dry-run says what it would do and changes nothing', async () => {
    await fillLocal(500);
    const before = await readContent(stage.ec2);
    for (const args of [['--all'], ['--all', '--full'], ['--all', '--prune']]) {
      const plan = await stage.runJson<{ ranges: number; rows: number }>(['backfill', '--dry-run', ...args]);
      expect(plan.ranges).to.be.greaterThan(0);
      expect(plan.rows).to.be.at.least(500);
    }
    expect(await readContent(stage.ec2)).to.deep.equal(before);
    expect((await stage.ec2.query('select from sensorctl.backfill')).rowCount).to.equal(0);
  });

  it('--prune --yes deletes what only EC2 has, and keeps it in the quarantine', async () => {
    await fillLocal(10);
    await stage.ec2.query(waterRows(0, 30));
    const { code, stdout } = await stage.run(['backfill', '--all', '--prune', '--yes']);
    expect(code).to.equal(0);
    expect(stdout).to.match(/only on EC2 \(deleted, kept in its quarantine\)\s.*21/);
    expect((await stage.ec2.query('select from sensorctl.quarantine')).rowCount).to.equal(21);
    await expectEqual();
  });

  it('ends after the units at hand at the first Ctrl-C, with 130, and the same command goes on', async () => {
    await fillLocal(40_000);
    const command = ['backfill', '--all', '--full'];
    const running = await stage.start([...command, ...SLOWLY]);
    await eventually('some units are done', async () => (await rowsThere()) > 0);
    running.kill('SIGINT');
    const { code, stderr } = await running.wait();
    expect(code, stderr).to.equal(130);
    expect(stderr).to.include('Next: the same command goes on from here');
    const done = await unitsDone(stage);
    expect(done).to.be.greaterThan(0);
    const report = await stage.runJson<BackfillReport>(command);
    expect(report, 'no row twice').to.include({ rowsCopied: 40_000, rowsInserted: 40_000, rowsSkipped: 0 });
    expect(report.ranges).to.be.greaterThan(done);
    await expectEqual();
  });

  it('stops at once at the second Ctrl-C, and loses nothing', async () => {
    await fillLocal(40_000);
    const command = ['backfill', '--all', '--full'];
    const running = await stage.start([...command, ...SLOWLY]);
    await eventually('some units are done', async () => (await rowsThere()) > 0);
    running.kill('SIGINT');
    running.kill('SIGINT');
    expect((await running.wait()).code).to.equal(130);
    expect(await stage.runJson<BackfillReport>(command)).to.include({ rowsCopied: 40_000, rowsSkipped: 0 });
    await expectEqual();
  });

  it('survives kill -9 with two processes at work: all is there, nothing twice, no unit done again for nothing', async () => {
    const random = createRandom(SEED);
    const rows = KILLS > 0 ? 100_000 : 40_000;
    for (let kills = 0; kills < (KILLS > 0 ? KILLS : KILLS_IN_SHORT);) {
      await fillLocal(rows);
      kills += await killAndRestart(stage, random);
      await expectEachUnitOnce(stage, rows);
      await expectEqual();
      await stage.empty();
    }
  }).timeout(90_000 + KILLS * 10_000);

  it('takes over from a process that is frozen for good', async () => {
    await fillLocal(200_000);
    const settings = { ...stage.settings, ...timesOf(STALLS_SOON) };
    const frozen = await startCli(['backfill', '--all', '--full', '--jobs', '2'], { settings, timeoutMs: 200_000 });
    await frozeInCopy(stage, frozen);
    const other = await runCli(['backfill', '--all', '--full', '--json'], { settings, timeoutMs: 150_000 });
    expect(other.code, other.stderr).to.equal(0);
    expect(frozen.hasEnded).to.equal(false);
    frozen.kill('SIGKILL');
    await frozen.wait();
    await expectEachUnitOnce(stage, 200_000);
    await expectEqual();
  }).timeout(240_000);
});

/** Kills one of two processes after the other at random instants until they are done; answers how often. */
async function killAndRestart(stage: Stage, random: () => number): Promise<number> {
  const start = async (): Promise<RunningCli> => await stage.start(['backfill', '--all', '--full', ...SLOWLY]);
  const processes = [await start(), await start()];
  let kills = 0;
  for (;;) {
    await delay(300 + random() * 1_200);
    if (await isFinished(stage)) break;
    const victim = Math.floor(random() * processes.length);
    processes[victim]!.kill('SIGKILL');
    kills += 1;
    await processes[victim]!.wait();
    if (await isFinished(stage)) break;
    processes[victim] = await start();
  }
  // One that began too late begins the next run: that is nobody's unit done twice.
  for (const process of processes) process.kill('SIGKILL');
  await Promise.all(processes.map((process) => process.wait()));
  return kills;
}

/** Stops the process where EC2 waits for the rest of a COPY: one that is stopped between two is let go on, and met again. */
async function frozeInCopy(stage: Stage, running: RunningCli): Promise<void> {
  await eventually('it stands in the middle of a copy', async () => {
    running.kill('SIGSTOP');
    const { rowCount } = await stage.ec2.query(
      `select from pg_stat_activity where datname = current_database() and query ilike 'copy %' and state = 'active'
         and wait_event = 'ClientRead'`,
    );
    if (rowCount !== 0) return true;
    running.kill('SIGCONT');
    return false;
  });
}

async function isFinished(stage: Stage): Promise<boolean> {
  return (await stage.ec2.query('select from sensorctl.backfill where finished_at is not null')).rowCount === 1;
}

async function unitsDone(stage: Stage): Promise<number> {
  return (await stage.ec2.query('select from sensorctl.backfill_unit where done_at is not null')).rowCount ?? 0;
}

/** A unit that was done again would have skipped the rows that it had brought before. */
async function expectEachUnitOnce(stage: Stage, rows: number): Promise<void> {
  const { rows: sums } = await stage.ec2.query<Record<string, string>>(`
    select sum(copied) as copied, sum(inserted) as inserted, sum(skipped) as skipped, count(*) filter (where done_at is null) as open
    from sensorctl.backfill_unit
    where backfill_id = (select backfill_id from sensorctl.backfill where finished_at is not null)`);
  expect(sums[0], `seed ${SEED}`).to.deep.equal({ copied: `${rows}`, inserted: `${rows}`, skipped: '0', open: '0' });
}

async function fastest(run: () => Promise<CliResult>): Promise<{ ms: number; result: CliResult }> {
  let best: { ms: number; result: CliResult } | undefined;
  for (let time = 0; time < 3; time += 1) {
    const startedAt = performance.now();
    const result = await run();
    const ms = performance.now() - startedAt;
    if (best === undefined || ms < best.ms) best = { ms, result };
  }
  return best!;
}
