import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import { unitsOf, type Reading } from '../support/readings.js';
import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { PreparedPair } from '../support/backfilled.js';
import { seedOf } from '../support/seed.js';

/** SENSORCTL_TEST_SEED and SENSORCTL_TEST_ROUNDS take the place of these. */
const SEED = seedOf(20_250_701);
const ROUNDS = Number(process.env.SENSORCTL_TEST_ROUNDS ?? 1);
const TIMEOUT_MS = 60_000 + ROUNDS * 30_000;

const TABLES = ['water_level_readings', 'moisture_readings', 'sensor_readings'] as const;

type Random = () => number;

describe('random damage to EC2', function () {
  this.timeout(TIMEOUT_MS);

  for (const keyless of [false, true]) {
    const where = keyless ? 'where EC2 has no unique key' : 'where EC2 has the unique key';

    it(`is mended by backfill --all --prune to the last row, ${where}`, async () => {
      await rounds(async (pair, random) => {
        if (keyless) await pair.dropKeys();
        const hurt = await damageSome(pair.there, random, keyless);
        const report = await pair.backfill({ prune: true, jobs: 1 + Math.floor(random() * 4) });
        await expectMended(pair, report, hurt);
        expect(await pair.backfill({ prune: true }), hurt).to.include({
          rowsCorrected: 0,
          rowsInserted: 0,
          rowsPruned: 0,
        });
      });
    });

    it(`is mended while consumers write, ${where}`, async () => {
      await rounds(async (pair, random) => {
        if (keyless) await pair.dropKeys();
        const hurt = await damageSome(pair.there, random, keyless);
        const writers = startWriters(pair, random);
        for (let run = 0; run < 2; run += 1)
          await pair.backfill({ prune: true, mode: run === 1 ? 'full' : 'differences' });
        expect(await writers.stop(), hurt).to.be.greaterThan(0);
        await expectMended(pair, await pair.backfill({ prune: true }), hurt);
      });
    });
  }
});

/** Each round on databases of its own, whose seed a failure names. */
async function rounds(round: (pair: PreparedPair, random: Random) => Promise<void>): Promise<void> {
  for (let seed = SEED; seed < SEED + ROUNDS; seed += 1) {
    const pair = await PreparedPair.open('backfill properties');
    try {
      const random = createRandom(seed);
      await pair.query(historySql(200 + Math.floor(random() * 1_500), 1 + Math.floor(random() * 4) * 7));
      await round(pair, random);
    } catch (error) {
      if (error instanceof Error) error.message += `\nSENSORCTL_TEST_SEED=${seed} SENSORCTL_TEST_ROUNDS=1`;
      throw error;
    } finally {
      await pair.close();
    }
  }
}

async function expectMended(pair: PreparedPair, report: BackfillReport, hurt: string): Promise<void> {
  expect(report, hurt).to.include({ rowsRefused: 0, rowsExtra: 0, remainingGaps: 0 });
  expect(report.rowsCopied, hurt).to.equal(report.rowsInserted + report.rowsSkipped + report.rowsCorrected);
  const { local, ec2 } = await pair.contents();
  const extraSensors = ec2.sensor_registry!.filter((row) => row.includes('GHOST'));
  expect(
    { ...ec2, sensor_registry: ec2.sensor_registry!.filter((row) => !extraSensors.includes(row)) },
    hurt,
  ).to.deep.equal(local);
  const { tables } = await pair.compare();
  const differing = tables.filter((table) => table.missingOnEc2 + table.missingOnLocal + table.different > 0);
  expect(
    differing.map(({ table }) => table),
    hurt,
  ).to.deep.equal(extraSensors.length > 0 ? ['sensor_registry'] : []);
}

/** The same rows for both sides: readings of 20 sensors in three tables, so many seconds apart, some at one instant. */
function historySql(rows: number, seconds: number): string {
  const time = `timestamptz '2025-03-01T00:00:00Z' + (n - n % 3) * interval '${seconds}.000003 seconds'`;
  return `
    insert into sensor_registry (sensor_id, sensor_type, last_seen, location_lat, metadata)
      select 'S-' || n, 'mixed', '2025-04-01', n, jsonb_build_object('n', n) from generate_series(0, 19) n;
    insert into water_level_readings (time, sensor_id, level_cm, voltage, rssi, temperature)
      select ${time}, 'S-' || n % 20, n % 300 / 10.0, 3.85, -n % 90, null from generate_series(1, ${rows}) n;
    insert into moisture_readings (time, sensor_id, moisture_surface_pct, flood_status)
      select ${time}, 'S-' || n % 20, n % 100, n % 5 = 0 from generate_series(1, ${rows}) n where n % 4 > 0;
    insert into sensor_readings (time, sensor_id, sensor_type, value, metadata)
      select ${time}, 'S-' || n % 20, 'weather', jsonb_build_object('v', n / 7.0, 'w', array[n, null]), null
      from generate_series(1, ${rows}) n where n % 9 = 0`;
}

interface Damage {
  readonly name: string;
  readonly keylessOnly?: boolean;
  sql(table: string, random: Random): string;
}

const share = (random: Random): string =>
  random() < 0.2 ? 'true' : `hashtext(sensor_id || "time"::text) % 100 < ${Math.ceil(random() * 40)}`;

