import { setTimeout as delay } from 'node:timers/promises';

import { expect } from 'chai';

import { NOTHING } from '../../src/lib/repository/compare/find-leaves.js';
import { scanSegments, type ScanOptions, type SegmentDigest } from '../../src/lib/repository/compare/scan.js';
import { Turns } from '../../src/lib/repository/compare/turns.js';

const HOUR_MICROS = 3_600_000_000;
const DAY: ScanOptions = {
  range: { from: 0, to: 24 * HOUR_MICROS },
  bucketMicros: null,
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

describe('turns', () => {
  it('let so many run at once, in the order in which they came, whether or not one fails', async () => {
    const turns = new Turns(2);
    const begun: number[] = [];
    let [atOnce, most] = [0, 0];
    const work = async (place: number): Promise<void> => {
      begun.push(place);
      atOnce += 1;
      most = Math.max(most, atOnce);
      await delay(2);
      atOnce -= 1;
      if (place % 3 === 0) throw new RangeError(String(place));
    };
    const places = Array.from({ length: 8 }, (_, place) => place);
    const ended = await Promise.allSettled(places.map((place) => turns.take(() => work(place))));
    expect(begun).to.deep.equal(places);
    expect(most).to.equal(2);
    expect(ended.map(({ status }) => status === 'rejected')).to.deep.equal(places.map((place) => place % 3 === 0));
  });
});
