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
});
