import { expect } from 'chai';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import type { Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { readContent, runCli, Stage, startCli, type CliResult, type CliSettings } from '../support/cli.js';

const SECRET = 'Marked-Secret-4711';
const SINGLE = '📝 Initializing single-write repository...';
const DUAL = '🔄 Initializing dual-write repository...';
const COMMITTED = 'Local write successful';

describe('acceptance: what decides between local and both', function () {
  this.timeout(30_000);
  const bodies = [...generateTelemetry({ seed: 21, count: 40 })];
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('write mode');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  beforeEach(async () => {
    await stage.empty();
    await stage.send(bodies);
  });

  async function consume(args: readonly string[], settings: CliSettings): Promise<CliResult> {
    return await stage.run(['consume', '--max-messages', String(bodies.length), ...args], settings);
  }

  for (const [title, args, settings] of [
    ['no flag and no setting', [], { ENABLE_DUAL_WRITE: undefined }],
    ['ENABLE_DUAL_WRITE=false', [], { ENABLE_DUAL_WRITE: 'false' }],
    ['--no-dual-write over ENABLE_DUAL_WRITE=true', ['--no-dual-write'], { ENABLE_DUAL_WRITE: 'true' }],
  ] as const) {
    it(`${title}: writes to local only and says so`, async () => {
      const { code, stderr } = await consume(args, settings);
      expect(code, stderr).to.equal(0);
      expect(stderr).to.contain(SINGLE).and.to.contain(COMMITTED);
      expect(stderr).not.to.contain(DUAL).and.not.to.contain('EC2 write');
      expect(Object.values(await readContent(stage.ec2)).flat()).to.deep.equal([]);
      expect((await readContent(stage.local)).water_level_readings).not.to.deep.equal([]);
    });
  }

  for (const [title, args, settings] of [
    ['--dual-write over ENABLE_DUAL_WRITE=false', ['--dual-write'], { ENABLE_DUAL_WRITE: 'false' }],
    ['ENABLE_DUAL_WRITE=true', [], { ENABLE_DUAL_WRITE: 'true' }],
  ] as const) {
    it(`${title}: writes to both and says so`, async () => {
      const { code, stderr } = await consume(args, settings);
      expect(code, stderr).to.equal(0);
      for (const line of [DUAL, COMMITTED, 'EC2 write successful']) expect(stderr).to.contain(line);
      expect(stderr).not.to.contain(SINGLE);
      expect(await readContent(stage.ec2)).to.deep.equal(await readContent(stage.local));
    });
  }

  it('a wrong password of EC2: ingestion goes on, each failure is logged with attempt and attempts', async () => {
    const { code, stderr, stdout } = await consume(['--dual-write', '--json'], { EC2_DB_PASSWORD: SECRET });
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/EC2 write failed .*attempt=1 attempts=4 error="28P01/);
    expect(stderr + stdout).not.to.contain(SECRET);
    const summary = JSON.parse(stdout) as ConsumeSummary;
    expect(summary).to.include({ messages: bodies.length, missed: summary.accepted });
  });

  it('a password of EC2 that is not set: monitor and consume name the variable, and end', async () => {
    const unset = { EC2_DB_PASSWORD: undefined };
    const { code, stderr } = await consume(['--dual-write'], unset);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/EC2 could not be looked at error="it asks for a password[^"]*" next="set EC2_DB_PASSWORD/);
    const { stdout } = await stage.run(['monitor', '--once', '--json'], unset);
    expect((JSON.parse(stdout) as Snapshot).sides.ec2).to.deep.include({
      ...{ answers: false, problem: 'it asks for a password, and none is set' },
    });
  });

  it('warns once, before the first batch, where the registry knows none of its sensors', async () => {
    const warning =
      /warn {2}sensor_registry on local does not know (\d+) of \1 sensors in the first batch.*SENSOR_ID_FROM_MAC=true/g;
    const empty = await consume([], {});
    expect(empty.code, empty.stderr).to.equal(0);
    expect(empty.stderr, 'an empty registry').not.to.match(/does not know/);
    await stage.send(bodies);
    expect((await consume([], {})).stderr, 'the same sensors').not.to.match(/does not know/);
    await stage.empty();
    await stage.local.query(`insert into sensor_registry (sensor_id, sensor_type) values ('AWD-938C', 'water-level')`);
    await stage.send(bodies);
    const { code, stderr } = await consume(['--batch-messages', '10'], {});
    expect(code, stderr).to.equal(0);
    expect(stderr.match(warning)).to.have.length(1);
    expect(stderr.search(warning)).to.be.below(stderr.indexOf(COMMITTED));
    expect(stderr).to.contain('inRegistry=AWD-938C');
  });

  it('warns where the registry knows hardly one of its sensors, and not where it knows more than a tenth', async () => {
    const first = await consume([], {});
    expect(first.code, first.stderr).to.equal(0);
    const { rows } = await stage.local.query<{ id: string }>('select sensor_id as id from sensor_registry order by 1');
    const ids = rows.map(({ id }) => id);
    expect(ids.length).to.be.greaterThan(20);
    const inOne = ['--batch-messages', String(bodies.length), '--batch-linger', '10000'];
    for (const [known, isSaid] of [
      [1, true],
      [Math.ceil(ids.length / 5), false],
    ] as const) {
      await stage.empty();
      await stage.local.query(
        `insert into sensor_registry (sensor_id, sensor_type) select unnest($1::text[]), 'water-level'`,
        [ids.slice(0, known)],
      );
      await stage.send(bodies);
      const { code, stderr } = await consume(inOne, {});
      expect(code, stderr).to.equal(0);
      const [, unknown, all] = /sensor_registry on local does not know (\d+) of (\d+) sensors/.exec(stderr) ?? [];
      expect(all === undefined ? null : Number(all) - Number(unknown), stderr).to.equal(isSaid ? known : null);
    }
  });

  it('`npm run consumer` starts the consumer', async () => {
    const { code, stderr, stdout } = await runCli(
      ['run', '--silent', 'consumer', '--', '--dual-write', '--max-messages', String(bodies.length), '--json'],
      { program: ['npm'], settings: stage.settings },
    );
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ messages: bodies.length });
  });
});

