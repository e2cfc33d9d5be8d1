// npm run test:switch — everybody struck before every step of the switch, in both directions. SENSORCTL_TEST_SEED chooses the telemetry.
import { expect } from 'chai';
import { STEPS } from '../../src/lib/operations/cutover/cutover-report.js';
import { Arena } from './arena.js';
import { BLOWS, describeStrike, strike, VICTIMS, type Strike } from './strike.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(20250701);

const STRIKES: Strike[] = VICTIMS.flatMap((victim) =>
  BLOWS.flatMap((blow) =>
    STEPS.flatMap((step) => ([2, 3] as const).map((from): Strike => ({ from, step, victim, blow }))),
  ),
);

describe(`the switch, struck at each step (seed ${SEED})`, function () {
  this.timeout(240_000);
  this.slow(60_000);
  let arena: Arena | undefined;
  const outcomes = new Map<string, string>();
  const moments: string[] = [];

  /** After a failure the next strike gets an arena of its own: one defect is one failure. */
  async function leave(): Promise<void> {
    moments.push(...((await arena?.close()) ?? []));
    arena = undefined;
  }

  beforeEach(async () => {
    arena ??= await Arena.open({ seed: SEED, consumers: 2, rate: 60 });
  });

  after(async () => {
    await leave();
    process.stdout.write([...outcomes].map(([what, outcome]) => `    ${outcome.padEnd(10)} ${what}\n`).join(''));
    expect(moments, 'moments with two primaries').to.deep.equal([]);
  });

  for (const one of STRIKES) {
    it(describeStrike(one), async () => {
      try {
        outcomes.set(describeStrike(one), await strike(arena!, one));
      } catch (error) {
        (error as Error).message += `\n${await arena!.describe()}`;
        await leave();
        throw error;
      }
    });
  }
});
