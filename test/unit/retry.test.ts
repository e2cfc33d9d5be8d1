import { expect } from 'chai';
import {
  backoff,
  pollUntil,
  repeatEvery,
  singleFlight,
  WaitList,
  withDeadline,
  withRetries,
  type FailedAttempt,
} from '../../src/lib/domain/retry.js';

const BROKEN = new Error('broken');

/** Work that fails so many times, and then returns how often it was done. */
function failing(times: number): (attempt: number) => Promise<number> {
  return (attempt) => (attempt <= times ? Promise.reject(BROKEN) : Promise.resolve(attempt));
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('withRetries', () => {
  it('returns the first result, and tells each attempt that failed with the pause that follows', async () => {
    const failed: FailedAttempt[] = [];
    const pauseMs = (failures: number): number => failures;
    const result = await withRetries(failing(2), { pauseMs, onFailedAttempt: (each) => failed.push(each) });
    expect(result).to.equal(3);
    expect(failed).to.deep.equal([
      { error: BROKEN, attempt: 1, pauseMs: 1 },
      { error: BROKEN, attempt: 2, pauseMs: 2 },
    ]);
  });

  it('throws the last error when the attempts are used up, or another one would not help', async () => {
    const failed: FailedAttempt[] = [];
    const options = { attempts: 3, pauseMs: 0, onFailedAttempt: (each: FailedAttempt) => failed.push(each) };
    expect(await errorOf(withRetries(failing(3), options))).to.equal(BROKEN);
    expect(failed.map(({ pauseMs }) => pauseMs)).to.deep.equal([0, 0, null]);
    const asked: number[] = [];
    const retryIf = (_: unknown, attempt: number): boolean => asked.push(attempt) < 2;
    expect(await errorOf(withRetries(failing(9), { pauseMs: 0, retryIf }))).to.equal(BROKEN);
    expect(asked).to.deep.equal([1, 2]);
  });

  it('ends a pause when the signal aborts, and throws its reason; what succeeds meanwhile counts', async () => {
    const stop = new AbortController();
    const onFailedAttempt = (): void => stop.abort('enough');
    expect(
      await errorOf(withRetries(failing(9), { pauseMs: 3_600_000, onFailedAttempt, signal: stop.signal })),
    ).to.equal('enough');
    expect(await withRetries(failing(0), { pauseMs: 0, signal: stop.signal })).to.equal(1);
  });

  it('doubles its pauses up to the limit, half of each random', () => {
    const pauses = Array.from({ length: 6 }, (_, index) => backoff(100, 1_000)(index + 1));
    const limits = [100, 200, 400, 800, 1_000, 1_000];
    for (const [index, ms] of pauses.entries()) expect(ms).to.be.within((limits[index] ?? 0) / 2, limits[index] ?? 0);
  });
});

describe('pollUntil', () => {
  it('asks until there is an answer, or the signal aborts', async () => {
    let asked = 0;
    const ask = (): Promise<number | null> => Promise.resolve(++asked < 3 ? null : asked);
    expect(await pollUntil(ask, { everyMs: 0 })).to.equal(3);
    const stop = new AbortController();
    const never = (): Promise<null> => {
      stop.abort();
      return Promise.resolve(null);
    };
    expect(await pollUntil(never, { everyMs: 3_600_000, signal: stop.signal })).to.equal(null);
  });
});

describe('singleFlight', () => {
  it('gives all who call meanwhile one result, and begins anew afterwards', async () => {
    let calls = 0;
    const read = singleFlight(() => Promise.resolve(++calls));
    expect(await Promise.all([read(), read()])).to.deep.equal([1, 1]);
    expect(read.current).to.equal(null);
    expect(await read()).to.equal(2);
  });

  it('begins anew after a call that failed, too', async () => {
    const fail = singleFlight(() => Promise.reject(BROKEN));
    expect(await Promise.all([fail(), fail()].map(errorOf))).to.deep.equal([BROKEN, BROKEN]);
    expect(fail.current).to.equal(null);
  });
});

describe('repeatEvery', () => {
  it('never does the work twice at a time, and ends with the one under way', async () => {
    let atOnce = 0;
    let most = 0;
    let done = 0;
    const enough = new WaitList();
    const repeating = repeatEvery(1, async () => {
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setTimeout(resolve, 5));
      atOnce -= 1;
      done += 1;
      enough.notify();
    });
    await enough.until(() => done >= 3);
    await repeating.stop();
    expect([most, atOnce]).to.deep.equal([1, 0]);
  });
});

describe('withDeadline', () => {
  it('returns what comes in time, and what `late` says of the rest', async () => {
    expect(await withDeadline(Promise.resolve(1), 3_600_000, () => 2)).to.equal(1);
    expect(await withDeadline(new Promise(() => undefined), 1, () => 2)).to.equal(2);
    const late = (): never => {
      throw BROKEN;
    };
    expect(await errorOf(withDeadline(new Promise(() => undefined), 1, late))).to.equal(BROKEN);
    expect(await errorOf(withDeadline(Promise.reject(BROKEN), 3_600_000, late))).to.equal(BROKEN);
  });
});

describe('a wait list', () => {
  it('looks again each time that somebody says that something has changed', async () => {
    const list = new WaitList();
    let value = 0;
    const waiting = list.until(() => value === 2);
    for (value = 1; value <= 2; value += 1) {
      list.notify();
      await Promise.resolve();
    }
    value = 2;
    list.notify();
    await waiting;
    await list.until(() => false, 1);
  });
});
