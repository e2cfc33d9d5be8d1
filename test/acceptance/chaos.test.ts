// A short run of `npm run test:chaos`.
import { expect } from 'chai';
import { renderSurvived, runChaos } from '../chaos/chaos.js';
import { SEED } from '../support/scenarios.js';

describe('chaos', function () {
  this.timeout(180_000);
  this.slow(60_000);

  it('twenty seconds of faults by seed: nothing is lost, nothing is twice, no gap is unknown', async () => {
    const report = await runChaos({
      seed: SEED,
      seconds: 20,
      rate: 60,
      consumers: 2,
      lookEveryMs: 500,
      calmMs: 700,
      powerCuts: false,
      restMs: 90_000,
    });
    expect(report.looks).to.be.above(3);
    expect([...report.survived.values()].length, renderSurvived(report.survived)).to.be.above(5);
  });

  it('fifteen seconds of faults beside other programs on tracked tables: what differs is in the ledger, and in the end nothing does', async () => {
    const report = await runChaos({
      seed: SEED,
      seconds: 15,
      rate: 20,
      consumers: 2,
      lookEveryMs: 500,
      calmMs: 900,
      powerCuts: false,
      writers: { sessions: 3, bulkRows: 2_000, pauseMs: 60 },
      restMs: 90_000,
    });
    expect(report.written.looks).to.be.above(2);
    expect(report.written.transactions).to.be.above(30);
    expect([...report.survived.values()].length, renderSurvived(report.survived)).to.be.above(3);
  });
});
