import { expect } from 'chai';
import { readTimes } from '../../src/lib/timing.js';

describe('times that belong together', () => {
  it('are those of production unless a test says otherwise', () => {
    for (const nothing of [undefined, '']) {
      expect(readTimes(nothing)).to.deep.equal({
        leaseMs: 30_000,
        heartbeatMs: 5_000,
        primaryCallMs: 15_000,
        bulkCallMs: 28_000,
        stalledCopyMs: 30_000,
        longPollMs: 5_000,
        queueAnswerMs: 15_000,
        pollSilenceMs: 60_000,
        breakerPauseMs: 500,
        breakerLongestMs: 5_000,
        decodeMs: 2_000,
        repairRetryLongestMs: 15_000,
        repairAsideMs: 60_000,
      });
    }
  });

  it('may be shorter in part, and keep their order', () => {
    expect(readTimes('{"longPollMs":1000,"queueAnswerMs":1500}')).to.include({ queueAnswerMs: 1_500, leaseMs: 30_000 });
    for (const [json, says] of [
      ['{"leaseMs":28000}', /bulkCallMs \(28000\) is not below leaseMs \(28000\)/],
      ['{"stalledCopyMs":20000}', /bulkCallMs \(28000\) is not below stalledCopyMs/],
      ['{"heartbeatMs":30000}', /heartbeatMs/],
      ['{"primaryCallMs":28000}', /primaryCallMs/],
      ['{"longPollMs":15000}', /longPollMs/],
      ['{"lease":1}', /lease \(1\) is none of the times/],
      ['{"leaseMs":"40000"}', /leaseMs \(40000\)/],
      ['{"breakerPauseMs":0}', /breakerPauseMs \(0\)/],
    ] as const) {
      expect(() => readTimes(json), json).to.throw(says);
    }
  });
});
