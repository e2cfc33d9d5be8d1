import { expect } from 'chai';
import { adviseOn } from '../../src/lib/cli/advice.js';
import type { Problem } from '../../src/lib/errors.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { unitsOf, type ColumnValue, type Reading } from '../support/readings.js';
import type { CommittedBatch, DualWriteRepository } from '../../src/lib/repository/index.js';
import { readContent, Stage } from '../support/cli.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(1);

const TIME = '2025-07-01T00:00:00.000001Z';

function waterLevel(values: Record<string, ColumnValue> = {}, about: Partial<Reading> = {}): Reading {
  return {
    ...{ table: 'water_level_readings', time: TIME, sensorId: 'A', sensorType: 'water-level', ...about },
    values: { level_cm: 1, ...values },
  };
}

function other(values: Record<string, ColumnValue> = {}, about: Partial<Reading> = {}): Reading {
  return {
    ...{ table: 'sensor_readings', time: TIME, sensorId: 'W', sensorType: 'weather', ...about },
    values: { sensor_type: 'weather', value: '{}', quality_score: 0.5, ...values },
  };
}

describe('the repository library', function () {
  this.timeout(30_000);
  let stage: Stage;
  let repository: DualWriteRepository;
  let close: () => Promise<void>;

  before(async () => {
    stage = await Stage.open('repository');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  beforeEach(async () => {
    await stage.empty();
    ({ repository, close } = await stage.openRepository());
  });

  afterEach(async () => {
    await close();
  });

  async function write(...readings: Reading[]): Promise<CommittedBatch> {
    const batches = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
    expect(batches).to.have.length(1);
    return batches[0]!;
  }

  async function send(batch: CommittedBatch): Promise<void> {
    const outcome = await repository.secondary!.send(batch);
    expect(outcome.confirmed, JSON.stringify(outcome)).to.equal(true);
    repository.settlement.settle(batch, outcome);
  }

  async function expectSidesAlike(): Promise<Record<string, string[]>> {
    const local = await readContent(stage.local);
    expect(await readContent(stage.ec2)).to.deep.equal(local);
    return local;
  }

  async function valuesOf(sql: string, side: 'local' | 'ec2' = 'local'): Promise<unknown[]> {
    const { rows } = await stage[side].query<Record<string, unknown>>(sql);
    return rows.flatMap((row) => Object.values(row));
  }

  describe('writing a batch', () => {
    it('states what local accepted and what it refused, and writes nothing to EC2', async () => {
      const first = await write(waterLevel(), waterLevel({}, { sensorId: 'B' }), other());
      expect(first).to.include({ accepted: 3, duplicates: 0, quarantinedAnew: 0 });
      const second = await write(waterLevel({ rssi: -70 }), waterLevel({}, { sensorId: 'C' }));
      expect(second).to.include({ accepted: 1, duplicates: 1 });
      expect(second.rows.map(({ shape, rows }) => [shape.table, rows])).to.deep.equal([
        ['sensor_registry', 1],
        ['water_level_readings', 1],
      ]);
      expect(await valuesOf('select count(*)::int from water_level_readings', 'ec2')).to.deep.equal([0]);
    });

    it('lets the first arrival of a key win, within a batch and across batches, and gives EC2 that one', async () => {
      const first = await write(waterLevel({ rssi: -1 }), waterLevel({ rssi: -2 }), waterLevel({ rssi: -3 }));
      expect(first).to.include({ accepted: 1, duplicates: 2 });
      const second = await write(waterLevel({ rssi: -4 }), waterLevel({ rssi: -5 }, { sensorId: 'B' }));
      await send(second);
      await send(first);
      const rows = await valuesOf('select rssi from water_level_readings order by sensor_id', 'ec2');
      expect(rows).to.deep.equal([-1, -5]);
      await expectSidesAlike();
    });

    it('changes nothing on EC2 when a batch is sent twice', async () => {
      const batch = await write(waterLevel({ rssi: -1 }), other());
      await send(batch);
      const once = await readContent(stage.ec2);
      await send(batch);
      expect(await readContent(stage.ec2)).to.deep.equal(once);
    });

    it('goes to local alone without a secondary', async () => {
      const alone = await stage.openRepository('local-only');
      const [batch] = await alone.repository.primary.write({ units: unitsOf([waterLevel()]), rejects: [] });
      expect(batch).to.include({ accepted: 1, batchId: null });
      expect(batch!.rows).to.deep.equal([]);
      await alone.close();
      expect(await valuesOf('select count(*)::int from water_level_readings', 'ec2')).to.deep.equal([0]);
    });

    it('takes thousands of readings of all tables at once', async () => {
      const readings = Array.from({ length: 6000 }, (_, index) => {
        const about = { sensorId: `S${index % 50}`, time: `2025-07-01T00:00:00.${String(index).padStart(6, '0')}Z` };
        return index % 2 === 0 ? waterLevel({}, about) : other({}, about);
      });
      await send(await write(...readings));
      expect((await expectSidesAlike()).water_level_readings).to.have.length(3000);
    });
  });

  describe('the registry', () => {
    it('follows accepted readings only', async () => {
      await send(await write(waterLevel({ location_lat: 1, location_lng: 2 })));
      const refusedOnly = await write(waterLevel({ location_lat: 8, location_lng: 9 }));
      expect(refusedOnly).to.include({ accepted: 0, duplicates: 1 });
      const registry = 'select location_lat, location_lng from sensor_registry';
      expect(await valuesOf(registry)).to.deep.equal([1, 2]);
      await expectSidesAlike();
    });

    it('holds the newest reading, and the location of the newest that had one, in whatever order they come', async () => {
      const at = (second: number) => ({ time: `2025-07-01T00:00:0${second}Z` });
      await send(await write(waterLevel({}, at(9))));
      await send(await write(waterLevel({ location_lat: 5, location_lng: 5 }, at(5))));
      await send(await write(waterLevel({ location_lat: 1, location_lng: 1 }, at(1))));
      await send(await write(waterLevel({ location_lat: 8, location_lng: null }, at(8))));
      const columns = "to_char(last_seen, 'SS'), location_lat, location_lng, sensor_type";
      expect(await valuesOf(`select ${columns} from sensor_registry`)).to.deep.equal(['09', 5, 5, 'water-level']);
      await expectSidesAlike();
    });

    it('gives ties to the greater value', async () => {
      const twins = [
        waterLevel({ location_lat: 2, location_lng: 1 }),
        other({ location_lat: 1, location_lng: 9 }, { sensorId: 'A', sensorType: 'weather' }),
      ];
      for (const order of [twins, twins.toReversed()]) {
        await stage.empty();
        for (const reading of order) await send(await write(reading));
        const columns = 'sensor_type, location_lat, location_lng';
        expect(await valuesOf(`select ${columns} from sensor_registry`)).to.deep.equal(['weather', 2, 1]);
      }
    });

    it('decides ties alike on both sides where their collations differ', async () => {
      await stage.ec2.query('alter table sensor_registry alter sensor_type type varchar(50) collate "und-x-icu"');
      try {
        // By bytes `X` comes before `w`, in a dictionary after it.
        await send(await write(other({ sensor_type: 'X' }, { sensorId: 'A', sensorType: 'X' })));
        await send(await write(waterLevel()));
        await expectSidesAlike();
      } finally {
        await stage.ec2.query('alter table sensor_registry alter sensor_type type varchar(50) collate "default"');
      }
    });

    for (const round of [0, 1, 2, 3, 4, 5]) {
      it(`ends alike on both sides however batches are cut, ordered and repeated (round ${round})`, async () => {
        const random = createRandom(SEED + round);
        const readings = Array.from({ length: 120 }, () => randomReading(random));
        const batches: CommittedBatch[] = [];
        while (readings.length > 0) {
          batches.push(await write(...readings.splice(0, 1 + Math.floor(random() * 15))));
        }
        const twice = shuffle([...batches, ...batches.filter(() => random() < 0.3)], random);
        const sent = twice.filter((batch) => batch.accepted > 0);
        for (let next = 0; next < sent.length; next += 3) {
          await Promise.all(sent.slice(next, next + 3).map((batch) => send(batch)));
        }
        const { sensor_registry: registry } = await expectSidesAlike();
        expect(registry).to.deep.equal(await expectedRegistry());
      });
    }

    /** The rules in other words, from what local holds. */
    async function expectedRegistry(): Promise<string[]> {
      const { rows } = await stage.local.query<Seen>(
        `select sensor_id, 'water-level' as type, time::text, location_lat as lat, location_lng as lng from water_level_readings
         union all select sensor_id, sensor_type, time::text, location_lat, location_lng from sensor_readings`,
      );
      const sensors = [...new Set(rows.map((row) => row.sensor_id))];
      const lines = sensors.map((sensor) => {
        const own = rows.filter((row) => row.sensor_id === sensor);
        const newest = greatest(own, (row) => [row.time, row.type]);
        const located = own.filter((row) => row.lat !== null && row.lng !== null);
        const place = located.length === 0 ? undefined : greatest(located, (row) => [row.time, row.lat!, row.lng!]);
        const seen = `"${newest.time}",${place?.lat ?? ''},${place?.lng ?? ''}`;
        return `(${sensor},${newest.type},,,,${seen},,t)`;
      });
      return lines.sort();
    }
  });

  describe('a reading that local refuses', () => {
    it('is quarantined alone, with the SQLSTATE and its message, and the rest is stored', async () => {
      const good = Array.from({ length: 20 }, (_, index) => waterLevel({ rssi: index }, { sensorId: `S${index}` }));
      const source = { messageId: 'message-1', body: '{"the":"body"}' };
      const tooLarge = waterLevel({ level_cm: 123456 }, { sensorId: 'L', source });
      const tooLong = waterLevel({}, { sensorId: 'x'.repeat(256), source: { messageId: 'message-2', body: 'other' } });
      const readings = [...good.slice(0, 7), tooLarge, ...good.slice(7, 8), tooLong, ...good.slice(8)];
      const batches = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
      for (const batch of batches) if (batch.accepted > 0) await send(batch);
      expect(sumOf(batches, (batch) => batch.accepted)).to.equal(20);
      expect(sumOf(batches, (batch) => batch.duplicates)).to.equal(0);
      expect(sumOf(batches, (batch) => batch.quarantinedAnew)).to.equal(2);
      const { rows } = await stage.local.query(
        `select side, sqlstate, table_name, sensor_id, reading_time, message_id, body from sensorctl.quarantine order by message_id`,
      );
      const common = { side: 'local', table_name: 'water_level_readings', reading_time: TIME };
      expect(rows).to.deep.equal([
        { ...common, sqlstate: '22003', sensor_id: 'L', message_id: 'message-1', body: source.body },
        { ...common, sqlstate: '22001', sensor_id: 'x'.repeat(256), message_id: 'message-2', body: 'other' },
      ]);
      expect((await expectSidesAlike()).water_level_readings).to.have.length(20);
    });

    it('neither enters the registry nor the ledger', async () => {
      await repository.primary.write({ units: unitsOf([waterLevel({ level_cm: 123456 })]), rejects: [] });
      expect(await valuesOf('select sensor_id from sensor_registry')).to.deep.equal([]);
      expect(await valuesOf('select batch_id from sensorctl.ledger')).to.deep.equal([]);
    });
  });

  describe('EC2', () => {
    afterEach(async () => {
      await stage.local.query('alter table water_level_readings alter "time" type timestamptz');
      await stage.ec2.query('alter table water_level_readings alter "time" type timestamptz');
      await stage.ec2.query('alter table water_level_readings alter level_cm type numeric(5,2)');
      await stage.ec2.query(`alter database "${stage.connections.ec2.database}" reset timezone`);
    });

    const READ_ROW = `
      select to_char(time, 'YYYY-MM-DD HH24:MI:SS.US') as time, level_cm::text, voltage::text, rssi::text, location_lat::text,
        location_lng::text, quality_score::text from water_level_readings`;

    for (const [local, ec2] of [
      ['timestamptz', 'timestamptz'],
      ['timestamp', 'timestamptz'],
      ['timestamptz', 'timestamp'],
    ] as const) {
      it(`gets exactly what local stored, ${local} to ${ec2}, though its time zone and numeric scale differ`, async () => {
        await stage.local.query(`alter table water_level_readings alter "time" type ${local}`);
        await stage.ec2.query(`alter table water_level_readings alter "time" type ${ec2}`);
        await stage.ec2.query('alter table water_level_readings alter level_cm type numeric');
        await stage.ec2.query(`alter database "${stage.connections.ec2.database}" set timezone = 'Asia/Bangkok'`);
        await close();
        ({ repository, close } = await stage.openRepository());
        const values = { level_cm: '12.345', voltage: -0, rssi: '2.5', location_lat: '-0', location_lng: 0.1 + 0.2 };
        const batch = await write(
          waterLevel({ ...values, quality_score: 0.555 }, { time: '2025-07-01T20:30:00.123457Z' }),
        );
        await send(batch);
        const stored = {
          ...{ time: '2025-07-01 20:30:00.123457', level_cm: '12.35', voltage: '0.00', rssi: '3' },
          ...{ location_lat: '-0', location_lng: '0.30000000000000004', quality_score: '0.56' },
        };
        expect((await stage.local.query(READ_ROW)).rows).to.deep.equal([stored]);
        expect((await stage.ec2.query(READ_ROW)).rows).to.deep.equal([stored]);
      });
    }

    it('gets any text and any JSON as local stored it', async () => {
      const ids = ['ünï-漢🔑', 'a"b\\c', `'{},`, 'NULL', ' ', 'a\tb\nc'];
      const value = '{"b": [1.10, -0, 1e400], "a": "\\"{}\\\\ü漢🔑", "long": 12345678901234567890.123}';
      await send(await write(...ids.map((sensorId) => other({ value, metadata: '"x"' }, { sensorId }))));
      const { sensor_readings: rows } = await expectSidesAlike();
      expect(rows).to.have.length(ids.length);
      const stored = await valuesOf(
        `select (value -> 'b')::text || (value -> 'long')::text from sensor_readings limit 1`,
        'ec2',
      );
      expect(stored[0]).to.match(/^\[1\.10, 0, 10{400}\]12345678901234567890\.123$/);
    });

    it('takes a batch before its sensor is known there, under a foreign key to sensor_registry', async () => {
      await stage.ec2.query(
        'alter table water_level_readings add constraint known foreign key (sensor_id) references sensor_registry',
      );
      try {
        await send(await write(waterLevel()));
        await expectSidesAlike();
      } finally {
        await stage.ec2.query('alter table water_level_readings drop constraint known');
      }
    });

    it('holds a batch that is sent twice only once, though it has no unique key', async () => {
      await stage.ec2.query('alter table water_level_readings drop constraint water_level_readings_key');
      try {
        const batch = await write(waterLevel(), waterLevel({}, { sensorId: 'B' }));
        await send(batch);
        await send(batch);
        await expectSidesAlike();
      } finally {
        await stage.ec2.query(
          'alter table water_level_readings add constraint water_level_readings_key unique (sensor_id, time)',
        );
      }
    });
  });

  it('does not open on a database that was never prepared', async () => {
    const bare = await Stage.open('unprepared');
    const failure = await bare.openRepository().catch((error: unknown) => error);
    expect(failure).to.have.property('message', 'the local database was never prepared');
    const { problem } = failure as { problem: Problem };
    expect(adviseOn(problem)).to.contain('sensorctl init');
    await bare.close();
  });
});

interface Seen {
  readonly sensor_id: string;
  readonly type: string;
  readonly time: string;
  readonly lat: number | null;
  readonly lng: number | null;
}

/** Few sensors, times and places, so that keys collide and ties happen. */
function randomReading(random: () => number): Reading {
  const pick = (count: number) => Math.floor(random() * count);
  const about = { sensorId: `S${pick(4)}`, time: `2025-07-01T00:00:${String(10 + pick(12))}.5Z` };
  const values = {
    location_lat: random() < 0.4 ? null : pick(3),
    location_lng: random() < 0.4 ? null : pick(3),
  };
  if (random() < 0.5) return waterLevel({ ...values, rssi: -pick(50) }, about);
  const type = ['weather', 'aaa', 'zzz'][pick(3)]!;
  return other({ ...values, sensor_type: type, value: String(pick(50)) }, { ...about, sensorType: type });
}

function shuffle<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

/** The item whose parts, compared one after the other, are the greatest. */
function greatest<Item>(items: readonly Item[], partsOf: (item: Item) => readonly (string | number)[]): Item {
  return items.reduce((best, item) => {
    const [parts, bestParts] = [partsOf(item), partsOf(best)];
    const place = parts.findIndex((part, index) => part !== bestParts[index]);
    return place >= 0 && parts[place]! > bestParts[place]! ? item : best;
  });
}

function sumOf<Item>(items: readonly Item[], value: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + value(item), 0);
}
