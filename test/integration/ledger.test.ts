import { expect } from 'chai';
import { unitsOf, type Reading } from '../support/readings.js';
import type { CommittedBatch, DualWriteRepository } from '../../src/lib/repository/index.js';
import { eventually, readContent, Stage } from '../support/cli.js';

const TODAY = '2025-07-01T12:00:00.000000Z';

const READ_LEDGER = `
  select table_name, times::text, readings, state, reason, sensor_id, keys::text from sensorctl.ledger order by table_name, times`;

/** Ends the session that commits, after it has done everything else: nothing of it may stay. */
const END_SESSION_AT_COMMIT = (table: string): string => `
  create or replace function end_session() returns trigger language plpgsql as
    'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
  create constraint trigger ends_session after insert on ${table} deferrable initially deferred
    for each row execute function end_session()`;

function reading(time = TODAY, about: Partial<Reading> = {}): Reading {
  const values = { level_cm: 1 };
  return { table: 'water_level_readings', time, sensorId: 'A', sensorType: 'water-level', values, ...about };
}

const weather = (time: string): Reading => ({
  ...{ table: 'sensor_readings', time, sensorId: 'W', sensorType: 'weather' },
  values: { sensor_type: 'weather', value: '{}' },
});

describe('the ledger', function () {
  this.timeout(30_000);
  let stage: Stage;
  let repository: DualWriteRepository;
  let close: () => Promise<void>;

  before(async () => {
    stage = await Stage.open('ledger');
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
    return (await repository.primary.write({ units: unitsOf(readings), rejects: [] }))[0]!;
  }

  async function readLedger(): Promise<Record<string, unknown>[]> {
    return (await stage.local.query<Record<string, unknown>>(READ_LEDGER)).rows;
  }

  /** As every reader sees them. */
  async function readStates(): Promise<string[]> {
    const { rows } = await stage.local.query<{ state: string }>('select state from sensorctl.ledger_state');
    return rows.map(({ state }) => state);
  }

  /** Of the readings; rows that are updated are entered by their keys. */
  async function rangesOf(...readings: Reading[]): Promise<unknown[]> {
    await write(...readings);
    return (await readLedger()).filter(({ keys }) => keys === null).map(({ times }) => times);
  }

  it('holds a pending entry for each table from the commit on, exact to the microsecond', async () => {
    await write(reading('2025-07-01T12:00:00.000001Z'), weather('2025-07-01T12:00:30.5Z'));
    const entry = { readings: 1, state: 'pending', reason: null, sensor_id: null, keys: null };
    expect(await readLedger()).to.deep.equal([
      {
        ...entry,
        table_name: 'sensor_readings',
        times: '{["2025-07-01 12:00:30.5+00","2025-07-01 12:00:30.500001+00")}',
      },
      { ...entry, table_name: 'sensor_registry', readings: 0, times: '{}', keys: '[["A"], ["W"]]' },
      {
        ...entry,
        table_name: 'water_level_readings',
        times: '{["2025-07-01 12:00:00.000001+00","2025-07-01 12:00:00.000002+00")}',
      },
    ]);
  });

  it('keeps 1970 and today of one batch as two ranges', async () => {
    expect(await rangesOf(reading('1970-01-01T00:00:00Z'), reading())).to.deep.equal([
      '{["1970-01-01 00:00:00+00","1970-01-01 00:00:00.000001+00"),' +
        '["2025-07-01 12:00:00+00","2025-07-01 12:00:00.000001+00")}',
    ]);
  });

  it('joins readings up to a minute apart, in whatever order they stand in the batch', async () => {
    const [at, near, far] = ['2025-07-01T12:00:00Z', '2025-07-01T12:01:00Z', '2025-07-01T12:02:00.000001Z'];
    expect(await rangesOf(reading(far), reading(at), reading(near))).to.deep.equal([
      '{["2025-07-01 12:00:00+00","2025-07-01 12:01:00.000001+00"),' +
        '["2025-07-01 12:02:00.000001+00","2025-07-01 12:02:00.000002+00")}',
    ]);
  });

  it('has no entry for a batch of which local refused every reading', async () => {
    await write(reading());
    await stage.local.query('delete from sensorctl.ledger');
    expect(await write(reading())).to.include({ accepted: 0, batchId: null });
    expect(await readLedger()).to.deep.equal([]);
  });

  it('is empty again once EC2 has confirmed, and remembers what is to be proved', async () => {
    repository.secondary?.enqueue(await write(reading(), weather(TODAY)));
    await repository.idle();
    expect(await readLedger()).to.deep.equal([]);
    const { rows } = await stage.local.query(
      'select table_name, times @> $1::timestamptz as holds, whole_table from sensorctl.unproven',
      [TODAY],
    );
    expect(rows).to.have.deep.members([
      { table_name: 'sensor_readings', holds: true, whole_table: false },
      { table_name: 'water_level_readings', holds: true, whole_table: false },
      { table_name: 'sensor_registry', holds: false, whole_table: true },
    ]);
  });

  it('keeps a batch that EC2 did not take as missed, with the reason', async () => {
    await stage.ec2.query('alter table sensor_readings rename to gone');
    try {
      repository.secondary?.enqueue(await write(weather(TODAY)));
      await repository.idle();
      const [entry, sensors] = await readLedger();
      expect(sensors).to.include({ state: 'missed', table_name: 'sensor_registry', keys: '[["W"]]' });
      expect(entry).to.include({ state: 'missed', readings: 1, table_name: 'sensor_readings' });
      expect(entry!.reason).to.be.a('string').that.contains('sensor_readings');
    } finally {
      await stage.ec2.query('alter table gone rename to sensor_readings');
    }
  });

  it('names the one reading that EC2 refuses for good, and EC2 gets the rest of its batch', async () => {
    await stage.ec2.query('alter table water_level_readings add constraint positive check (level_cm > 0)');
    try {
      const readings = Array.from({ length: 9 }, (_, index) =>
        reading(TODAY, { sensorId: `S${index}`, values: { level_cm: index === 4 ? -1 : 1 } }),
      );
      repository.secondary?.enqueue(await write(...readings));
      await repository.idle();
      const entries = await readLedger();
      const [refused] = entries;
      expect(entries).to.have.length(1);
      expect(refused).to.include({ state: 'refused', sensor_id: 'S4', readings: 1 });
      expect(refused!.times).to.equal('{["2025-07-01 12:00:00+00","2025-07-01 12:00:00.000001+00")}');
      expect(refused!.reason).to.be.a('string').that.contains('positive');
      // The sensor of that reading is a row of its own: EC2 holds all nine.
      expect((await stage.ec2.query('select from sensor_registry')).rowCount).to.equal(9);
      const { rows } = await stage.ec2.query('select sensor_id from water_level_readings order by 1');
      expect(rows.map(({ sensor_id: id }: { sensor_id: string }) => id).join()).to.equal('S0,S1,S2,S3,S5,S6,S7,S8');
    } finally {
      await stage.ec2.query('alter table water_level_readings drop constraint positive');
    }
  });

  it('counts what a consumer left pending as missed once the consumer has ended', async () => {
    await write(reading());
    expect(await readStates()).to.deep.equal(['pending', 'pending']);
    await close();
    expect(await readStates()).to.deep.equal(['missed', 'missed']);
    ({ repository, close } = await stage.openRepository());
  });

  it('counts what a consumer left pending as missed once its lease has run out', async () => {
    await write(reading());
    await stage.local.query("update sensorctl.consumer set lease_until = clock_timestamp() - interval '1 second'");
    expect(await readStates()).to.deep.equal(['missed', 'missed']);
  });

  for (const table of ['sensorctl.ledger', 'water_level_readings', 'sensor_registry', 'sensorctl.quarantine']) {
    it(`commits with the readings or not at all: a connection lost with ${table} written leaves nothing`, async () => {
      await stage.local.query(END_SESSION_AT_COMMIT(table));
      try {
        const reject = {
          side: 'local',
          faults: [{ reason: 'none', sqlstate: null, table: null, sensorId: null, time: null }],
          furtherFaults: 0,
        } as const;
        const failure = await repository.primary
          .write({ units: unitsOf([reading()]), rejects: [{ ...reject, messageId: null, body: 'body' }] })
          .catch((error: unknown) => error);
        expect(failure).to.be.instanceOf(Error);
      } finally {
        await stage.local.query(`drop trigger ends_session on ${table}`);
      }
      expect(await readLedger()).to.deep.equal([]);
      expect(Object.values(await readContent(stage.local)).flat()).to.deep.equal([]);
      expect((await stage.local.query('select 1 from sensorctl.quarantine')).rowCount).to.equal(0);
      expect(await write(reading())).to.include({ accepted: 1 });
      expect(await readLedger()).to.have.length(2);
    });
  }

  it('marks a commit whose answer was lost as missed, while its consumer lives', async () => {
    await write(reading());
    const forgotten =
      'update sensorctl.ledger set batch_id = gen_random_uuid(), committed_at = committed_at - $1::interval';
    await stage.local.query(forgotten, ['1 minute']);
    await eventually('the entry is missed', async () => (await readLedger())[0]?.state === 'missed');
    expect((await readLedger())[0]!.reason).to.contain('lost');
  });

  describe('of a consumer that writes to local only', () => {
    async function writeLocalOnly(): Promise<void> {
      const alone = await stage.openRepository('local-only');
      await alone.repository.primary.write({ units: unitsOf([reading('2025-07-02T00:00:00Z')]), rejects: [] });
      await alone.close();
    }

    it('stays empty before a migration has begun', async () => {
      await writeLocalOnly();
      expect(await readLedger()).to.deep.equal([]);
    });

    it('enters the batch as missed during a migration', async () => {
      repository.secondary?.enqueue(await write(reading()));
      await repository.idle();
      await writeLocalOnly();
      const [sensors, readings, ...rest] = await readLedger();
      expect(rest).to.deep.equal([]);
      expect(sensors).to.include({ state: 'missed', table_name: 'sensor_registry', reason: 'dual write was off' });
      expect(readings).to.include({ state: 'missed', readings: 1, reason: 'dual write was off' });
      expect(readings!.times).to.equal('{["2025-07-02 00:00:00+00","2025-07-02 00:00:00.000001+00")}');
    });

    it('does so from the first dual-written batch on, though EC2 never confirmed one', async () => {
      await write(reading());
      await writeLocalOnly();
      const states = (await readLedger()).map(({ table_name: table, state }) => `${String(table)} ${String(state)}`);
      expect(states).to.have.members([
        'sensor_registry pending',
        'sensor_registry missed',
        'water_level_readings pending',
        'water_level_readings missed',
      ]);
    });
  });
});
