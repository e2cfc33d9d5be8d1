// The proofs of gates and switch: what settled since the last proof is compared as `compare` compares it.
import { expect } from 'chai';
import type pg from 'pg';
import { prepareSide } from '../../src/lib/operations/init.js';
import { proveUnproven, type Proof } from '../../src/lib/repository/migration/prove-unproven.js';
import { eventually, timescaleServers } from '../support/cli.js';
import { Pair } from '../support/compared.js';

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
          await settled(pair!, [BAD_CLOCK], [BAD_CLOCK, DAYS_AGO(1)]);
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
      await settled(pair!, [BAD_CLOCK]);
      await retain(pair!.ec2);
      await drop(pair!.ec2);
      expect([...(await prove(pair!, { recorded: false })).differing]).to.deep.equal([]);
      expect(await recorded(pair!)).to.equal(1);
    });

    it('finds a row that is lost after the cutoff, though its batch has one before it too', async () => {
      await store(pair!, BAD_CLOCK, DAYS_AGO(1));
      await settled(pair!, [BAD_CLOCK, DAYS_AGO(1)]);
      await retain(pair!.ec2);
      await pair!.ec2.query(`truncate ${WATER}`);
      expect([...(await prove(pair!, { settleMs: 10_000 })).differing.keys()]).to.deep.equal([WATER]);
      expect(await recorded(pair!)).to.equal(1);
    });

    it('takes nothing for lost that a policy drops between the digests and the end of the look', async () => {
      await store(pair!, DAYS_AGO(KEPT + 2));
      await settled(pair!, [DAYS_AGO(KEPT + 2)]);
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
async function settled(pair: Pair, ...batches: readonly (readonly string[])[]): Promise<void> {
  for (const times of batches) {
    const ranges = times.map((time) => `tstzrange(${time} - interval '30 seconds', ${time} + interval '30 seconds')`);
    await pair.local.query(`
      insert into sensorctl.unproven (table_name, times) values ('${WATER}', tstzmultirange(${ranges.join(', ')}))`);
  }
}

/** Records of batches that are not proven yet. */
async function recorded(pair: Pair): Promise<number> {
  return (await pair.local.query('select from sensorctl.unproven')).rowCount ?? 0;
}

async function countOf(pool: pg.Pool): Promise<number> {
  return (await pool.query(`select from ${WATER}`)).rowCount ?? 0;
}
