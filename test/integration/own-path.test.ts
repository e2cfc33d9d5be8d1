// Operators' triggers, types and schemas, beside sessions that find functions in pg_catalog alone.
import { expect } from 'chai';
import { closeDatabase, openDatabase } from '../../src/lib/db/database.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { unitsOf, type Reading } from '../support/readings.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';

/** As operators write them: without a search path of their own, and before as well as after a statement. */
const TRIGGERS = `
  create table latest_values (sensor_id text primary key, level_cm numeric);
  create table statements (at timestamptz default now());
  create function remember_latest() returns trigger language plpgsql as $$ begin
    insert into latest_values values (new.sensor_id, new.level_cm) on conflict (sensor_id) do update set level_cm = excluded.level_cm;
    return new;
  end $$;
  create function count_statement() returns trigger language plpgsql as $$ begin
    insert into statements default values; return null;
  end $$;
  create trigger latest after insert or update on water_level_readings for each row execute function remember_latest();
  create trigger counted before insert on water_level_readings for each statement execute function count_statement();
  create trigger counted before insert on sensor_registry for each statement execute function count_statement()`;

const FULL = { mode: 'full', tables: ['sensor_registry', 'water_level_readings'] } as const;

function reading(sensorId: string): Reading {
  return {
    table: 'water_level_readings',
    time: '2025-06-30T00:00:00.000001Z',
    ...{ sensorId, sensorType: 'water-level' },
    values: { level_cm: 7, voltage: 3.85, rssi: -60, quality_score: 0.7, location_lat: 13.75, location_lng: 100.5 },
  };
}

describe('what operators made without a search path of their own', () => {
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('own path');
    await pair.query(TRIGGERS);
  });

  after(() => pair.close());

  async function latestOnEc2(): Promise<string> {
    const { rows } = await pair.there.query<{ ids: string }>(
      "select coalesce(string_agg(sensor_id, ',' order by sensor_id), '') as ids from latest_values",
    );
    await pair.there.query('truncate latest_values, statements');
    return rows[0]!.ids;
  }

  it('runs in a batch on both sides', async () => {
    const repository = await pair.openRepository('dual-write');
    try {
      const [batch] = await repository.primary.write({ units: unitsOf([reading('a')]), rejects: [] });
      expect(await repository.secondary!.send(batch!)).to.deep.equal({ confirmed: true, refused: [] });
    } finally {
      await repository.close();
    }
    expect((await pair.here.query('select from latest_values')).rowCount).to.equal(1);
    expect((await pair.here.query('select from statements')).rowCount).to.be.greaterThan(1);
    expect(await latestOnEc2()).to.equal('a');
  });

  it('runs in a repair, a correction and a copy straight into the table', async () => {
    await pair.here.query(waterRows(0, 6));
    await pair.miss('water_level_readings', '2025-07-01', '2025-07-02');
    const repaired = await repairMissed({ primary: pair.local, secondary: pair.ec2, entries: 10, states: ['missed'] });
    expect(repaired).to.include({ inserted: 7 });
    expect(await latestOnEc2()).to.equal('AWD-0,AWD-1,AWD-2,AWD-3,AWD-4,AWD-5,AWD-6');
    await pair.there.query(
      "alter table water_level_readings disable trigger latest; update water_level_readings set level_cm = 99 where sensor_id = 'AWD-3'; alter table water_level_readings enable trigger latest",
    );
    expect(await pair.backfill(FULL)).to.include({ rowsInserted: 0, rowsCorrected: 1 });
    expect(await latestOnEc2()).to.equal('AWD-3');
    await pair.there.query('truncate water_level_readings');
    expect(await pair.backfill(FULL)).to.include({ rowsInserted: 8, verified: 8 });
    expect(await latestOnEc2()).to.equal('AWD-0,AWD-1,AWD-2,AWD-3,AWD-4,AWD-5,AWD-6,a');
    const compared = (await pair.compare()).tables.find(({ table }) => table === 'water_level_readings');
    expect(compared).to.include({ missingOnEc2: 0, missingOnLocal: 0, different: 0 });
  });
});

describe('tables that the role finds by a search path of its own', () => {
  it('are found there, also by their part of it; new ones go where it creates', async () => {
    const pair = await PreparedPair.open('own schemas');
    try {
      await pair.there.query(`create schema "it's own"; alter table sensor_registry set schema "it's own";
        alter table moisture_readings set schema "it's own"; drop table sensor_readings`);
      const name = pair.ec2.connection.database;
      await pair.there.query(`alter database "${name}" set search_path = "it's own", public`);
      const ec2 = openDatabase({
        side: 'ec2',
        connection: pair.ec2.connection,
        poolMax: 3,
        callTimeoutMs: 15_000,
        applicationName: 'sensorctl test',
      });
      try {
        const { tables, obstacles } = await prepareSide(ec2, { addKeys: false });
        expect(tables.map(({ action }) => action)).to.deep.equal(['kept', 'kept', 'kept', 'created']);
        expect(obstacles).to.deep.equal([]);
        const { rows } = await pair.there.query(
          "select nspname from pg_class join pg_namespace n on n.oid = relnamespace where relname = 'sensor_readings'",
        );
        expect(rows).to.deep.equal([{ nspname: "it's own" }]);
        await pair.here.query(`${WATER_SENSORS}; ${waterRows(0, 6)}`);
        await pair.missKeys('sensor_registry', [['AWD-0'], ['AWD-6']]);
        await pair.miss('water_level_readings', '2025-07-01', '2025-07-02');
        const repair = () => repairMissed({ primary: pair.local, secondary: ec2, entries: 10, states: ['missed'] });
        expect(await repair()).to.deep.include({ updated: { copied: 2, inserted: 2, skipped: 0, corrected: 0 } });
        expect(await repair()).to.include({ inserted: 7 });
        expect((await pair.there.query(`select from "it's own".sensor_registry`)).rowCount).to.equal(2);
      } finally {
        await closeDatabase(ec2);
      }
    } finally {
      await pair.close();
    }
  });
});
