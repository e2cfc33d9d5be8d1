// npm run test:switch — everybody struck before every step of the switch, in both directions, beside programs that write both sides. SENSORCTL_TEST_SEED chooses the telemetry.
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
  const writes = { committed: { local: 0, ec2: 0 }, refused: { local: 0, ec2: 0 } };

  /** After a failure the next strike gets an arena of its own: one defect is one failure. */
  async function leave(): Promise<void> {
    for (const side of ['local', 'ec2'] as const) {
      writes.committed[side] += arena?.writers?.committed[side] ?? 0;
      writes.refused[side] += arena?.writers?.refused[side] ?? 0;
    }
    moments.push(...((await arena?.close()) ?? []));
    arena = undefined;
  }

  beforeEach(async () => {
    arena ??= await Arena.open({ seed: SEED, consumers: 2, rate: 60, otherWriters: true });
  });

  after(async () => {
    await leave();
    process.stdout.write([...outcomes].map(([what, outcome]) => `    ${outcome.padEnd(10)} ${what}\n`).join(''));
    process.stdout.write(`    transactions of other programs: ${JSON.stringify(writes)}\n`);
    for (const each of Object.values(writes)) expect(Math.min(each.local, each.ec2)).to.be.greaterThan(0);
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