describe('acceptance: --max-messages and signals', function () {
  this.timeout(40_000);
  const bodies = [...generateTelemetry({ seed: 22, count: 600 })];
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('signals', { visibilityTimeoutSeconds: 2 });
    await stage.runJson(['init']);
    await stage.send(bodies);
  });

  afterEach(async () => {
    await stage.close();
  });

  it('SIGTERM to `npm run consumer` reaches the consumer, which leaves nothing behind', async function () {
    this.timeout(90_000);
    const options = { program: ['npm'], settings: stage.settings, timeoutMs: 80_000 } as const;
    const consumer = await startCli(['run', '--silent', 'consumer', '--', '--dual-write', '--json'], options);
    await consumer.printed(COMMITTED);
    consumer.kill('SIGTERM');
    const { code, stdout, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    expect(stderr).to.contain('Stopping');
    const summary = JSON.parse(stdout) as ConsumeSummary;
    expect(summary).to.include({ confirmed: summary.accepted, missed: 0, unacknowledged: 0 });
    expect((await stage.local.query('select 1 from sensorctl.consumer where ended_at is null')).rowCount).to.equal(0);
  });

  for (const [script, begun] of [
    ['sandbox', 'Starting two PostgreSQL servers'],
    ['demo', 'Starting'],
  ] as const) {
    it(`SIGTERM to \`npm run ${script}\` ends its servers too`, async function () {
      this.timeout(90_000);
      const running = await startCli(['run', '--silent', script], { program: ['npm'], timeoutMs: 80_000 });
      await running.printed(begun);
      running.kill('SIGTERM');
      // Whoever is left would hold the pipes open.
      const { stderr } = await running.wait();
      expect(stderr).to.contain('Stopping');
    });
  }

  it('--max-messages receives exactly that many and leaves the others', async () => {
    const summary = await stage.runJson<ConsumeSummary>(['consume', '--dual-write', '--max-messages', '123']);
    expect(summary).to.include({ messages: 123, unacknowledged: 0 });
    const { visible, inFlight } = await stage.queue.readState();
    expect({ visible, inFlight }).to.deep.equal({ visible: bodies.length - 123, inFlight: 0 });
  });

  it('SIGTERM under load finishes and settles everything in hand, and exits with 0', async () => {
    const consumer = await stage.start(['consume', '--dual-write', '--json', '--batch-messages', '20']);
    await consumer.printed(COMMITTED, 3);
    consumer.kill('SIGTERM');
    const { code, stdout, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    const summary = JSON.parse(stdout) as ConsumeSummary;
    expect(summary.messages).to.be.within(1, bodies.length);
    expect(summary).to.include({ confirmed: summary.accepted, missed: 0, unacknowledged: 0 });
    const { visible, inFlight } = await stage.queue.readState();
    expect({ left: visible, inFlight }).to.deep.equal({ left: bodies.length - summary.messages, inFlight: 0 });
    expect((await stage.local.query('select 1 from sensorctl.ledger')).rowCount).to.equal(0);
    expect((await stage.local.query('select 1 from sensorctl.consumer where ended_at is null')).rowCount).to.equal(0);
    expect(await readContent(stage.ec2)).to.deep.equal(await readContent(stage.local));
  });

  it('a second signal exits with 130 at once, and a following run finds everything', async () => {
    // A lock on local holds the first signal up, so that the second one cuts batches off.
    const blocker = await stage.local.connect();
    await blocker.query('begin');
    await blocker.query('lock table moisture_readings in access exclusive mode');
    const consumer = await stage.start(['consume', '--dual-write', '--batch-messages', '20']);
    await consumer.printed('Initializing dual-write');
    await stage.eventuallyBlocked();
    consumer.kill('SIGTERM');
    await consumer.printed('Stopping');
    consumer.kill('SIGTERM');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(130);
    await blocker.query('rollback');
    blocker.release();
    await stage.runJson(['consume', '--dual-write', '--drain', '--heal-rate', '0']);
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    const reference = await Stage.open('reference');
    await reference.runJson(['init']);
    await reference.send(bodies);
    await reference.runJson(['consume', '--max-messages', String(bodies.length)]);
    expect(await keysOf(stage)).to.deep.equal(await keysOf(reference));
    await reference.close();
  });

  async function keysOf({ local }: Stage): Promise<string[]> {
    const { rows } = await local.query<{ key: string }>(
      `select sensor_id || ' ' || time as key from water_level_readings
       union all select sensor_id || ' ' || time from moisture_readings
       union all select sensor_id || ' ' || time from sensor_readings
       union all select body from sensorctl.quarantine`,
    );
    return rows.map(({ key }) => key).sort();
  }
});

