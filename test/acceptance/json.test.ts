import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { runCli, Stage, startCli } from '../support/cli.js';
import { DOCUMENTED, findUndocumented } from '../support/documented-json.js';

/** A message that no table takes. */
const NOT_JSON = 'no JSON at all';

const DAMAGE = `
  delete from water_level_readings where ctid in (select ctid from water_level_readings limit 3);
  update moisture_readings set voltage = 1.23 where ctid in (select ctid from moisture_readings limit 1);
  alter table moisture_readings add column note text;
  alter table water_level_readings alter column voltage type numeric(12, 6)`;

describe('acceptance: what --json prints is what docs/json.md describes', function () {
  this.timeout(30_000);
  const bodies = [...generateTelemetry({ seed: 23, count: 60 }), NOT_JSON];
  const checked = new Set<string>();
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('json');
  });

  after(async () => {
    await stage.close();
  });

  /** The whole document, which is of this type, and nothing else on stdout. */
  async function expectDocument(type: string, args: readonly string[], exitCode = 0): Promise<unknown> {
    const { code, stdout, stderr } = await stage.run([...args, '--json'], {}, { 'telemetry.jsonl': bodies.join('\n') });
    expect(code, stderr).to.equal(exitCode);
    expect(findUndocumented(stdout, type), stdout).to.deep.equal([]);
    checked.add(type);
    return JSON.parse(stdout);
  }

  it('init', async () => {
    await expectDocument('Init', ['init']);
    await expectDocument('InitDryRun', ['init', '--add-keys', '--dry-run']);
  });

  it('replay', async () => {
    await expectDocument('Replay', ['replay', 'telemetry.jsonl']);
  });

  it('consume', async () => {
    await expectDocument('Consume', ['consume', '--dual-write', '--drain']);
  });

  it('compare, where the sides are equal', async () => {
    await expectDocument('Compare', ['compare', '--all']);
  });

  it('cutover: where it stands, and a change with its gates', async () => {
    await expectDocument('Cutover', ['cutover', '--phase', '1', '--yes', '--reason', 'a test']);
    const report = await expectDocument('Cutover', ['cutover']);
    expect(report).to.have.property('history').with.length(1);
  });

  it('cutover --phase 3, with its steps', async () => {
    await stage.runJson(['cutover', '--phase', '2', '--yes']);
    const report = await expectDocument('Cutover', ['cutover', '--phase', '3', '--yes', '--min-soak', '0s', ...FORCED]);
    expect(report).to.have.property('steps').that.is.not.empty;
    await stage.runJson(['cutover', '--rollback', '--yes', ...FORCED]);
  });

  it('verify-schema, compare and backfill --dry-run, where the sides differ', async () => {
    await stage.ec2.query(DAMAGE);
    await expectDocument('InitPlan', ['init', '--dry-run']);
    const { findings } = (await expectDocument('VerifySchema', ['verify-schema'])) as { findings: unknown[] };
    expect(findings).not.to.deep.equal([]);
    const compared = await expectDocument('Compare', ['compare', '--all', '--settle', '0s'], 1);
    expect(compared).to.have.property('differences').with.length(4);
    await expectDocument('BackfillDryRun', ['backfill', '--all', '--dry-run']);
  });

  it('compare --repair, and backfill', async () => {
    const compared = await expectDocument('Compare', ['compare', '--all', '--settle', '0s', '--repair']);
    expect(compared).to.have.property('repair');
    await expectDocument('Backfill', ['backfill']);
  });

  it('a turn of backfill --follow', async () => {
    await stage.local.query(`insert into sensorctl.ledger (table_name, state, times, readings)
      values ('water_level_readings', 'missed', '{[2025-07-01, 2025-07-02)}', 1)`);
    const following = await stage.start(['backfill', '--follow', '--json']);
    await following.printed('ledger repaired');
    following.kill('SIGTERM');
    const { code, stdout, stderr } = await following.wait();
    expect(code, stderr).to.equal(0);
    const [line = ''] = stdout.split('\n');
    expect(findUndocumented(line, 'BackfillFollow'), stdout).to.deep.equal([]);
    checked.add('BackfillFollow');
  });

  it('quarantine list, show, retry and discard', async () => {
    const list = await expectDocument('QuarantineList', ['quarantine', 'list']);
    const records = (list as { records: { id: number; keptOn: string; body: string }[] }).records;
    const found = records.find(({ body }) => body === NOT_JSON);
    const name = `${found?.keptOn ?? ''}:${found?.id ?? 0}`;
    await expectDocument('QuarantineRecord', ['quarantine', 'show', name]);
    await expectDocument('QuarantineRetry', ['quarantine', 'retry', name], 1);
    await expectDocument('QuarantineDiscard', ['quarantine', 'discard', name]);
  });

  it('monitor and monitor report', async () => {
    await expectDocument('Monitor', ['monitor', '--once']);
    await expectDocument('MonitorReport', ['monitor', 'report']);
  });

  it('sandbox, as soon as it is ready', async () => {
    const sandbox = await startCli(['sandbox', '--json']);
    await sandbox.printed('Ready');
    sandbox.kill('SIGTERM');
    const { code, stdout, stderr } = await sandbox.wait();
    expect(code, stderr).to.equal(0);
    expect(findUndocumented(stdout, 'Sandbox')).to.deep.equal([]);
    checked.add('Sandbox');
  });

  for (const [title, args, code] of [
    ['an unknown command', ['comapre'], 2],
    ['an unknown flag', ['compare', '--widnow', '1h'], 2],
    ['a number outside its limits', ['consume', '--pollers', '65'], 2],
    ['a missing argument', ['quarantine', 'show'], 2],
    ['no settings', ['compare'], 2],
  ] as const) {
    it(`a failure: ${title}`, async () => {
      const result = await runCli([...args, '--json']);
      expect(result.code).to.equal(code);
      expect(findUndocumented(result.stdout, 'Failure')).to.deep.equal([]);
      const { error, next } = JSON.parse(result.stdout) as { error: string; next: string };
      expect(result.stderr).to.equal(`Error: ${error}\nNext: ${next}\n`);
      checked.add('Failure');
    });
  }

  it('covers every document that is described, but for that of the demo, which npm run test:package runs', () => {
    const parts = ['LeftOut', 'Difference', 'Gap', 'DemoSide', 'MonitorSide', 'Figures', 'Comparison'].concat([
      ...['DatabaseAddress', 'TableRows', 'MonitorGaps', 'BackfillCounts', 'BackfillTable'],
    ]);
    expect(DOCUMENTED.filter((type) => !checked.has(type) && !parts.includes(type))).to.deep.equal(['Demo']);
  });

  it('would see a key too many, one too few, and a value that may not be', () => {
    const [full, rest] = ['{ "sent": 1, "seconds": 0.1', '}'];
    expect(findUndocumented(`${full}${rest}`, 'Replay')).to.deep.equal([]);
    for (const wrong of [`${full}, "more": 1${rest}`, '{ "sent": 1 }', '{ "sent": "1", "seconds": 2 }']) {
      expect(findUndocumented(wrong, 'Replay')).to.have.length(1);
    }
  });
});

const FORCED = ['--force', '--reason', 'a test'];
