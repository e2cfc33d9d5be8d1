import { expect } from 'chai';
import type pg from 'pg';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { Side } from '../../src/lib/domain/side.js';
import { compare, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { Stage } from '../support/cli.js';

const NOON = '2025-07-01T12:00:00.000001Z';
const LATER = '2025-07-01T12:10:00Z';
const WATER = 'water_level_readings';
/** What a look reads last. */
const LAST_OF_LOOK = /pg_current_snapshot\(\)::text as snapshot/;
/** A look's first statement on EC2. */
const LISTING = /^select 0, [^]* from \S*"water_level_readings"(?![^]*unnest)/;

const EVERYTHING: CompareRequest = {
  ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null },
  ...{ settleMs: 0, jobs: 1, limit: 100, resume: false },
};

interface Entry {
  readonly state?: 'pending' | 'missed' | 'refused';
  readonly from?: string;
  /** A microsecond after `from` where left out. */
  readonly to?: string;
  readonly sensorId?: string | null;
  /** Whose consumer has died. */
  readonly dead?: boolean;
}

describe('compare and the ledger', function () {
  this.timeout(30_000);
  let stage: Stage;
  let sides: { primary: Database; secondary: Database };
  let close: () => Promise<void>;

  before(async () => {
    stage = await Stage.open('compare ledger');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  beforeEach(async () => {
    await stage.empty();
    await stage.local.query('truncate sensorctl.comparison');
    ({ close } = await stage.openRepository());
    sides = { primary: open('local'), secondary: open('ec2') };
  });

  afterEach(async () => {
    await Promise.all([closeDatabase(sides.primary), closeDatabase(sides.secondary), close()]);
  });

  function open(side: Side, login: { user?: string; password?: string } = {}): Database {
    const connection = { ...stage.connections[side], ...login };
    return openDatabase({ side, connection, poolMax: 5, callTimeoutMs: 10_000, applicationName: 'test' });
  }

  async function compareSides(request: Partial<CompareRequest> = {}): Promise<CompareReport> {
    const { report } = await compare(
      sides,
      { ...EVERYTHING, ...request },
      {
        stop: new AbortController().signal,
        onDifference: () => Promise.resolve(),
        onProgress: () => undefined,
      },
    );
    return report;
  }

  async function store(pools: readonly pg.Pool[], sensorIds: readonly string[], time = NOON): Promise<void> {
    for (const pool of pools) {
      await pool.query(
        'insert into water_level_readings (sensor_id, time, level_cm) select unnest($1::text[]), $2::timestamptz, 1',
        [sensorIds, time],
      );
    }
  }

  async function storeOnBoth(sensorIds: readonly string[], time = NOON): Promise<void> {
    await store([stage.local, stage.ec2], sensorIds, time);
  }

  async function enter({ state = 'pending', from = NOON, to, sensorId = null, dead = false }: Entry): Promise<void> {
    await stage.local.query(
      `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state, sensor_id)
       select gen_random_uuid(), case when $4 then gen_random_uuid() else consumer_id end, 'water_level_readings',
         tstzmultirange(tstzrange($1, coalesce($5, $1::timestamptz + interval '1 microsecond'))), 1, $2, $3 from sensorctl.consumer where ended_at is null limit 1`,
      [from, state, sensorId, dead, to],
    );
  }

  /** Does something between the first look and the second. */
  function onceLooked(work: () => Promise<void>): void {
    onStatement(sides.primary, LAST_OF_LOOK, 'after', async (looks) => {
      if (looks === 1) await work();
    });
  }

  function classes({ differences }: CompareReport): Record<string, string> {
    return Object.fromEntries(differences.map((each) => [each.key.sensor_id ?? '', each.class]));
  }

  async function readUnproven(): Promise<string[]> {
    const { rows } = await stage.local.query<{ times: string }>(
      'select times::text as times from sensorctl.unproven order by 1',
    );
    return rows.map(({ times }) => times);
  }

  describe('what EC2 lacks', () => {
    beforeEach(async () => {
      await storeOnBoth(['A'], LATER);
      await store([stage.local], ['LOST', 'OTHER']);
    });

    it('is unexplained where the ledger has no entry for its time', async () => {
      await enter({ from: '2025-07-01T12:00:00.000002Z', to: LATER });
      const report = await compareSides();
      expect(report.verdict).to.equal('different');
      expect(classes(report)).to.deep.equal({ LOST: 'unexplained', OTHER: 'unexplained' });
      expect(report.tables.find(({ table }) => table === WATER)).to.deep.include({
        ...{ missingOnEc2: 2, missingOnLocal: 0, different: 0, pending: 0, knownGap: 0, unexplained: 2 },
      });
    });

    it('is pending, and both sides identical, while a living consumer has its time in hand', async () => {
      await enter({});
      const report = await compareSides();
      expect(classes(report)).to.deep.equal({ LOST: 'pending', OTHER: 'pending' });
      expect(report.verdict).to.equal('identical');
    });

    it('is a known gap, and a difference, where an entry says missed or its consumer is dead', async () => {
      for (const entry of [{ state: 'missed' }, { dead: true }] as const) {
        await stage.local.query('delete from sensorctl.ledger');
        await enter(entry);
        const report = await compareSides();
        expect(classes(report)).to.deep.equal({ LOST: 'known gap', OTHER: 'known gap' });
        expect(report.verdict).to.equal('different');
      }
    });

    it('is a known gap where it was refused: that reading alone, whenever the refusal came', async () => {
      onceLooked(() => enter({ state: 'refused', sensorId: 'LOST' }));
      expect(classes(await compareSides())).to.deep.equal({ LOST: 'known gap', OTHER: 'unexplained' });
    });

    it('is not explained by an entry that came after the first look', async () => {
      for (const state of ['pending', 'missed'] as const) {
        await stage.local.query('delete from sensorctl.ledger');
        onceLooked(() => enter({ state }));
        const report = await compareSides({ settleMs: 500 });
        expect(classes(report), state).to.deep.equal({ LOST: 'unexplained', OTHER: 'unexplained' });
        expect(report.verdict).to.equal('different');
      }
    });

    it('is no difference once it has arrived within --settle', async () => {
      await enter({});
      onStatement(sides.primary, LAST_OF_LOOK, 'after', async (looks) => {
        if (looks !== 3) return;
        await store([stage.ec2], ['LOST', 'OTHER']);
        await stage.local.query('delete from sensorctl.ledger');
      });
      const report = await compareSides({ settleMs: 10_000 });
      expect(report.verdict).to.equal('identical');
      expect(report.differences).to.deep.equal([]);
    });

    it('is not lost when it arrives and is settled within a look, after its rows were read and before the ledger is', async () => {
      await enter({});
      let looks = 0;
      onStatement(sides.secondary, LISTING, 'after', async () => {
        looks += 1;
        if (looks !== 2) return;
        await store([stage.ec2], ['LOST', 'OTHER']);
        await stage.local.query('delete from sensorctl.ledger');
      });
      expect((await compareSides({ settleMs: 10_000 })).differences).to.deep.equal([]);
      expect(looks).to.be.greaterThan(1);
    });

    it('is unexplained once the entries that hid it have settled without bringing it', async () => {
      await enter({});
      onceLooked(async () => {
        await stage.local.query('delete from sensorctl.ledger');
        await enter({});
      });
      expect(classes(await compareSides({ settleMs: 10_000 }))).to.deep.equal({
        ...{ LOST: 'unexplained', OTHER: 'unexplained' },
      });
    });

    it('is not waited for in a table that no batch writes: two looks, whatever --settle allows', async () => {
      await Promise.all(
        [stage.local, stage.ec2].map((pool) => pool.query('create table note (id int primary key, word text)')),
      );
      await stage.local.query("insert into note values (1, 'here'), (2, 'here alone')");
      await stage.ec2.query("insert into note values (1, 'there')");
      const startedAt = performance.now();
      const { tables } = await compareSides({ tables: ['note'], settleMs: 20_000 });
      expect(performance.now() - startedAt).to.be.below(10_000);
      await Promise.all([stage.local, stage.ec2].map((pool) => pool.query('drop table note')));
      expect(tables[0]).to.include({ missingOnEc2: 1, different: 1, unexplained: 2, pending: 0 });
    });

    it('is looked for a second time, even with --settle 0s and without a ledger entry', async () => {
      onceLooked(() => store([stage.ec2], ['LOST', 'OTHER']));
      expect((await compareSides()).differences).to.deep.equal([]);
    });
  });

  it('takes no reading for extra on EC2, or for missing, that came while it looked', async () => {
    await store([stage.local], ['LOST']);
    let came = 0;
    onStatement(sides.secondary, LISTING, 'before', async () => {
      came += 1;
      await storeOnBoth([`CAME-${came}`]);
    });
    expect(classes(await compareSides())).to.deep.equal({ LOST: 'unexplained' });
    expect(came, 'came within both looks').to.be.greaterThan(1);
  });

  describe('the registry', () => {
    const READINGS = `insert into water_level_readings (sensor_id, time, level_cm, location_lat, location_lng)
      select 'S', $1::timestamptz, 1, $2::float8, $2::float8`;
    const REGISTRY = `insert into sensor_registry (sensor_id, sensor_type, last_seen, location_lat, location_lng)
      values ('S', 'water-level', $1, $2, $2) on conflict (sensor_id) do update
      set last_seen = excluded.last_seen, location_lat = excluded.location_lat, location_lng = excluded.location_lng`;
    const LOCATED = `insert into sensorctl.newest_part
      values ('sensor_registry', '{S}', '{location_lat,location_lng}', ($1::timestamptz)::text, array[$2::float8::text, $2::float8::text])
      on conflict (table_name, key, part) do update set newest = excluded.newest, content = excluded.content`;

    /** What a batch with one reading does on one side; a reading without a place leaves the sensor where it was. */
    async function apply(pool: pg.Pool, minute: number, lat: number | null): Promise<void> {
      const time = timeOf(minute);
      await pool.query(READINGS, [time, lat]);
      if (lat === null) {
        await pool.query('update sensor_registry set last_seen = $1', [time]);
        return;
      }
      await pool.query(REGISTRY, [time, lat]);
      await pool.query(LOCATED, [time, lat]);
    }

    async function applyOnBoth(minute: number, lat: number | null): Promise<void> {
      await apply(stage.local, minute, lat);
      await apply(stage.ec2, minute, lat);
    }

    function timeOf(minute: number): string {
      return `2025-07-01T12:${String(minute).padStart(2, '0')}:00Z`;
    }

    /** As a batch does: its reading by the time, the sensor by its key. */
    async function enterMinute(minute: number, state: Entry['state'] = 'pending'): Promise<void> {
      await enter({ state, from: timeOf(minute) });
      await stage.local.query(
        `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, keys, readings, state)
         select gen_random_uuid(), consumer_id, 'sensor_registry', '{}', '[["S"]]', 0, $1
         from sensorctl.consumer where ended_at is null limit 1`,
        [state],
      );
    }

    async function compareRegistry(request: Partial<CompareRequest> = {}): Promise<CompareReport> {
      return await compareSides({ tables: ['sensor_registry'], settleMs: 10_000, ...request });
    }

    beforeEach(async () => {
      await applyOnBoth(0, 1);
    });

    it('may lag by what the ledger holds, and by nothing else', async () => {
      await apply(stage.local, 1, 2);
      await enterMinute(1);
      expect((await compareRegistry({ settleMs: 0 })).verdict).to.equal('identical');
      await stage.local.query("update sensorctl.ledger set state = 'missed'");
      expect(classes(await compareRegistry())).to.deep.equal({ S: 'known gap' });
      await stage.local.query('delete from sensorctl.ledger');
      expect(classes(await compareRegistry())).to.deep.equal({ S: 'unexplained' });
    });

    it('raises no alarm over a sensor that goes to and fro between two places', async () => {
      await apply(stage.local, 1, 2);
      await enterMinute(1);
      onStatement(sides.primary, LAST_OF_LOOK, 'after', async (looks) => {
        if (looks > 1) return;
        await apply(stage.ec2, 1, 2);
        await applyOnBoth(2, 1);
        await stage.local.query('delete from sensorctl.ledger');
        await apply(stage.local, 3, 2);
        await enterMinute(3);
      });
      const report = await compareRegistry();
      expect(classes(report)).to.deep.equal({ S: 'pending' });
      expect(report.verdict).to.equal('identical');
    });

    for (const [column, damage] of [
      ['location_lat', 'location_lat = 7'],
      ['last_seen', "last_seen = '2199-01-01Z'"],
      ['sensor_type', "sensor_type = 'moisture', last_seen = '2199-01-01Z'"],
      ['manufacturer', "manufacturer = 'NOBODY'"],
    ] as const) {
      it(`shows a wrong ${column}, though the sensor never rests`, async () => {
        await stage.ec2.query(`update sensor_registry set ${damage}`);
        onStatement(sides.primary, LAST_OF_LOOK, 'after', async (looks) => {
          await stage.local.query('delete from sensorctl.ledger');
          await apply(stage.local, looks, null);
          await stage.ec2.query('update sensor_registry set last_seen = greatest(last_seen, $1::timestamptz)', [
            timeOf(looks - 1),
          ]);
          await enterMinute(looks);
        });
        const { verdict, differences } = await compareRegistry();
        expect(verdict).to.equal('different');
        expect(differences).to.have.length(1);
        expect(differences[0]).to.include({ kind: 'different', class: 'unexplained' });
        expect(differences[0]?.columns).to.have.property(column);
      });
    }

    it('leaves the readings their time to settle, however long it lags itself', async () => {
      await apply(stage.local, 1, 2);
      await enterMinute(1);
      await store([stage.local], ['LOST'], timeOf(2));
      await enter({ from: timeOf(2) });
      let looks = 0;
      onStatement(sides.secondary, LISTING, 'after', async () => {
        looks += 1;
        if (looks === 3)
          await stage.local.query('delete from sensorctl.ledger where times @> $1::timestamptz', [timeOf(2)]);
      });
      const report = await compareSides({ settleMs: 1_500 });
      expect(report.verdict).to.equal('different');
      expect(classes(report)).to.include({ LOST: 'unexplained' });
    });
  });

  describe('the proof', () => {
    const HOUR = '{["2025-07-01 12:00:00+00","2025-07-01 13:00:00+00")}';

    beforeEach(async () => {
      await storeOnBoth(['A', 'B']);
      await stage.local.query(
        `insert into sensorctl.unproven (table_name, times) values ('water_level_readings', $1)`,
        [HOUR],
      );
    });

    it('is what an identical comparison leaves: what settled before it, as far as it looked', async () => {
      const request = { from: micros('2025-07-01T11:00:00Z'), to: micros('2025-07-01T12:30:00Z') };
      await compareSides(request);
      expect(await readUnproven()).to.deep.equal(['{["2025-07-01 12:30:00+00","2025-07-01 13:00:00+00")}']);
      await compareSides({ ...request, to: micros('2025-07-01T14:00:00Z') });
      expect(await readUnproven()).to.deep.equal([]);
    });

    it('is not of what settled after the comparison began', async () => {
      await stage.local.query("update sensorctl.unproven set settled_at = clock_timestamp() + interval '1 hour'");
      await compareSides({ from: micros('2025-07-01T11:00:00Z') });
      expect(await readUnproven()).to.deep.equal([HOUR]);
    });

    it('is not of other tables', async () => {
      await compareSides({ tables: ['moisture_readings'], from: micros('2025-07-01T11:00:00Z') });
      expect(await readUnproven()).to.deep.equal([HOUR]);
    });

    it('is not left by a difference', async () => {
      await stage.ec2.query("update water_level_readings set level_cm = 2 where sensor_id = 'B'");
      await compareSides({ from: micros('2025-07-01T11:00:00Z'), to: micros('2025-07-01T14:00:00Z') });
      expect(await readUnproven()).to.deep.equal([HOUR]);
    });

    it('is not of the ranges in which rows are on their way: a lost one would hide among them', async () => {
      await store([stage.local], ['LOST']);
      await enter({});
      const range = { from: micros('2025-07-01T11:00:00Z'), to: micros('2025-07-01T14:00:00Z') };
      expect((await compareSides({ ...range, bucketMicros: 60_000_000 })).verdict).to.equal('identical');
      expect(await readUnproven()).to.deep.equal(['{["2025-07-01 12:00:00+00","2025-07-01 12:01:00+00")}']);
    });

    it('survives consumers that rewrite what is unproven at the same time', async () => {
      const other = await stage.local.connect();
      await other.query("begin; update sensorctl.unproven set settled_at = settled_at - interval '1 minute'");
      const comparing = compareSides({ from: micros('2025-07-01T11:00:00Z'), to: micros('2025-07-01T14:00:00Z') });
      await stage.eventuallyBlocked();
      await other.query('commit');
      other.release();
      await comparing;
      expect(await readUnproven()).to.deep.equal([]);
    });
  });

  describe('the record', () => {
    async function readRecords(): Promise<Record<string, unknown>[]> {
      const { rows } = await stage.local.query<Record<string, unknown>>(
        `select verdict, report -> 'tables' -> 0 ->> 'table' as table_name, finished_at is not null as finished
         from sensorctl.comparison order by comparison_id`,
      );
      return rows;
    }

    it('holds verdict and report of each comparison', async () => {
      await storeOnBoth(['A']);
      await compareSides();
      await store([stage.local], ['LOST']);
      await compareSides();
      const finished = { table_name: WATER, finished: true };
      expect(await readRecords()).to.deep.equal([
        { verdict: 'identical', ...finished },
        { verdict: 'different', ...finished },
      ]);
    });

    it('is not attempted by a role that may only read; its verdict is the same, and proves nothing', async () => {
      const role = `reader_${stage.connections.local.database.slice(-8)}`;
      for (const pool of [stage.local, stage.ec2]) {
        await pool.query(`create role ${role} login password 'only-for-this-test'`);
        await pool.query(`alter role ${role} set default_transaction_read_only = on`);
        await pool.query(`grant usage on schema sensorctl to ${role}; grant select on all tables in schema public to ${role};
          grant select on all tables in schema sensorctl to ${role}`);
      }
      const writers = sides;
      try {
        for (const readOnly of ['on', 'off']) {
          await stage.local.query(`alter role ${role} set default_transaction_read_only = ${readOnly}`);
          await store([stage.local], [`LOST-${readOnly}`]);
          await enter({ state: 'missed' });
          await stage.local.query(
            `insert into sensorctl.unproven (table_name, times) values ('moisture_readings', '{[2025-07-01,2025-07-02)}')`,
          );
          const login = { user: role, password: 'only-for-this-test' };
          sides = { primary: open('local', login), secondary: open('ec2', login) };
          const report = await compareSides();
          expect(classes(report)).to.include({ [`LOST-${readOnly}`]: 'known gap' });
          expect((await compareSides({ tables: ['moisture_readings'] })).verdict).to.equal('identical');
          await Promise.all([closeDatabase(sides.primary), closeDatabase(sides.secondary)]);
        }
        expect(await readRecords()).to.deep.equal([]);
        expect(await readUnproven()).to.have.length(2);
      } finally {
        sides = writers;
        for (const pool of [stage.local, stage.ec2]) await pool.query(`drop owned by ${role}; drop role ${role}`);
      }
    });
  });

  describe('databases that never saw sensorctl', () => {
    let plain: Stage;

    before(async () => {
      plain = await Stage.open('compare plain');
      for (const pool of [plain.local, plain.ec2]) {
        await pool.query(`create table water_level_readings (time timestamp not null, sensor_id text, level_cm numeric(5,2));
          insert into water_level_readings values ('2025-07-01T12:00:00', 'A', 1), ('2025-07-01T12:00:00', 'A', 1)`);
      }
    });

    after(async () => {
      await plain.close();
    });

    it('are compared all the same; nothing is classed as known, nothing is written', async () => {
      const connections = plain.connections;
      const openPlain = (side: Side): Database =>
        openDatabase({
          ...{ side, connection: connections[side], poolMax: 5, callTimeoutMs: 10_000, applicationName: 'test' },
        });
      const kept = sides;
      sides = { primary: openPlain('local'), secondary: openPlain('ec2') };
      try {
        expect((await compareSides()).verdict).to.equal('identical');
        await plain.local.query("insert into water_level_readings values ('2025-07-01T12:01:00', 'B', 1)");
        await plain.ec2.query(
          'delete from water_level_readings where ctid in (select ctid from water_level_readings limit 1)',
        );
        const report = await compareSides();
        expect(classes(report)).to.deep.equal({ A: 'unexplained', B: 'unexplained' });
        const { rows } = await plain.local.query("select from pg_namespace where nspname = 'sensorctl'");
        expect(rows).to.deep.equal([]);
      } finally {
        await Promise.all([closeDatabase(sides.primary), closeDatabase(sides.secondary)]);
        sides = kept;
      }
    });
  });
});

function micros(time: string): number {
  return Date.parse(time) * 1000;
}

/**
 * Does something before or after each statement that a side's pool is given and that matches: between two looks, or
 * within one. `times` counts them from 1.
 */
function onStatement(
  { pool }: Database,
  pattern: RegExp,
  when: 'before' | 'after',
  work: (times: number) => Promise<void>,
): void {
  const query = pool.query.bind(pool) as unknown as (...args: unknown[]) => Promise<unknown>;
  let times = 0;
  const hooked = async (...args: unknown[]): Promise<unknown> => {
    const [statement] = args as [string | { text: string }];
    const matches = pattern.test(typeof statement === 'string' ? statement : statement.text);
    if (matches) times += 1;
    const turn = times;
    if (matches && when === 'before') await work(turn);
    const result = await query(...args);
    if (matches && when === 'after') await work(turn);
    return result;
  };
  pool.query = hooked as unknown as typeof pool.query;
}