function slice(random: Random): string {
  const from = Math.floor(random() * 20_000);
  return `"time" >= '2025-03-01T00:00:00Z'::timestamptz + interval '${from} seconds'
    and "time" < '2025-03-01T00:00:00Z'::timestamptz + interval '${from + Math.ceil(random() * 30_000)} seconds'`;
}

const ALTERED: Readonly<Record<string, string>> = {
  water_level_readings: 'level_cm = level_cm + 1, rssi = null',
  moisture_readings: 'flood_status = not flood_status',
  sensor_readings: `value = value || '{"v": "changed"}', metadata = '[]'`,
};

const VALUES: Readonly<Record<string, string>> = {
  water_level_readings: 'level_cm) select at, id, 7',
  moisture_readings: 'moisture_deep_pct) select at, id, 7',
  sensor_readings: `sensor_type, value) select at, id, 'weather', '{}'`,
};

const DAMAGES: readonly Damage[] = [
  { name: 'rows deleted', sql: (table, random) => `delete from ${table} where ${share(random)} and ${slice(random)}` },
  { name: 'all deleted', sql: (table) => `delete from ${table}` },
  {
    name: 'rows altered',
    sql: (table, random) => `update ${table} set ${ALTERED[table]} where ${share(random)} and ${slice(random)}`,
  },
  {
    name: 'rows that only EC2 has',
    sql: (table, random) => `insert into ${table} (time, sensor_id, ${VALUES[table]}
      from (select '2025-02-28T23:00:00Z'::timestamptz + n * interval '${Math.ceil(random() * 900)}.5 seconds' as at, 'GHOST-' || n % 3 as id
        from generate_series(1, ${Math.ceil(random() * 60)}) n) as ghosts on conflict do nothing`,
  },
  {
    name: 'a row long before and after all others',
    sql: (table) => `insert into ${table} (time, sensor_id, ${VALUES[table]}
      from (values ('2001-01-01T00:00:00Z'::timestamptz, 'S-1'), ('2099-01-01T00:00:00Z', 'S-2')) as far (at, id) on conflict do nothing`,
  },
  {
    name: 'duplicates',
    keylessOnly: true,
    sql: (table, random) => `insert into ${table} select * from ${table} where ${share(random)} and ${slice(random)}`,
  },
  {
    name: 'altered duplicates',
    keylessOnly: true,
    sql: (table, random) => `with twice as (select * from ${table} where ${share(random)} and ${slice(random)})
      insert into ${table} select * from twice;
      update ${table} set ${ALTERED[table]} where ctid in (
        select max(ctid) from ${table} where ${share(random)} group by sensor_id, "time" having count(*) > 1)`,
  },
  {
    name: 'the registry altered',
    sql: (
      _,
      random,
    ) => `update sensor_registry set last_seen = '2025-01-01', metadata = '{"old": true}', location_lat = null
      where hashtext(sensor_id) % 4 = ${Math.floor(random() * 4)}`,
  },
  {
    name: 'sensors deleted',
    sql: (_, random) => `delete from sensor_registry where hashtext(sensor_id) % 3 = ${Math.floor(random() * 3)}`,
  },
  {
    name: 'a sensor that only EC2 has',
    sql: () => `insert into sensor_registry (sensor_id) values ('GHOST-X') on conflict do nothing`,
  },
];

/** Answers what was done, for a failure to name. */
async function damageSome(pool: pg.Pool, random: Random, keyless: boolean): Promise<string> {
  const possible = DAMAGES.filter(({ keylessOnly }) => keyless || keylessOnly !== true);
  const done: string[] = [];
  for (let left = 1 + Math.floor(random() * 5); left > 0; left -= 1) {
    const damage = possible[Math.floor(random() * possible.length)]!;
    const table = TABLES[Math.floor(random() * TABLES.length)]!;
    await pool.query(damage.sql(table, random));
    done.push(`${damage.name} (${table})`);
  }
  return done.join(', ');
}

interface Writers {
  /** Ends them once all is settled; answers how many readings they wrote. */
  stop(): Promise<number>;
}

/** Two consumers' worth of batches: new readings, late ones between the old, and retransmissions. */
function startWriters(pair: PreparedPair, random: Random): Writers {
  const stopping = new AbortController();
  let written = 0;
  const write = async (repository: DualWriteRepository, writer: number): Promise<void> => {
    for (let batch = 0; !stopping.signal.aborted; batch += 1) {
      for (const committed of await repository.primary.write({
        units: unitsOf(liveReadings(random, writer, batch)),
        rejects: [],
      })) {
        written += committed.accepted;
        repository.secondary?.enqueue(committed);
      }
      if (batch % 10 === 9) await repository.idle();
    }
    await repository.close();
  };
  const running = [0, 1].map(async (writer) => await write(await pair.openRepository(), writer));
  return {
    stop: async () => {
      stopping.abort();
      await Promise.all(running);
      return written;
    },
  };
}

function liveReadings(random: Random, writer: number, batch: number): Reading[] {
  return Array.from({ length: 20 }, (_, index) => {
    const late = random() < 0.5;
    const second = late ? Math.floor(random() * 20_000) : 100_000 + batch;
    return {
      table: TABLES[0],
      time: new Date(Date.parse('2025-03-01T00:00:00Z') + second * 1000).toISOString().replace('Z', `${writer}00Z`),
      sensorId: `S-${index}`,
      sensorType: 'water-level',
      values: {
        level_cm: batch % 100,
        voltage: 3.8,
        rssi: -index,
        quality_score: 1,
        location_lat: late ? null : batch % 90,
      },
    };
  });
}
