import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { expectedOf } from '../support/expected-telemetry.js';
import { readContent, Stage, timescaleServers } from '../support/cli.js';
import { bodiesOf, FIGURES, realFiles, standInBodies } from '../support/real-telemetry.js';
import { seedOf } from '../support/seed.js';

const TIME = `to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
const CONSUME = ['consume', '--dual-write'];
const GENERATED = { seed: 7, count: 1500 };

/** What `consume` adds up, against what the messages hold by themselves. */
function expectAccount(summary: ConsumeSummary, bodies: readonly string[]): void {
  const { messages, furtherReadings, accepted, refused, quarantined } = summary;
  const items = bodies.reduce((sum, body) => sum + expectedOf(body).items, 0);
  expect(messages).to.equal(bodies.length);
  expect(messages + furtherReadings).to.equal(items);
  expect(accepted + refused + quarantined).to.equal(items);
  expect(summary.unacknowledged).to.equal(0);
}

async function countQuarantine(stage: Stage): Promise<number> {
  const { rows } = await stage.local.query<{ count: string }>('select count(*) from sensorctl.quarantine');
  return Number(rows[0]!.count);
}

/** Consumes all bodies twice; both sides must hold the same rows, and the second time must change nothing. */
async function consumeTwice(stage: Stage, bodies: readonly string[]): Promise<ConsumeSummary> {
  const first = await stage.runJson<ConsumeSummary>([...CONSUME, '--drain']);
  expectAccount(first, bodies);
  const local = await readContent(stage.local);
  expect(await readContent(stage.ec2)).to.deep.equal(local);
  const rows = Object.entries(local).reduce(
    (sum, [table, each]) => sum + (table.endsWith('readings') ? each.length : 0),
    0,
  );
  expect(first).to.include({
    accepted: rows,
    confirmed: rows,
    missed: 0,
    quarantinedAnew: await countQuarantine(stage),
  });
  expect((await stage.local.query('select 1 from sensorctl.ledger')).rowCount).to.equal(0);

  await stage.send(bodies);
  const second = await stage.runJson<ConsumeSummary>([...CONSUME, '--max-messages', String(bodies.length)]);
  expectAccount(second, bodies);
  expect(second).to.include({
    accepted: 0,
    quarantined: first.quarantined,
    quarantinedAnew: 0,
    confirmed: 0,
    missed: 0,
  });
  expect(await readContent(stage.local)).to.deep.equal(local);
  expect(await readContent(stage.ec2)).to.deep.equal(local);
  expect(await countQuarantine(stage)).to.equal(first.quarantinedAnew);
  return first;
}

describe('acceptance: all of the real telemetry, or what stands in for it, replayed and consumed with dual write', function () {
  this.timeout(60_000);
  let stage: Stage;
  let directory: string;
  let files: readonly string[];

  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-replay-'));
    const standIn = path.join(directory, 'telemetry.jsonl');
    await writeFile(standIn, standInBodies(seedOf(9)).join('\n'));
    files = realFiles() ?? [standIn];
    stage = await Stage.open('real telemetry');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
    await rm(directory, { recursive: true });
  });

  it('gives both sides the same rows, accounts for every message, and changes nothing the second time', async () => {
    const bodies = bodiesOf(files);
    expect(await stage.runJson(['replay', ...files])).to.have.property('sent', bodies.length);
    const first = await consumeTwice(stage, bodies);
    expect(first).to.include({ messages: FIGURES.messages, quarantined: 1 });
    const { rows } = await stage.local.query<{ key: string }>(
      `select 'water_level_readings ' || sensor_id || ' ' || ${TIME} as key from water_level_readings
       union all select 'moisture_readings ' || sensor_id || ' ' || ${TIME} from moisture_readings
       union all select 'sensor_readings ' || sensor_id || ' ' || ${TIME} from sensor_readings`,
    );
    const keys = new Set(bodies.flatMap((body) => expectedOf(body).keys));
    expect(rows.map(({ key }) => key).sort()).to.deep.equal([...keys].sort());
  });
});

describe('acceptance: generated telemetry', function () {
  this.timeout(60_000);
  const bodies = [...generateTelemetry(GENERATED)];
  let stage: Stage;
  let local: Record<string, string[]>;

  before(async () => {
    stage = await Stage.open('generated telemetry');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  it('is held alike by both sides, quarantined with reasons, and changes nothing the second time', async () => {
    await stage.send(bodies);
    const first = await consumeTwice(stage, bodies);
    for (const figure of ['furtherReadings', 'accepted', 'refused', 'quarantined'] as const) {
      expect(first[figure], figure).to.be.greaterThan(0);
    }
    local = await readContent(stage.local);
  });

  describe('on TimescaleDB', () => {
    let hyper: Stage | undefined;

    before(async function () {
      hyper = await Stage.open('generated timescale', await timescaleServers(this));
      await hyper.runJson(['init']);
    });

    after(async () => {
      await hyper?.close();
    });

    it('gives the rows of plain PostgreSQL, also under a foreign key to sensor_registry on EC2', async () => {
      await hyper!.ec2.query(
        'alter table water_level_readings add foreign key (sensor_id) references sensor_registry (sensor_id)',
      );
      await hyper!.send(bodies);
      const summary = await hyper!.runJson<ConsumeSummary>([...CONSUME, '--max-messages', String(bodies.length)]);
      expectAccount(summary, bodies);
      expect(summary).to.include({ missed: 0, confirmed: summary.accepted });
      const rows = await readContent(hyper!.local);
      expect(await readContent(hyper!.ec2)).to.deep.equal(rows);
      for (const [table, each] of Object.entries(withoutRssi(rows))) {
        expect(differenceOf(each, withoutRssi(local)[table]!), table).to.deep.equal([]);
      }
    });
  });
});

/** Of `time, sensor_id, location_lat, location_lng, level_cm, voltage, rssi, temperature, quality_score`. */
const RSSI = 6;
const QUALITY = 8;

/** The rows without what the repetitions of a message differ in: which of them arrives first is up to the queue. */
function withoutRssi(content: Record<string, string[]>): Record<string, string[]> {
  const water = content.water_level_readings!.map((row) => row.split(',').toSpliced(QUALITY, 1).toSpliced(RSSI, 1));
  // Two one-sensor moisture messages of one second share a key, and differ in everything else.
  const moisture = content.moisture_readings!.map((row) => row.split(',').slice(0, 2));
  const [water_level_readings, moisture_readings] = [water, moisture].map((rows) =>
    rows.map((columns) => columns.join()),
  );
  return { ...content, water_level_readings: water_level_readings!, moisture_readings: moisture_readings! };
}

/** Items that only one of two lists holds. */
function differenceOf(one: readonly string[], other: readonly string[]): string[] {
  return [...one.filter((item) => !other.includes(item)), ...other.filter((item) => !one.includes(item))];
}
