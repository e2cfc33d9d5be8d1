import { expect } from 'chai';
import { waitForWriters } from '../../src/lib/repository/migration/fence.js';
import { PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';

const WATER = 'water_level_readings';

describe('backfill --prune', function () {
  this.timeout(60_000);

  it('holds EC2 in its role until its deletes are committed: no switch makes EC2 the primary in between', async () => {
    const pair = await PreparedPair.open('prune and switch');
    try {
      await pair.query(WATER_SENSORS);
      await pair.here.query(waterRows(0, 9));
      await pair.there.query(waterRows(0, 14));
      await pair.there.query(`update ${WATER} set rssi = -1`);
      const blocker = await pair.openSession('ec2');
      await blocker.client.query(`begin; lock table ${WATER} in exclusive mode`);
      const running = pair.backfill({ prune: true });
      running.catch(() => undefined);
      await eventually('the backfill waits for a lock on EC2', async () => {
        const { rowCount } = await pair.there.query('select from pg_locks where not granted');
        return rowCount !== 0;
      });
      expect(await waitForWriters(pair.ec2, 100), 'whether EC2 may change its role').to.equal(false);
      await blocker.client.query('commit');
      expect(await running).to.include({ rowsCorrected: 10, remainingGaps: 0 });
      expect(await waitForWriters(pair.ec2, 2_000)).to.equal(true);
      expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(10);
    } finally {
      await pair.close();
    }
  });
});
