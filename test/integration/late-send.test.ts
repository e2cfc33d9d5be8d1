import { expect } from 'chai';
import { unitsOf, type Reading } from '../support/readings.js';
import { prepareSides } from '../../src/lib/operations/init.js';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { countLedger, drainLedger } from '../../src/lib/repository/cutover/drain-ledger.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { ALL_TABLES } from '../../src/lib/repository/tables/reading-tables.js';
import type { CommittedBatch } from '../../src/lib/repository/write/batch.js';
import { SecondaryWriter } from '../../src/lib/repository/write/send-batch.js';
import { coverNewPartitions } from '../../src/lib/repository/writers/new-partitions.js';
import { untrackAll } from '../../src/lib/repository/writers/tracking.js';
import { ec2Server, localServer } from '../support/servers.js';
import { openRepository, TrackedSide } from '../support/tracked.js';

const reading = (sensorId: string): Reading => ({
  ...{ table: 'water_level_readings', time: '2025-07-01T00:00:00.000001Z', sensorId, sensorType: 'water-level' },
  values: { level_cm: -3.5, voltage: 3.85, rssi: -60, quality_score: 0.7 },
});

describe('sends to tracked tables', function () {
  this.timeout(30_000);
  let local: TrackedSide;
  let ec2: TrackedSide;
  let repository: DualWriteRepository;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'late send', { side: 'local' });
    ec2 = await TrackedSide.open(await ec2Server(), 'late send', { side: 'ec2' });
    await prepareSides([local.database, ec2.database], { addKeys: false });
    for (const side of [local, ec2]) await side.track(...ALL_TABLES);
    repository = await openRepository({ primary: local.database, secondary: ec2.database });
  });

  afterEach(async () => {
    await repository.close();
    await local.close();
    await ec2.close();
  });

  async function commit(...sensors: string[]): Promise<CommittedBatch & { batchId: string }> {
    const [batch] = await repository.primary.write({ units: unitsOf(sensors.map(reading)), rejects: [] });
    return batch as CommittedBatch & { batchId: string };
  }

  const sensorsOn = async (side: TrackedSide, table = 'water_level_readings'): Promise<string[]> =>
    (await side.pool.query<{ id: string }>(`select sensor_id as id from ${table} order by 1`)).rows.map(({ id }) => id);

  async function repairAll(): Promise<void> {
    const options = { primary: local.database, secondary: ec2.database, states: ['missed'] as const, entries: 50 };
    while ((await repairMissed(options)).entries > 0);
  }

  it('are entered by the consumer alone, and reach EC2 though it refuses everybody else', async () => {
    const batch = await commit('a', 'b');
    expect(await local.entries()).to.deep.equal([]);
    expect(await new SecondaryWriter(ec2.database).write(batch)).to.deep.equal({ refused: [] });
    expect(await sensorsOn(ec2)).to.deep.equal(['a', 'b']);
    expect(await sensorsOn(ec2, 'sensor_registry')).to.deep.equal(['a', 'b']);
  });

  it('bring nothing back that another program has deleted and a repair has taken off EC2 since', async () => {
    const batch = await commit('a', 'b');
    await local.run(
      "delete from water_level_readings where sensor_id = 'a'; delete from sensor_registry where sensor_id = 'a'",
    );
    await repairAll();
    expect(await new SecondaryWriter(ec2.database).write(batch)).to.have.property('left');
    expect(await sensorsOn(ec2)).to.deep.equal([]);
    expect(await sensorsOn(ec2, 'sensor_registry')).to.deep.equal([]);
  });

  it('bring nothing back when they are sent again after that', async () => {
    const batch = await commit('a', 'b');
    const writer = new SecondaryWriter(ec2.database);
    await writer.write(batch);
    await local.run("delete from water_level_readings where sensor_id = 'a'");
    await repairAll();
    expect(await sensorsOn(ec2)).to.deep.equal(['b']);
    await writer.write(batch);
    expect(await sensorsOn(ec2)).to.deep.equal(['b']);
  });

  it('do not land any more once a drain has taken over what was pending, as with a send that hangs', async () => {
    const batch = await commit('a', 'b');
    const counts = await drainLedger(
      { primary: local.database, secondary: ec2.database },
      new AbortController().signal,
    );
    expect(counts).to.deep.equal({ pending: 0, missed: 0, refused: 0 });
    expect(await sensorsOn(ec2)).to.deep.equal(['a', 'b']);
    // The switch came after it, and a program that writes to EC2.
    await ec2.run("update sensorctl.primary_record set primary_side = 'ec2', changes = changes + 1");
    await ec2.run("delete from water_level_readings where sensor_id = 'a'");
    expect(await new SecondaryWriter(ec2.database).write(batch)).to.have.property('left');
    expect(await sensorsOn(ec2)).to.deep.equal(['b']);
  });

  const DEVICES = `create table device (id text primary key);
    alter table water_level_readings add foreign key (sensor_id) references device`;

  /** Another program has made the device a moment ago, and EC2 has not got it yet. */
  async function expectLeftBeforeItsParent(): Promise<void> {
    await local.run("insert into device values ('a')");
    const batch = await commit('a');
    expect(await new SecondaryWriter(ec2.database).write(batch))
      .to.have.property('left')
      .that.matches(/^23503/);
  }

  it('that come before their parent, which another program made a moment ago, are missed and never refused', async () => {
    for (const side of [local, ec2]) {
      await side.run(DEVICES);
      await side.track('device');
    }
    await expectLeftBeforeItsParent();
    await drainLedger({ primary: local.database, secondary: ec2.database }, new AbortController().signal);
    expect([await sensorsOn(ec2), await local.entries()]).to.deep.equal([['a'], []]);
  });

  it('the same where only the table of the parents is tracked', async () => {
    for (const side of [local, ec2]) {
      await side.run(DEVICES);
      await untrackAll(side.database);
      await side.run('delete from sensorctl.tracked_table');
      await side.track('device');
    }
    await expectLeftBeforeItsParent();
    expect((await countLedger(local.database)).refused).to.equal(0);
  });

  it('beside them a healer covers partitions that were made or attached since, and brings what they hold', async () => {
    const sides = { primary: local.database, secondary: ec2.database };
    for (const side of [local, ec2]) {
      await side.run('create table part (id int primary key, note text) partition by range (id)');
      await side.track('part');
      await side.run('create table low partition of part for values from (0) to (10)');
      await side.run('create table high (id int primary key, note text)');
    }
    await local.run("insert into high values (11, 'before it was attached'); insert into low values (1, 'by name')");
    for (const side of [local, ec2])
      await side.run('alter table part attach partition high for values from (10) to (20)');
    const both = await Promise.all([coverNewPartitions(sides), coverNewPartitions(sides)]);
    expect([...new Set(both.flat())]).to.deep.equal(['part']);
    expect((await local.entries()).filter(({ whole }) => whole).map(({ table }) => table)).to.deep.equal(['part']);
    expect(await coverNewPartitions(sides)).to.deep.equal([]);
    expect(await local.entered("insert into low values (2, 'by name')")).to.deep.equal(['part +2']);
    expect(await ec2.run('insert into high values (12)').catch((error: unknown) => error)).to.include({
      code: '25006',
    });
    await drainLedger(sides, new AbortController().signal);
    const { rows } = await ec2.pool.query('select id from part order by 1');
    expect(rows).to.deep.equal([{ id: 1 }, { id: 2 }, { id: 11 }]);
  });

  it('and leaves a table alone of which more is wrong than that', async () => {
    await local.run('create table part (id int primary key) partition by range (id)');
    await local.track('part');
    await local.run(`create table low partition of part for values from (0) to (10);
      alter table part disable trigger sensorctl_gate`);
    const sides = { primary: local.database, secondary: ec2.database };
    expect(await coverNewPartitions(sides)).to.deep.equal([]);
    await local.run('alter table part enable always trigger sensorctl_gate');
    expect(await coverNewPartitions(sides), 'what was written meanwhile is in no entry').to.deep.equal([]);
  });

  it('wait for a repair that holds the table', async () => {
    const batch = await commit('a');
    const repair = await ec2.pool.connect();
    try {
      await repair.query(
        "begin; select pg_advisory_xact_lock(hashtextextended('sensorctl.target water_level_readings', 0))",
      );
      const sending = new SecondaryWriter(ec2.database).write(batch);
      for (;;) {
        const { rows } = await ec2.pool.query("select from pg_locks where locktype = 'advisory' and not granted");
        if (rows.length > 0) break;
      }
      expect(await sensorsOn(ec2)).to.deep.equal([]);
      await repair.query('commit');
      expect(await sending).to.deep.equal({ refused: [] });
    } finally {
      repair.release(true);
    }
  });
});
