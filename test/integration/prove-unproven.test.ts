// The proofs of gates and switch: what settled since the last proof is compared as `compare` compares it.
import { expect } from 'chai';
import type pg from 'pg';
import { silentLogger } from '../../src/lib/logger.js';
import { switchPrimary, type SwitchOutcome } from '../../src/lib/operations/cutover/switch.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { proveUnproven, type Proof } from '../../src/lib/repository/cutover/prove-unproven.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { eventually, timescaleServers } from '../support/cli.js';
import { Pair } from '../support/compared.js';
import { ec2Server, localServer } from '../support/servers.js';

const WATER = 'water_level_readings';
const DAYS_AGO = (days: number): string => `clock_timestamp() - interval '${days} days'`;

/** A device whose clock has never been set. */
const BAD_CLOCK = `timestamptz '2001-01-01T00:00:07Z'`;

describe('the proof of what settled', () => {
  describe('with retention', () => {
    const KEPT = 8;
    let pair: Pair | undefined;

    before(async function () {
      pair = await openPrepared('proof retention', await timescaleServers(this));
    });

    after(() => pair?.close());

    afterEach(async () => {
      await pair?.query(`
        select remove_retention_policy('${WATER}', if_exists => true);
        truncate ${WATER}; truncate sensorctl.unproven`);
    });

    async function retain(pool: pg.Pool): Promise<void> {
      await pool.query(`
        select add_retention_policy('${WATER}', interval '${KEPT} days', schedule_interval => interval '100 years',
          initial_start => '2100-01-01')`);
    }

    /** Drops by the policy, as its job would. */
    async function drop(pool: pg.Pool): Promise<void> {
      const { rows } = await pool.query<{ id: number }>(
        `select job_id as id from timescaledb_information.jobs where hypertable_name = '${WATER}'`,
      );
      await pool.query(`call run_job(${rows[0]!.id})`);
    }

    for (const side of ['ec2', 'local'] as const) {
      for (const settleMs of [null, 10_000]) {
        const where = settleMs === null ? 'in the switch' : 'at the gate';
        it(`leaves out what retention of ${side} has dropped, and takes it off the record (${where})`, async () => {
          await store(pair!, BAD_CLOCK, DAYS_AGO(1));
          await settled(pair!, WATER, [BAD_CLOCK], [BAD_CLOCK, DAYS_AGO(1)]);
          await retain(pair![side]);
          await drop(pair![side]);
          expect(await countOf(pair![side]), 'what is left').to.equal(1);
          expect([...(await prove(pair!, { settleMs })).differing]).to.deep.equal([]);
          expect(await recorded(pair!)).to.equal(0);
        });
      }
    }

    it('leaves what is before the cutoff on the record where nothing is to be recorded', async () => {
      await store(pair!, BAD_CLOCK);
      await settled(pair!, WATER, [BAD_CLOCK]);
      await retain(pair!.ec2);
      await drop(pair!.ec2);
      expect([...(await prove(pair!, { recorded: false })).differing]).to.deep.equal([]);
      expect(await recorded(pair!)).to.equal(1);
    });

    it('finds a row that is lost after the cutoff, though its batch has one before it too', async () => {
      await store(pair!, BAD_CLOCK, DAYS_AGO(1));
      await settled(pair!, WATER, [BAD_CLOCK, DAYS_AGO(1)]);
      await retain(pair!.ec2);
      await pair!.ec2.query(`truncate ${WATER}`);
      expect([...(await prove(pair!, { settleMs: 10_000 })).differing.keys()]).to.deep.equal([WATER]);
      expect(await recorded(pair!)).to.equal(1);
    });

    it('takes nothing for lost that a policy drops between the digests and the end of the look', async () => {
      await store(pair!, DAYS_AGO(KEPT + 2));
      await settled(pair!, WATER, [DAYS_AGO(KEPT + 2)]);
      await pair!.ec2.query(`truncate ${WATER}`);
      const holder = await pair!.local.connect();
      try {
        // The look reads the ledger once it has found rows that differ.
        await holder.query('begin; lock table sensorctl.ledger in access exclusive mode');
        const proof = prove(pair!, { settleMs: 10_000 });
        await eventually('the look waits for the ledger', async () => {
          const { rowCount } = await pair!.local.query(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
          );
          return rowCount === 1;
        });
        await retain(pair!.ec2);
        await holder.query('commit');
        expect([...(await proof).differing]).to.deep.equal([]);
      } finally {
        holder.release();
      }
    });
  });
});

