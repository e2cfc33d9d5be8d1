// Compare under load: consumers write all the time, EC2 is slow or away, rows are damaged by hand. Promise 8 is to hold.
import { expect } from 'chai';

import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { CompareLoad, describeReport, EVERYTHING, losses, REQUESTS } from '../chaos/compare-load.js';
import { DAMAGES } from '../chaos/damage.js';
import { eventually } from '../support/cli.js';
import { shareServers } from '../support/shared-servers.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(8);
const RUNS = 12;

describe('compare under load', function () {
  this.timeout(120_000);
  this.slow(15_000);
  const servers = shareServers();

  for (const keyless of [false, true]) {
    describe(keyless ? 'with an EC2 without unique keys' : 'with keys on both sides', () => {
      let load: CompareLoad;

      before(async () => {
        load = await CompareLoad.start(servers(), { seed: SEED, rate: 150, consumers: 2, keyless });
      });

      after(async () => {
        await load.close();
      });

      it(`says identical ${RUNS} times while consumers write`, async () => {
        const before = load.messages;
        for (let run = 0; run < RUNS; run += 1) {
          const { report } = await load.compare(REQUESTS[run % REQUESTS.length]);
          expect(report.verdict, `seed ${SEED}, run ${run}: ${describeReport(report)}`).to.equal('identical');
          expect(losses(report)).to.deep.equal([]);
        }
        expect(load.messages).to.be.greaterThan(before);
      });

      it('finds what was damaged by hand, every time, and nothing else', async () => {
        for (const damage of DAMAGES) await load.compareDamaged(damage);
      });

      if (keyless) {
        it('finds a row that EC2 holds twice', async () => {
          const { ec2 } = load.stage;
          await ec2.query('insert into water_level_readings select * from water_level_readings order by time limit 1');
          const { report } = await load.compare();
          await ec2.query(
            'delete from water_level_readings where ctid = (select max(ctid) from water_level_readings where (sensor_id, time) = (select sensor_id, time from water_level_readings order by time limit 1))',
          );
          expect(losses(report).map(({ kind }) => kind)).to.deep.equal(['missing on local']);
        });
        return;
      }

      it('takes rows on their way to a slow EC2 for pending, and finds a lost one among them', async () => {
        const { ec2 } = load.stage.network;
        ec2.delay(100);
        await eventually('a comparison meets rows on their way', async () => {
          const { report } = await load.compare({ ...EVERYTHING, settleMs: 0 });
          expect(report.verdict, describeReport(report)).to.equal('identical');
          return sum(report, 'pending') > 0;
        });
        for (const damage of DAMAGES.slice(0, 3)) await load.compareDamaged(damage);
        await ec2.pass();
      });
    });
  }

  describe('with an EC2 that falls silent', () => {
    let load: CompareLoad;

    before(async () => {
      load = await CompareLoad.start(servers(), { seed: SEED, rate: 150, consumers: 2, writeTimeoutMs: 3_000 });
    });

    after(async () => {
      await load.close();
    });

    it('names what EC2 missed a known gap while it does not answer the consumers, and a lost row besides', async () => {
      const network = load.stage.network.ec2;
      const hasty = { ...EVERYTHING, settleMs: 500, limit: 100_000 };
      network.blackHole();
      await eventually(
        'rows are missed',
        async () => {
          const { report } = await load.compare(hasty);
          expect(losses(report), describeReport(report)).to.deep.equal([]);
          expect(report.verdict).to.equal(sum(report, 'knownGap') > 0 ? 'different' : 'identical');
          return sum(report, 'knownGap') > 0;
        },
        60_000,
      );
      await load.compareDamaged(DAMAGES[0]!, hasty);
      await network.pass();
      await eventually(
        'what was missed is repaired',
        async () => {
          const { report } = await load.compare(hasty);
          expect(losses(report), describeReport(report)).to.deep.equal([]);
          return report.verdict === 'identical';
        },
        60_000,
      );
    });
  });
});

function sum({ tables }: CompareReport, count: 'pending' | 'knownGap'): number {
  return tables.reduce((total, table) => total + table[count], 0);
}
