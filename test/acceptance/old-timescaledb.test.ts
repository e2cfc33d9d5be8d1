// TimescaleDB before 2.18.1 loses rows that are written into compressed chunks, and compression may be switched on while
// consumers run. No such version is on this machine: the catalogs of a plain server say that it is one.
import { expect } from 'chai';
import type pg from 'pg';
import { unitsOf, type Reading } from '../support/readings.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { PreparedPair } from '../support/backfilled.js';
import { eventually, Stage, type RunningCli } from '../support/cli.js';

const OLD_TIMESCALEDB = `
  insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
  values (99999, 'timescaledb', 10, 'public'::regnamespace, false, '2.18.0');
  create schema timescaledb_information;
  create table timescaledb_information.hypertables as
  select 'public'::name as hypertable_schema, 'water_level_readings'::name as hypertable_name, false as compression_enabled;
  create table timescaledb_information.dimensions as
  select 'public'::name as hypertable_schema, 'water_level_readings'::name as hypertable_name, 1 as dimension_number,
    'time'::name as column_name`;
const SWITCH_ON = 'update timescaledb_information.hypertables set compression_enabled = true';
const LOSES = /water_level_readings on local has compression on, and TimescaleDB before 2\.18\.1 loses rows/;

describe('compression that is switched on under an old TimescaleDB, while consumers run', () => {
  it('on local ends the consumer with the error that it would have started with', async () => {
    const stage = await Stage.open('old timescaledb');
    let consumer: RunningCli | undefined;
    try {
      await stage.run(['init']);
      await stage.local.query(OLD_TIMESCALEDB);
      await stage.send(generateTelemetry({ seed: 1, count: 50 }));
      consumer = await stage.start(['consume']);
      await consumer.printed('Local write successful');
      await stage.local.query(SWITCH_ON);
      await eventually('the consumer has ended', () => Promise.resolve(consumer?.hasEnded === true));
      const [ended, started] = [await consumer.wait(), await stage.run(['consume', '--drain'])];
      for (const { code, stderr } of [ended, started]) {
        expect(code, stderr).to.equal(3);
        expect(stderr).to.match(LOSES);
        expect(stderr).to.match(/Next: upgrade TimescaleDB to 2\.18\.1 or newer/);
      }
    } finally {
      consumer?.kill('SIGKILL');
      await stage.close();
    }
  });

  it('on EC2 leaves batches to the ledger, and writes none of them there', async () => {
    const pair = await PreparedPair.open('old timescaledb');
    await pair.there.query(OLD_TIMESCALEDB);
    const repository = await pair.openRepository();
    try {
      let batches = 0;
      const write = async (): Promise<void> => {
        batches += 1;
        const written = await repository.primary.write({ units: unitsOf([reading(batches)]), rejects: [] });
        for (const batch of written) repository.secondary?.enqueue(batch);
        await repository.idle();
      };
      await write();
      expect(await count(pair.there)).to.equal(1);
      await pair.there.query(SWITCH_ON);
      await eventually('a batch is missed', async () => {
        await write();
        return (await pair.ledger()).length > 0;
      });
      const entries = await pair.ledger();
      expect(entries.map(({ table }) => table)).to.have.members(['sensor_registry', 'water_level_readings']);
      for (const { reason } of entries)
        expect(reason).to.match(/water_level_readings on EC2 is compressed by a TimescaleDB before 2\.18\.1/);
      expect(await count(pair.there)).to.equal(batches - 1);
    } finally {
      await repository.close();
      await pair.close();
    }
  });
});

function reading(minute: number): Reading {
  return {
    table: 'water_level_readings',
    time: new Date(Date.UTC(2025, 6, 1) + minute * 60_000).toISOString(),
    sensorId: 'AWD-1',
    sensorType: 'water-level',
    values: { level_cm: 1 },
  };
}

async function count(pool: pg.Pool): Promise<number> {
  return (await pool.query('select from water_level_readings')).rowCount ?? 0;
}
