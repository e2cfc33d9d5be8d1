// Constraints on EC2 that are checked at commit: one bad row is refused by itself, wherever rows come from.
import { expect } from 'chai';
import { unitsOf, type Reading } from '../support/readings.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { PreparedPair, waterRows, WATER_SENSORS } from '../support/backfilled.js';

const WATER = 'water_level_readings';

const LATE = {
  'a foreign key': `create table known (sensor_id varchar(255) primary key);
    insert into known select 'AWD-' || n from generate_series(0, 6) as n where n <> 3;
    alter table ${WATER} add constraint late foreign key (sensor_id) references known deferrable initially deferred`,
  'a constraint trigger': `
    create function refuse() returns trigger language plpgsql as $$ begin
      if new.sensor_id = 'AWD-3' then raise exception 'not this one'; end if; return null;
    end $$;
    create constraint trigger late after insert on ${WATER} deferrable initially deferred
      for each row execute function refuse()`,
} as const;

for (const [title, sql] of Object.entries(LATE)) {
  describe(`${title} that EC2 checks at commit`, () => {
    let pair: PreparedPair;

    beforeEach(async () => {
      pair = await PreparedPair.open('deferred');
      await pair.query(WATER_SENSORS);
      await pair.there.query(sql);
    });

    afterEach(() => pair.close());

    async function expectOneRefused(): Promise<void> {
      const { rows } = await pair.there.query<{ n: number }>(`select count(*)::int as n from ${WATER}`);
      expect(rows).to.deep.equal([{ n: 6 }]);
      const entries = await pair.ledger();
      expect(entries.map(({ state, sensorId }) => ({ state, sensorId }))).to.deep.equal([
        { state: 'refused', sensorId: 'AWD-3' },
      ]);
    }

    it('refuses its row alone in a repair', async () => {
      await pair.here.query(waterRows(0, 6));
      await pair.miss(WATER, '2025-07-01', '2025-07-02');
      const options = { primary: pair.local, secondary: pair.ec2, entries: 10, states: ['missed'] as const };
      expect(await repairMissed(options)).to.include({ inserted: 6, refused: 1, entries: 1 });
      await expectOneRefused();
    });

    it('refuses its row alone in a backfill, also into an empty table', async () => {
      await pair.here.query(waterRows(0, 6));
      expect(await pair.backfill({ mode: 'full' })).to.include({ rowsInserted: 6, rowsRefused: 1 });
      await expectOneRefused();
    });

    it('refuses its row alone in a batch', async () => {
      const repository = await pair.openRepository();
      const readings = Array.from({ length: 7 }, (_, n) => reading(`AWD-${n}`));
      const [batch] = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
      const outcome = await repository.secondary!.send(batch!);
      repository.settlement.settle(batch!, outcome);
      await repository.idle();
      await repository.close();
      await expectOneRefused();
    });
  });
}

function reading(sensorId: string): Reading {
  return {
    table: WATER,
    time: '2025-07-01T00:00:00.000001Z',
    ...{ sensorId, sensorType: 'water-level' },
    values: { level_cm: 7, voltage: 3.85, rssi: -60, quality_score: 0.7, location_lat: 13.75, location_lng: 100.5 },
  };
}
