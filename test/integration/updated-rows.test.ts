import { expect } from 'chai';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { unitsOf, type Reading } from '../support/readings.js';
import type { Side } from '../../src/lib/domain/side.js';
import { compare, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { compactLedger, markMissed, readGaps } from '../../src/lib/repository/ledger/ledger.js';
import { proveUnproven } from '../../src/lib/repository/cutover/prove-unproven.js';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import type { CommittedBatch } from '../../src/lib/repository/write/batch.js';
import { Stage } from '../support/cli.js';

const NOON = '2025-07-01T12:00:00Z';
const LATER = '2025-07-01T13:00:00Z';
const EVERYTHING: CompareRequest = {
  ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null },
  ...{ settleMs: 5_000, jobs: 1, limit: 100, resume: false },
};

function reading(sensorId: string, time = NOON, place: number | null = null): Reading {
  const values = { level_cm: 1, location_lat: place, location_lng: place };
  return { table: 'water_level_readings', time, sensorId, sensorType: 'water-level', values };
}

describe('rows that are updated, which the ledger knows by their keys', function () {
  this.timeout(60_000);
  let stage: Stage;
  let repository: DualWriteRepository;
  let close: () => Promise<void>;
  let sides: { primary: Database; secondary: Database };

  before(async () => {
    stage = await Stage.open('updated rows');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  beforeEach(async () => {
    await stage.empty();
    ({ repository, close } = await stage.openRepository());
    sides = { primary: open('local'), secondary: open('ec2') };
  });

  afterEach(async () => {
    await close();
    await Promise.all([closeDatabase(sides.primary), closeDatabase(sides.secondary)]);
  });

  function open(side: Side): Database {
    const connection = stage.connections[side];
    return openDatabase({ side, connection, poolMax: 5, callTimeoutMs: 10_000, applicationName: 'test' });
  }

  async function write(...readings: Reading[]): Promise<CommittedBatch> {
    return (await repository.primary.write({ units: unitsOf(readings), rejects: [] }))[0]!;
  }

  async function miss(...readings: Reading[]): Promise<void> {
    await markMissed(sides.primary.pool, new Map([[(await write(...readings)).batchId!, 'by the test']]));
  }

  async function repairAll(): Promise<void> {
    while ((await repairMissed({ ...sides, entries: 10, states: ['missed'] })).entries > 0);
  }

  async function compareAll(): Promise<CompareReport> {
    const hooks = {
      stop: new AbortController().signal,
      onDifference: () => Promise.resolve(),
      onProgress: () => undefined,
    };
    return (await compare(sides, EVERYTHING, hooks)).report;
  }

  async function registryOf(side: Side): Promise<unknown[]> {
    const { rows } = await stage[side].query<Record<string, unknown>>(
      'select sensor_id, sensor_type, last_seen::text, location_lat, location_lng, metadata::text from sensor_registry order by 1',
    );
    return rows;
  }

  async function count(side: Side, from: string): Promise<number> {
    return Number((await stage[side].query<{ n: string }>(`select count(*) as n from ${from}`)).rows[0]!.n);
  }

  it('come to EC2 by a repair as local has them, whoever wrote them, and settle into what is to be proved', async () => {
    await miss(reading('A', NOON, 1), reading('B'));
    await stage.local.query(`update sensor_registry set metadata = '{"by": "another program"}', location_lat = 9`);
    expect((await readGaps(sides.primary.pool)).map(({ table, from }) => [table, from])).to.deep.include([
      'sensor_registry',
      null,
    ]);
    await repairAll();
    expect(await registryOf('ec2')).to.deep.equal(await registryOf('local'));
    expect(await count('local', 'sensorctl.ledger')).to.equal(0);
    expect(await count('local', "sensorctl.unproven where whole_table and table_name = 'sensor_registry'")).to.equal(1);
    const proof = await proveUnproven(sides, new AbortController().signal, { withWhole: true });
    expect(proof.wholeDiffering).to.deep.equal([]);
    expect(await count('local', 'sensorctl.unproven')).to.equal(0);
  });

  it('are not pending where no entry names them: an edit of another program is a difference, and stays one', async () => {
    repository.secondary!.enqueue(await write(reading('A', NOON, 1)));
    await repository.idle();
    await stage.local.query(
      "update sensor_registry set location_lat = 15.1, location_lng = 103.2 where sensor_id = 'A'",
    );
    for (let time = 1; time <= 2; time += 1) {
      const { verdict, differences } = await compareAll();
      expect(verdict).to.equal('different');
      expect(differences.map(({ key, kind }) => [key.sensor_id, kind])).to.deep.equal([['A', 'different']]);
    }
  });

  it('are not invented by the repair of readings whose sensor local does not know', async () => {
    await stage.local.query("insert into water_level_readings (sensor_id, time, level_cm) values ('X', $1, 1)", [NOON]);
    await stage.local.query(
      `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
       select gen_random_uuid(), gen_random_uuid(), 'water_level_readings', tstzmultirange(tstzrange($1, $2)), 1, 'missed'`,
      [NOON, LATER],
    );
    await repairAll();
    expect(await registryOf('ec2')).to.deep.equal([]);
    expect(await compareAll()).to.include({ verdict: 'identical' });
  });

  it('are brought before readings that refer to them, with the time of their place', async () => {
    await stage.ec2.query(
      'alter table water_level_readings add constraint of_a_sensor foreign key (sensor_id) references sensor_registry',
    );
    try {
      await miss(reading('A', LATER, 1));
      const outcome = await repairMissed({
        ...{ ...sides, entries: 10 },
        states: ['missed'],
        tables: ['water_level_readings'],
      });
      expect(outcome).to.include({ inserted: 1, refused: 0 });
      expect(await registryOf('ec2')).to.deep.equal(await registryOf('local'));
      // An older place that arrives later does not win on either side.
      repository.secondary!.enqueue(await write(reading('A', NOON, 2)));
      await repository.idle();
      expect(await registryOf('ec2')).to.deep.equal(await registryOf('local'));
    } finally {
      await stage.ec2.query('alter table water_level_readings drop constraint of_a_sensor');
    }
  });

  it('that stand in an older entry are entered once, however long EC2 is away', async () => {
    for (let minute = 0; minute < 20; minute += 1) {
      await miss(reading('A', `2025-07-01T12:${String(minute).padStart(2, '0')}:00Z`), reading(`B${minute % 2}`));
    }
    await compactLedger(sides.primary.pool);
    const kept = 'sensorctl.ledger where keys is not null';
    expect(await count('local', kept), 'the first entry of each key').to.equal(2);
    await repairAll();
    expect(await registryOf('ec2')).to.deep.equal(await registryOf('local'));
  });

  it('are not left to an entry that a repair holds: it may have read them before', async () => {
    await miss(reading('A'));
    await miss(reading('A', LATER));
    const holder = await stage.local.connect();
    try {
      await holder.query('begin');
      await holder.query('select from sensorctl.ledger where keys is not null order by entry_id limit 1 for update');
      await compactLedger(sides.primary.pool);
      expect(await count('local', 'sensorctl.ledger where keys is not null')).to.equal(2);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await compactLedger(sides.primary.pool);
    expect(await count('local', 'sensorctl.ledger where keys is not null')).to.equal(1);
  });
});
