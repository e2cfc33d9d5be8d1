import { expect } from 'chai';
import { unitsOf, type Reading } from '../support/readings.js';
import { PreparedPair } from '../support/backfilled.js';

const WATER = 'water_level_readings';

function readingOf(sensorId: string, minute: number): Reading {
  return {
    ...{ table: WATER, time: `2025-07-01T00:0${minute}:00.000000Z`, sensorId, sensorType: 'water-level' },
    values: { level_cm: 1, location_lat: 13.5, location_lng: 100.5 },
  };
}

describe('keys that are compared more loosely than by their bytes', function () {
  this.timeout(60_000);
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('loose keys');
    await pair.query(`
      create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      alter table sensor_registry alter sensor_id type varchar(255) collate any_case;
      alter table ${WATER} alter sensor_id type varchar(255) collate any_case`);
  });

  afterEach(() => pair.close());

  it('hold up no batch with two spellings of one sensor, and no repair of it', async () => {
    const repository = await pair.openRepository();
    const readings = [readingOf('AWD-1a', 1), readingOf('AWD-1A', 2), readingOf('AWD-2', 3)];
    const batches = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
    expect(batches, 'not divided').to.have.length(1);
    for (const batch of batches) repository.secondary?.enqueue(batch);
    await repository.close();
    expect((await pair.compare()).verdict).to.equal('identical');
    await pair.there.query(`delete from ${WATER}; delete from sensor_registry; delete from sensorctl.newest_part`);
    await pair.miss(WATER, '2025-07-01T00:00Z', '2025-07-01T01:00Z');
    await pair.missKeys('sensor_registry', [['AWD-1a'], ['AWD-1A'], ['AWD-2']]);
    const report = await pair.backfill({ mode: 'ledger' });
    expect(report).to.include({ rowsInserted: 5, remainingGaps: 0 });
    const inserted = Object.fromEntries(report.tables.map(({ table, rowsInserted }) => [table, rowsInserted]));
    expect(inserted).to.deep.equal({ [WATER]: 3, sensor_registry: 2 });
    expect((await pair.compare()).verdict).to.equal('identical');
  });

  for (const type of ['of a collation', 'citext'] as const) {
    it(`are brought to the spelling of the primary by a repair, which says no more than a comparison does: ${type}`, async () => {
      if (type === 'citext')
        await pair.query(`create extension citext; alter table ${WATER} alter sensor_id type citext`);
      const fill = (id: string): string =>
        `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00Z', '${id}', 1)`;
      await pair.here.query(fill('AWD-1a'));
      await pair.there.query(fill('AWD-1A'));
      expect((await pair.compare()).verdict).to.equal('different');
      expect(await pair.backfill()).to.include({ rowsCorrected: 1, rowsRefused: 0 });
      expect((await pair.compare()).verdict).to.equal('identical');
    });
  }

  it('and a code that nobody foresaw is no loop: the reading that a trigger refuses so is named, the others come', async () => {
    await pair.there.query(`
      create function public.refuse() returns trigger language plpgsql as
        $$begin if new.sensor_id = 'AWD-3' then raise 'not this one' using errcode = 'ZZ001'; end if; return new; end$$;
      create trigger refuse before insert on ${WATER} for each row execute function public.refuse()`);
    for (const id of ['AWD-2', 'AWD-3', 'AWD-4'])
      await pair.here.query(
        `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00Z', '${id}', 1)`,
      );
    await pair.miss(WATER, '2025-07-01T00:00Z', '2025-07-01T01:00Z');
    expect(await pair.backfill({ mode: 'ledger' })).to.include({ rowsInserted: 2, rowsRefused: 1 });
    expect((await pair.ledger()).map(({ state, sensorId }) => `${state} ${sensorId}`)).to.deep.equal(['refused AWD-3']);
  });
});
