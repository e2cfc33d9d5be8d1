import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { readContent, Stage } from '../support/cli.js';
import { expectedOf } from '../support/expected-telemetry.js';
import { seedOf } from '../support/seed.js';
import { ec2Server } from '../support/servers.js';

const SEED = seedOf(11);
const COMMITTED = 'Local write successful';
const SMALL_BATCHES = ['--batch-messages', '20', '--heal-rate', '0'];

describe('acceptance: kill -9 of the consumer in the middle', function () {
  this.timeout(60_000);
  const bodies = [...generateTelemetry({ seed: SEED, count: 700 })];
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('killed', { visibilityTimeoutSeconds: 2 });
    await stage.runJson(['init']);
    await stage.send(bodies);
  });

  afterEach(async () => {
    (await ec2Server()).thaw();
    await stage.close();
  });

  /** Kills a consumer at a random moment after a random batch. */
  async function killOne(random: () => number): Promise<void> {
    const consumer = await stage.start(['consume', '--dual-write', ...SMALL_BATCHES]);
    await consumer.printed(COMMITTED, 1 + Math.floor(random() * 6));
    await new Promise((resolve) => setTimeout(resolve, random() * 10));
    consumer.kill('SIGKILL');
    expect(await consumer.wait()).to.have.property('code', null);
  }

  for (const round of [1, 2]) {
    it(`leaves local and quarantine complete, nothing twice, every gap in the ledger (round ${round})`, async () => {
      const random = createRandom(SEED + round);
      for (let kills = 0; kills < 2; kills += 1) await killOne(random);
      expect(await stage.findUncoveredGaps()).to.deep.equal([]);
      await stage.runJson(['consume', '--dual-write', '--drain', ...SMALL_BATCHES]);
      await expectComplete(stage, bodies);
      expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    });
  }

  it('has in the ledger what EC2 had not answered, also after the next consumer ended', async () => {
    const ec2 = await ec2Server();
    const consumer = await stage.start(['consume', '--dual-write', ...SMALL_BATCHES]);
    await consumer.printed(COMMITTED, 2);
    await ec2.freeze();
    await consumer.printed(COMMITTED, 8);
    consumer.kill('SIGKILL');
    await consumer.wait();
    ec2.thaw();
    const missing = await countMissing(stage);
    expect(missing).to.be.greaterThan(0);
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    await stage.runJson(['consume', '--dual-write', '--drain', ...SMALL_BATCHES]);
    await expectComplete(stage, bodies);
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    expect(await countMissing(stage)).to.be.greaterThan(0);
  });
});

describe('acceptance: EC2 lost', function () {
  this.timeout(60_000);
  const bodies = [...generateTelemetry({ seed: 12, count: 600 })];
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('ec2 lost');
    await stage.runJson(['init']);
    await stage.send(bodies);
  });

  afterEach(async () => {
    await (await ec2Server()).start();
    await stage.close();
  });

  it('at start: ingestion completes, and the ledger covers all of it', async () => {
    await (await ec2Server()).stop('immediate');
    const summary = await stage.runJson<ConsumeSummary>(['consume', '--dual-write', '--drain', ...SMALL_BATCHES]);
    expect(summary).to.include({ messages: bodies.length, confirmed: 0, missed: summary.accepted });
    await (await ec2Server()).start();
    await expectComplete(stage, bodies);
    expect(await countMissing(stage)).to.equal(summary.accepted);
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    const { rows } = await stage.local.query(
      'select distinct state, readings > 0 or jsonb_array_length(keys) > 0 as filled from sensorctl.ledger',
    );
    expect(rows).to.deep.equal([{ state: 'missed', filled: true }]);
  });

  it('half-way: ingestion completes, and the ledger covers what is missing', async () => {
    const consumer = await stage.start(['consume', '--dual-write', '--drain', '--json', ...SMALL_BATCHES]);
    await consumer.printed('EC2 write successful', 3);
    await (await ec2Server()).stop('immediate');
    const { code, stdout, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    const summary = JSON.parse(stdout) as ConsumeSummary;
    expect(summary.confirmed).to.be.greaterThan(0);
    expect(summary.missed).to.be.greaterThan(0);
    expect(summary.confirmed + summary.missed).to.equal(summary.accepted);
    await (await ec2Server()).start();
    await expectComplete(stage, bodies);
    expect(await countMissing(stage)).to.be.within(1, summary.missed);
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);
    expect(stderr).to.match(/EC2 write failed .*attempt=1 attempts=4 /);
  });
});

/** Local holds each key of the bodies once, and the quarantine each message that cannot be stored. */
async function expectComplete(stage: Stage, bodies: readonly string[]): Promise<void> {
  // The database itself refuses the one that is too large for its column.
  const isTooLarge = (body: string): boolean => body.includes('"level":123456');
  const expected = bodies.map((body) => ({ body, ...expectedOf(body), ...(isTooLarge(body) ? { keys: [] } : {}) }));
  const keys = expected.flatMap((each) => each.keys);
  const stored = await Promise.all(
    ['water_level_readings', 'moisture_readings', 'sensor_readings'].map(async (table) => {
      const { rows } = await stage.local.query<{ key: string }>(
        `select '${table} ' || sensor_id || ' ' || to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as key from ${table}`,
      );
      return rows.map(({ key }) => key);
    }),
  );
  expect(stored.flat().sort()).to.deep.equal([...new Set(keys)].sort());
  const refusals = expected.filter((each) => each.keys.length < each.items).map(({ body }) => body);
  const { rows } = await stage.local.query<{ body: string }>('select body from sensorctl.quarantine');
  expect(rows.map(({ body }) => body).sort()).to.deep.equal([...new Set(refusals)].sort());
}

async function countMissing(stage: Stage): Promise<number> {
  const [local, ec2] = await Promise.all([readContent(stage.local), readContent(stage.ec2)]);
  const known = new Set(Object.entries(ec2).flatMap(([table, rows]) => rows.map((row) => `${table}${row}`)));
  const rows = Object.entries(local).filter(([table]) => table !== 'sensor_registry');
  return rows.flatMap(([table, each]) => each.filter((row) => !known.has(`${table}${row}`))).length;
}
