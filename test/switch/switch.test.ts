// npm run test:switch — everybody struck before every step of the switch, in both directions. SEED chooses the telemetry.
import { expect } from 'chai';
import { STEPS } from '../../src/lib/operations/cutover/report.js';
import { Arena } from './arena.js';
import { BLOWS, describeStrike, strike, VICTIMS, type Strike } from './strike.js';

const SEED = Number(process.env.SEED ?? 20250701);

const STRIKES: Strike[] = VICTIMS.flatMap((victim) =>
  BLOWS.flatMap((blow) =>
    STEPS.flatMap((step) => ([2, 3] as const).map((from): Strike => ({ from, step, victim, blow }))),
  ),
);

describe(`the switch, struck at each step (seed ${SEED})`, function () {
  this.timeout(240_000);
  this.slow(60_000);
  let arena: Arena;
  const outcomes = new Map<string, string>();

  before(async () => {
    arena = await Arena.open({ seed: SEED, consumers: 2, rate: 60 });
  });

  after(async () => {
    const violations = await arena.close();
    process.stdout.write([...outcomes].map(([what, outcome]) => `    ${outcome.padEnd(10)} ${what}\n`).join(''));
    expect(violations, 'moments with two primaries').to.deep.equal([]);
  });

  for (const one of STRIKES) {
    it(describeStrike(one), async () => {
      try {
        outcomes.set(describeStrike(one), await strike(arena, one));
      } catch (error) {
        (error as Error).message += `\n${await arena.describe()}`;
        throw error;
      }
    });
  }
});
