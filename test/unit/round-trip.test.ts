import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type pg from 'pg';
import { measureRoundTrip } from '../../src/lib/operations/backfill/run-units.js';

const NEAR_MS = 20;

/** A pool whose queries take these times, in ms, one after the other. */
function poolTaking(timesMs: readonly number[]): { pool: pg.Pool; asked: () => number } {
  let asked = 0;
  const client = {
    query: async () => {
      await delay(timesMs[asked] ?? 0);
      asked += 1;
    },
    release: () => undefined,
  };
  return { pool: { connect: () => Promise.resolve(client) } as unknown as pg.Pool, asked: () => asked };
}

describe('the distance to a side', () => {
  it('is the least of several round trips: one that waited for a busy machine does not count', async () => {
    const { pool, asked } = poolTaking([60, 45, 1, 60]);
    expect(await measureRoundTrip({ pool }, NEAR_MS)).to.be.lessThan(NEAR_MS);
    expect(asked(), 'near is near: no more is asked').to.equal(3);
  });

  it('is long where each of them is', async () => {
    const { pool, asked } = poolTaking([60, 30, 40, 30, 50, 1]);
    expect(await measureRoundTrip({ pool }, NEAR_MS)).to.be.within(25, 50);
    expect(asked()).to.equal(5);
  });
});
