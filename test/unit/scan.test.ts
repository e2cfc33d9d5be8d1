import { setTimeout as delay } from 'node:timers/promises';

import { expect } from 'chai';

import { NOTHING } from '../../src/lib/repository/compare/find-leaves.js';
import { scanSegments, type ScanOptions, type SegmentDigest } from '../../src/lib/repository/compare/scan.js';

const HOUR_MICROS = 3_600_000_000;
const DAY: ScanOptions = {
  range: { from: 0, to: 24 * HOUR_MICROS },
  bucketWidth: null,
  leastSpan: HOUR_MICROS,
  jobs: 2,
  stop: new AbortController().signal,
  onProgress: () => Promise.resolve(),
};

function digestOf(rows: number, ms: number): Awaited<ReturnType<SegmentDigest>> {
  return { primary: { rows, newest: null }, secondary: NOTHING, differing: [], ms };
}

describe('scanning a range', () => {
  it('takes every segment once, the first one alone', async () => {
    const taken: number[] = [];
    let [atOnce, most] = [0, 0];
    const progress = await scanSegments(async ({ from, to }) => {
      atOnce += 1;
      most = Math.max(most, atOnce);
      if (taken.length < 2) expect(atOnce).to.equal(1);
      taken.push(to - from);
      await delay(2);
      atOnce -= 1;
      return digestOf(1, 1_500);
    }, DAY);
    expect(taken.reduce((sum, span) => sum + span)).to.equal(24 * HOUR_MICROS);
    expect(progress)
      .to.include({ frontier: DAY.range.to })
      .and.deep.include({ primary: { rows: 24, newest: null } });
    expect(most).to.equal(2);
  });

  it('cuts the next segments by the time that a server took, not by the wait for its turn', async () => {
    const spans: number[] = [];
    await scanSegments(async ({ from, to }) => {
      spans.push((to - from) / HOUR_MICROS);
      await delay(5);
      return digestOf(1, 1_500);
    }, DAY);
    expect(new Set(spans)).to.deep.equal(new Set([1]));
  });

  it('begins no segment after one that failed', async () => {
    let begun = 0;
    const scan = scanSegments(async () => {
      begun += 1;
      if (begun === 3) throw new RangeError('the third');
      await delay(5);
      return digestOf(1, 1_500);
    }, DAY);
    const failure = await scan.catch((error: unknown) => error);
    await delay(20);
    expect(failure).to.be.instanceOf(RangeError);
    expect(begun).to.equal(3);
  });
});