describe('the proof of equal values with two texts', () => {
  const [ONE, ALSO_ONE, OTHER] = ['{"depth": 1.0}', '{"depth": 1.00}', '{"depth": 1.01}'];
  const TIME = "timestamptz '2025-07-01T00:00:00Z'";
  let pair: Pair;

  before(async () => {
    pair = await openPrepared('proof texts', { local: await localServer(), ec2: await ec2Server() });
  });

  after(() => pair.close());

  afterEach(async () => {
    await pair.query(
      'truncate sensor_registry, sensor_readings, sensorctl.unproven, sensorctl.state, sensorctl.state_history',
    );
  });

  /** A sensor and a reading of it with these values, and the reading unproven. */
  async function store(metadata: { local: string; ec2: string }, value = metadata): Promise<void> {
    for (const side of ['local', 'ec2'] as const) {
      await pair[side].query(`
        insert into sensor_registry (sensor_id, sensor_type, metadata) values ('WX-1', 'weather', '${metadata[side]}');
        insert into sensor_readings (time, sensor_id, sensor_type, value) values (${TIME}, 'WX-1', 'weather', '${value[side]}')`);
    }
    await settled(pair, 'sensor_readings', [TIME]);
  }

  /** Phase 2 → 3, past the gates. */
  async function switchSides(): Promise<SwitchOutcome> {
    const why = { by: 'a test', reason: null, overriddenGates: [] };
    const { primary: from, secondary: to } = pair.sides;
    const state = await changePhase(from, await recordFirstPhase(from, why), { ...why, phase: 2 });
    return await switchPrimary({
      ...{ from, to, state, targetPhase: 3, keepLocalCurrent: false, why, maxPauseMs: 20_000, force: false },
      ...{ stop: new AbortController().signal, logger: silentLogger, onStep: () => undefined },
    });
  }

  it('are equal to the gate, and proven', async () => {
    await store({ local: ONE, ec2: ALSO_ONE });
    expect([...(await prove(pair, { settleMs: 10_000 })).differing]).to.deep.equal([]);
    expect(await recorded(pair)).to.equal(0);
  });

  it('are equal to the switch, in sensor_registry and in readings', async () => {
    await store({ local: ONE, ec2: ALSO_ONE });
    expect((await pair.compare({})).report.verdict).to.equal('identical');
    await settled(pair, 'sensor_readings', [TIME]);
    const { state, steps } = await switchSides();
    expect(state).to.include({ phase: 3, primary: 'ec2' });
    expect(steps.find(({ name }) => name === 'compare')?.detail).to.match(/^identical: 1 row in 1 range,/);
  });

  it('hide none that differs: the switch names its table and goes back', async () => {
    await store({ local: ONE, ec2: ALSO_ONE }, { local: ONE, ec2: OTHER });
    const inReadings = await switchSides().catch((error: unknown) => error);
    expect(String(inReadings)).to.match(/the sides differ in sensor_readings;/);
    await pair.query(
      'truncate sensor_registry, sensor_readings, sensorctl.unproven, sensorctl.state, sensorctl.state_history',
    );
    await store({ local: ONE, ec2: OTHER }, { local: ONE, ec2: ALSO_ONE });
    const inRegistry = await switchSides().catch((error: unknown) => error);
    expect(String(inRegistry)).to.match(/the sides differ in sensor_registry;/);
  });

  it('explain nothing by the ledger where nothing is on its way: a value that a reading had once still differs', async () => {
    await store({ local: ONE, ec2: ONE });
    await pair.query("update sensor_registry set last_seen = '2025-07-01T00:00:00Z', sensor_type = 'weather'");
    await pair.ec2.query('update sensor_registry set location_lat = 13.5');
    await pair.local.query(`
      insert into sensor_readings (time, sensor_id, sensor_type, location_lat, value)
      values (${TIME} + interval '1 hour', 'WX-1', 'weather', 13.5, '{}');
      insert into sensorctl.newest_part
      values ('sensor_registry', '{WX-1}', '{location_lat,location_lng}', (${TIME})::text, '{13.5,100.5}')`);
    const { wholeDiffering } = await prove(pair, { settleMs: 0, withWhole: true });
    expect(wholeDiffering).to.deep.equal(['sensor_registry']);
  });
});

type Servers = Parameters<typeof Pair.open>[1];

async function openPrepared(title: string, servers: Servers): Promise<Pair> {
  const pair = await Pair.open(title, servers);
  await Promise.all([pair.sides.primary, pair.sides.secondary].map((side) => prepareSide(side, { addKeys: false })));
  return pair;
}

async function prove(pair: Pair, options: Parameters<typeof proveUnproven>[2]): Promise<Proof> {
  return await proveUnproven(pair.sides, new AbortController().signal, options);
}

/** A reading of one sensor at each of these times, the same on both sides. */
async function store(pair: Pair, ...times: readonly string[]): Promise<void> {
  const { rows } = await pair.local.query<{ time: string }>(
    `select time::text from unnest(array[${times.join(', ')}]) as time`,
  );
  for (const { time } of rows) {
    await pair.query(`insert into ${WATER} (time, sensor_id, level_cm) values ('${time}', 'AWD-1', 7)`);
  }
}

/** Records what batches touched that EC2 has confirmed, each with a minute around each of its times. */
async function settled(pair: Pair, table: string, ...batches: readonly (readonly string[])[]): Promise<void> {
  for (const times of batches) {
    const ranges = times.map((time) => `tstzrange(${time} - interval '30 seconds', ${time} + interval '30 seconds')`);
    await pair.local.query(`
      insert into sensorctl.unproven (table_name, times) values ('${table}', tstzmultirange(${ranges.join(', ')}))`);
  }
}

/** Records of batches that are not proven yet. */
async function recorded(pair: Pair): Promise<number> {
  return (await pair.local.query('select from sensorctl.unproven')).rowCount ?? 0;
}

async function countOf(pool: pg.Pool): Promise<number> {
  return (await pool.query(`select from ${WATER}`)).rowCount ?? 0;
}
