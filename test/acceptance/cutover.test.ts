// The command `cutover`: its contract, its exit codes, and two operators at once. test/load has it under load.
import { expect } from 'chai';
import type pg from 'pg';
import { readIdentity } from '../../src/lib/db/identity.js';
import { READING_TABLES } from '../../src/lib/domain/reading.js';
import { STEPS, type CutoverReport, type Gate } from '../../src/lib/operations/cutover/cutover-report.js';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { readContent, Stage } from '../support/cli.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(20250701);
const NO_SOAK = ['--min-soak', '0s'];

type Json = Pick<CutoverReport, 'phase' | 'writeMode' | 'epoch' | 'changed' | 'pauseMs' | 'primary' | 'history'> & {
  readonly gates: readonly Gate[];
  readonly steps: CutoverReport['steps'];
};

const NO_DIFFERENCE = {
  missingOnEc2: 0,
  missingOnLocal: 0,
  different: 0,
  pending: 0,
  pendingExtra: 0,
  knownGap: 0,
  unexplained: 0,
};

describe('cutover, the command', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('cutover');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  beforeEach(async () => {
    await stage.empty();
  });

  const json = async (...args: string[]): Promise<Json> => await stage.runJson<Json>(['cutover', ...args]);

  /** Records a phase on both sides, past the command. */
  async function recordPhase(phase: 1 | 2): Promise<void> {
    const record = `insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by)
      values (${phase}, 'dual-write', ${phase}, 'local', 'a test')`;
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(record)));
  }

  it('keeps the contract of --json: phase, write mode, epoch, gates, changed', async () => {
    expect(await json()).to.include({ phase: null, writeMode: null, epoch: 0, changed: false });
    const one = await json('--phase', '1', '--yes', '--reason', 'change 4711');
    expect(one).to.include({ phase: 1, writeMode: 'dual-write', epoch: 1, changed: true, reason: 'change 4711' });
    for (const gate of one.gates) {
      expect([typeof gate.name, typeof gate.passed, typeof gate.detail]).to.deep.equal(['string', 'boolean', 'string']);
    }
    const { code, stdout } = await stage.run(['cutover', '--phase', '2', '--json']);
    expect(code, 'gates are not met').to.equal(1);
    const two = JSON.parse(stdout) as Json;
    expect(two).to.include({ phase: 1, writeMode: 'dual-write', epoch: 1, changed: false });
    expect(two.gates.filter(({ passed }) => !passed).map(({ name }) => name)).to.deep.equal(['compare']);
  });

  it('for a person: the gates as a table, and what to do about one that is not met', async () => {
    await recordPhase(1);
    const { code, stdout } = await stage.run(['cutover', '--phase', '2', '--yes']);
    expect(code).to.equal(1);
    expect(stdout).to.match(/compare +│ +NOT MET +│ +no comparison of all/);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
    expect(stdout).to.match(/Not met: compare\. Nothing was changed\.\nNext: sensorctl compare --all/);
  });

  it('for a person: each step of the switch with its duration, the pause, and the command that goes back', async () => {
    await recordPhase(2);
    const { code, stdout } = await stage.run(['cutover', '--phase', '3', '--yes', '--force', '--reason', 'a test']);
    expect(code, stdout).to.equal(0);
    expect(stdout).to.match(/soak +│ +NOT MET +│ +0\.0\d h in phase 2, 24\.0 h wanted/);
    for (const step of STEPS) expect(stdout).to.match(new RegExp(`│ ${step} +│ +\\d+ +│`));
    expect(stdout).to.match(/Ingestion paused for [\d,]+ ms\.[^]*back: sensorctl cutover --rollback/);
  });

  it('refuses what makes no sense with exit code 2, and changes nothing', async () => {
    await recordPhase(1);
    const before = await readBookkeeping(stage);
    for (const [args, reason] of [
      [['--phase', '3', '--yes'], /phase 3 does not follow phase 1/],
      [['--rollback', '--yes'], /no phase before phase 1/],
      [['--phase', '2', '--yes', '--force'], /reason/],
      [['--phase', '2', '--yes', '--force', '--reason', ' '], /reason/],
      [['--phase', '2', '--keep-local-current'], /belongs to --phase 3/],
    ] as const) {
      const { code, stderr } = await stage.run(['cutover', ...args]);
      expect(code, `${args.join(' ')}: ${stderr}`).to.equal(2);
      expect(stderr).to.match(reason);
    }
    expect(await readBookkeeping(stage)).to.deep.equal(before);
  });

  it('wants --yes where nobody can be asked, with exit code 2, and changes nothing', async () => {
    const before = await readBookkeeping(stage);
    const { code, stderr } = await stage.run(['cutover', '--phase', '1']);
    expect(code).to.equal(2);
    expect(stderr).to.match(/^│ gate [^\n]*│\n[^]*from no phase to phase 1[^]*\nNext: give --yes/m);
    expect(stderr).not.to.match(/Error|\\x0a/);
    expect(await readBookkeeping(stage)).to.deep.equal(before);
  });

  it('ends with 3 where a side cannot be reached, and names it', async () => {
    const { code, stderr } = await stage.run(['cutover', '--phase', '1', '--yes'], { EC2_DB_PORT: '1' });
    expect(code).to.equal(3);
    expect(stderr).to.match(/EC2 database at .*:1\//);
  });

  it('shows plan and gates with --dry-run, and changes nothing on either side', async () => {
    await recordPhase(2);
    await stage.send(telemetry(60));
    await stage.runJson(['consume', '--drain']);
    // As if everything had been compared before: what was written since is yet to be proven.
    const scope = {
      ...{ from: null, to: null, windowMicros: null, tables: ['sensor_registry', ...READING_TABLES] },
      between: [await readIdentity(stage.local), await readIdentity(stage.ec2)],
    };
    await stage.local.query(
      `insert into sensorctl.comparison (scope, progress, started_at, finished_at, verdict, report)
       values ($1, '{}', clock_timestamp(), clock_timestamp(), 'identical', $2)`,
      [JSON.stringify(scope), JSON.stringify({ tables: scope.tables.map((table) => ({ table, ...NO_DIFFERENCE })) })],
    );
    const before = await readBookkeeping(stage);
    expect(before.local.unproven, 'something is unproven').to.not.equal('[]');
    const { code, stdout } = await stage.run(['cutover', '--phase', '3', '--dry-run', '--json']);
    const plan = JSON.parse(stdout) as Json;
    expect(plan).to.include({ phase: 2, changed: false });
    expect(plan.gates.filter(({ passed }) => !passed).map(({ name }) => name)).to.deep.equal(['soak']);
    expect(code, 'the soak is too short').to.equal(1);
    expect((await stage.run(['cutover', '--rollback', '--dry-run'])).code).to.equal(0);
    expect(await readBookkeeping(stage)).to.deep.equal(before);
  });

  it('keeps on record which gates were overridden, why, and by whom', async () => {
    await recordPhase(1);
    const two = await json('--phase', '2', '--yes', '--force', '--reason', 'change 4712');
    expect(two).to.include({ phase: 2, changed: true });
    expect(two.history[0]?.overriddenGates).to.deep.equal(['compare']);
    for (const pool of [stage.local, stage.ec2]) {
      const { rows } = await pool.query<{ reason: string; overridden_gates: string[]; changed_by: string }>(
        'select reason, overridden_gates, changed_by from sensorctl.state_history where epoch = 2',
      );
      expect(rows[0]).to.deep.include({ reason: 'change 4712', overridden_gates: ['compare'] });
      expect(rows[0]?.changed_by).to.match(/^.+@.+$/);
    }
    expect((await stage.run(['cutover'])).stdout).to.match(/overridden: *compare/);
  });

  it('of two operators at once one wins, and the other ends with 4 and is told who', async () => {
    await recordPhase(2);
    const holder = await stage.local.connect();
    await holder.query('begin; select from sensorctl.state for update');
    const args = ['cutover', '--phase', '3', '--yes', '--force', '--reason', 'a test', ...NO_SOAK];
    const both = await Promise.all([stage.start(args), stage.start(args)]);
    try {
      await stage.eventuallyBlocked(2, 'sensorctl.begin_draining');
    } finally {
      // Whatever waited for the record goes on, and the next test empties the tables.
      await holder.query('commit');
      holder.release();
    }
    const ends = await Promise.all(both.map((each) => each.wait()));
    const [winner, loser] = ends.toSorted((a, b) => Number(a.code) - Number(b.code));
    expect([winner?.code, loser?.code], loser?.stderr).to.deep.equal([0, 4]);
    expect(loser?.stderr).to.match(/begun by \S+@\S+ at|, by \S+@\S+ at/);
    const { rows } = await stage.local.query('select write_mode from sensorctl.state_history order by epoch');
    expect(rows.map((row) => (row as { write_mode: string }).write_mode)).to.deep.equal([
      'dual-write',
      'draining',
      'ec2-only',
    ]);
  });

  it("hands the gates of phase 3, as they stand in phase 2, to monitor's report", async () => {
    const gatesOf = async (...flags: string[]): Promise<MonitorReport['gates']> =>
      (await stage.runJson<MonitorReport>(['monitor', 'report', ...flags])).gates;
    await recordPhase(2);
    const history = 'select count(*)::int as changes from sensorctl.state_history';
    const before = await stage.local.query(history);
    const gates = (await gatesOf()) ?? [];
    expect(gates.map(({ name }) => name)).to.include.members(['schema', 'compare', 'soak', 'consumers', 'way back']);
    expect(gates.find(({ name }) => name === 'soak')).to.include({ passed: false });
    expect(gates.find(({ name }) => name === 'schema')).to.include({ passed: true });
    expect((await stage.local.query(history)).rows).to.deep.equal(before.rows);
    expect(await gatesOf('--no-gates')).to.equal(null);
  });

  it('leaves a local that was restored from a copy of phase 2 as it is: consumers write to EC2, and say what decided', async () => {
    await recordPhase(2);
    await stage.ec2.query(`
      update sensorctl.state set epoch = 5, phase = 3, write_mode = 'ec2-only', primary_side = 'ec2', changed_by = 'ada'`);
    await stage.send(generateTelemetry({ seed: SEED, count: 20, startMicros: Date.now() * 1000, spacingMs: 1 }));
    const { code, stderr } = await stage.run(['consume', '--drain']);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/restored from an older copy/);
    const [local, ec2] = await Promise.all([readContent(stage.local), readContent(stage.ec2)]);
    expect(Object.values(local).flat(), 'written to local').to.deep.equal([]);
    expect(Object.values(ec2).flat()).to.have.length.greaterThan(20);
    expect(await json()).to.include({ phase: 3, epoch: 5, primary: 'ec2' });
  });

  const STRAY = `insert into sensor_registry (sensor_id, sensor_type) values ('STRAY', 'water-level');
    insert into water_level_readings (time, sensor_id, level_cm) values (now() - interval '1 minute', 'STRAY', 1)`;

  it('in phase 3 what another program wrote to local stops the way back, until it was brought to EC2', async () => {
    await recordPhase(2);
    await json('--phase', '3', '--yes', '--force', '--reason', 'a test');
    await stage.local.query(STRAY);
    for (const args of [['--dry-run'], ['--yes']]) {
      const { code, stdout } = await stage.run(['cutover', '--rollback', ...args]);
      expect(code, stdout).to.equal(1);
      expect(stdout).to.match(/other writers +│ +NOT MET +│ +local holds 2 rows of the last hour that EC2 lacks/);
      expect(stdout).to.match(/Next: stop that program[^]*sensorctl backfill --direction local-to-ec2 --window 1h/);
      expect(stdout).not.to.include('--prune');
    }
    const compared = await stage.run(['compare', '--all']);
    expect(compared.code).to.equal(1);
    expect(compared.stdout).to.match(/Next: sensorctl backfill .*--direction local-to-ec2 /);
    const brought = await stage.run(['backfill', '--direction', 'local-to-ec2', '--window', '1h']);
    expect(brought.code, brought.stdout + brought.stderr).to.equal(0);
    expect((await stage.run(['cutover', '--rollback', '--dry-run'])).code).to.equal(0);
    expect(await json('--rollback', '--yes')).to.include({ phase: 2, primary: 'local', changed: true });
    const [local, ec2] = await Promise.all([readContent(stage.local), readContent(stage.ec2)]);
    expect(local).to.deep.equal(ec2);
    expect(JSON.stringify(ec2.water_level_readings)).to.include('STRAY');
    expect(JSON.stringify(ec2.sensor_registry)).to.include('STRAY');
  });

  it('in phase 3 a consumer that cannot reach EC2 names EC2, not local, and what to check', async () => {
    await recordPhase(2);
    await Promise.all(
      [stage.local, stage.ec2].map((pool) =>
        pool.query(
          "update sensorctl.state set epoch = 5, phase = 3, write_mode = 'ec2-only', primary_side = 'ec2', changed_by = 'ada'",
        ),
      ),
    );
    const { code, stderr } = await stage.run(['consume', '--drain'], { EC2_DB_PORT: '1' });
    expect(code, stderr).to.equal(3);
    expect(stderr).to.match(/Error: the EC2 database at .*:1\/.* failed: .*ECONNREFUSED.*\nNext: .*EC2_DB_HOST/);
  });

  it('ends with 4 while somebody else changes the phase, and calls it off once the deadline is past', async () => {
    await recordPhase(2);
    await stage.local.query(`
      update sensorctl.state set epoch = epoch + 1, write_mode = 'draining', attempt = gen_random_uuid(), target_phase = 3,
        deadline = clock_timestamp() + interval '10 minutes', changed_by = 'ada@elsewhere'`);
    const { code, stderr } = await stage.run(['cutover', '--rollback', '--yes']);
    expect(code).to.equal(4);
    expect(stderr).to.match(/under way, begun by ada@elsewhere[^]*Next: /);
    await stage.local.query(`
      alter table sensorctl.state disable trigger user;
      update sensorctl.state set deadline = clock_timestamp();
      alter table sensorctl.state enable trigger user`);
    const back = await json('--rollback', '--yes');
    expect(back).to.include({ phase: 1, changed: true });
    expect(back.history[1]).to.include({
      phase: 2,
      writeMode: 'dual-write',
      reason: 'it was not done by its deadline',
    });
  });

  // The last one: its triggers stay.
  it('in phase 3 local refuses other programs on tracked tables, and the way back is open', async () => {
    await recordPhase(2);
    await stage.run(['init', '--track', '--yes']);
    await json('--phase', '3', '--yes', '--force', '--reason', 'a test');
    const refused = await stage.local.query(STRAY).catch((error: unknown) => error);
    expect(refused).to.include({ code: '25006' });
    const back = await json('--rollback', '--yes');
    expect(back.gates.find(({ name }) => name === 'other writers')?.detail).to.equal(
      'local has refused other programs',
    );
  });
});

function telemetry(count: number): string[] {
  return [...generateTelemetry({ seed: SEED, count, spacingMs: 1_000 })];
}

/** Every table of sensorctl's schema on both sides, as text. */
async function readBookkeeping({ local, ec2 }: Stage): Promise<Record<'local' | 'ec2', Record<string, string>>> {
  const [here, there] = await Promise.all([local, ec2].map(readSchema));
  return { local: here ?? {}, ec2: there ?? {} };
}

async function readSchema(pool: pg.Pool): Promise<Record<string, string>> {
  const { rows } = await pool.query<{ name: string }>(
    "select relname as name from pg_class where relnamespace = 'sensorctl'::regnamespace and relkind = 'r'",
  );
  const entries = rows.map(async ({ name }) => {
    const content = `select coalesce(jsonb_agg(to_jsonb(each) order by to_jsonb(each)), '[]')::text as content`;
    const { rows: found } = await pool.query<{ content: string }>(`${content} from sensorctl.${name} as each`);
    return [name, found[0]?.content ?? ''] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