describe('acceptance: each fault gets one clear error, its exit code, and no secret', function () {
  this.timeout(30_000);
  let stage: Stage;
  let bare: Stage;
  let closedPort: string;

  before(async () => {
    stage = await Stage.open('faults');
    bare = await Stage.open('faults bare');
    await stage.runJson(['init']);
    closedPort = String(await findFreePort());
  });

  after(async () => {
    await stage.close();
    await bare.close();
  });

  async function expectFault(
    settings: CliSettings,
    expected: { code: number; says: RegExp; next: RegExp },
    on: Stage = stage,
  ): Promise<void> {
    const consume = (...json: string[]) =>
      on.run(['consume', '--dual-write', '--drain', ...json], { EC2_DB_PASSWORD: SECRET, ...settings });
    const startedAt = performance.now();
    const results = await Promise.all([consume(), consume('--json')]);
    expect(performance.now() - startedAt).to.be.lessThan(10_000);
    for (const { code, stdout, stderr } of results) {
      expect(code, stderr).to.equal(expected.code);
      const [, error = '', next = '', ...more] = stderr.split(/^(?:Error|Next): /m);
      expect(more, stderr).to.deep.equal([]);
      expect(error).to.match(expected.says);
      expect(next).to.match(expected.next);
      expect(stderr + stdout)
        .not.to.match(/^\s+at |node_modules/m)
        .and.not.to.contain(SECRET);
    }
    expect(results[0].stdout).to.equal('');
    expect(JSON.parse(results[1].stdout)).to.include({ exitCode: expected.code });
  }

  it('a wrong setting: 2', async () => {
    const settings = { TIMESCALE_PORT: SECRET, EC2_WRITE_TIMEOUT: 'soon' };
    await expectFault(settings, {
      code: 2,
      says: /2 settings are wrong:\n.*TIMESCALE_PORT should.*\n.*EC2_WRITE_TIMEOUT should/,
      next: /\.env\.local/,
    });
  });

  it('dual write without EC2_DB_HOST: 2', async () => {
    await expectFault({ EC2_DB_HOST: undefined }, { code: 2, says: /EC2_DB_HOST/, next: /\.env/ });
  });

  it('a wrong flag: 2', async () => {
    const { code, stderr } = await stage.run(['consume', '--no-such-flag']);
    expect(code).to.equal(2);
    expect(stderr)
      .to.match(/no-such-flag/)
      .and.to.match(/Next: sensorctl consume --help/);
  });

  it('a wrong password: 3', async () => {
    const expected = { code: 3, says: /the local database at 127\.0\.0\.1:.*password/, next: /TIMESCALE_PASSWORD/ };
    await expectFault({ TIMESCALE_PASSWORD: SECRET }, expected);
  });

  it('no such database: 3', async () => {
    const expected = { code: 3, says: /the local database at .*nowhere.*does not exist/, next: /TIMESCALE_DB/ };
    await expectFault({ TIMESCALE_DB: 'nowhere' }, expected);
  });

  it('a server that is down: 3', async () => {
    const expected = { code: 3, says: /the local database at .*ECONNREFUSED/, next: /TIMESCALE_HOST/ };
    await expectFault({ TIMESCALE_PORT: closedPort }, expected);
  });

  it('no schema: 3, and `sensorctl init` is the next step', async () => {
    await expectFault({}, { code: 3, says: /local database was never prepared/, next: /sensorctl init/ }, bare);
  });

  it('no such queue: 3', async () => {
    const settings = { SQS_QUEUE_URL: `${stage.settings.SQS_QUEUE_URL!}-none` };
    await expectFault(settings, { code: 3, says: /the queue .*-none does not exist/, next: /SQS_QUEUE_URL/ });
  });

  it('a queue endpoint that is down: 3', async () => {
    const endpoint = `http://127.0.0.1:${closedPort}`;
    const settings = { AWS_ENDPOINT_URL_SQS: endpoint, SQS_QUEUE_URL: `${endpoint}/000000000000/telemetry` };
    const expected = { code: 3, says: /the queue .* cannot be reached: ECONNREFUSED/, next: /AWS_ENDPOINT_URL_SQS/ };
    await expectFault(settings, expected);
  });

  it('no credentials for the queue: 3', async () => {
    const settings = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    await expectFault(settings, { code: 3, says: /the queue .*credentials/, next: /AWS_ACCESS_KEY_ID/ });
  });

  for (const args of [
    ['replay', 'no-such.jsonl'],
    ['demo', '--file', 'no-such.jsonl'],
  ]) {
    it(`a file that does not exist, \`${args.join(' ')}\`: 2`, async () => {
      const { code, stderr } = await stage.run(args);
      expect(stderr).to.match(/^Error: no-such\.jsonl cannot be read: no such file or directory\nNext: [^\n]+\n$/);
      expect(code).to.equal(2);
    });
  }
});
