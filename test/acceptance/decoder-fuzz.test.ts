// A share of `npm run test:fuzz`.
import { expect } from 'chai';
import { Stage } from '../support/cli.js';
import { guideFuzz, runFuzz, shapesFuzz } from '../support/fuzz.js';
import { newSeed } from '../support/seed.js';

const MESSAGES = 400;

describe('acceptance: mutated messages', function () {
  this.timeout(120_000);
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('mutated messages');
    await stage.runJson(['init']);
  });

  afterEach(() => stage.close());

  for (const [title, makeFuzz] of [
    ["the guide's decoder", guideFuzz],
    ['a decoder of random tables', shapesFuzz],
  ] as const) {
    it(`are each stored or quarantined by ${title}: the consumer never stops, and its sums are right`, async () => {
      const seed = newSeed();
      const { wrong, rows, records } = await runFuzz(stage, makeFuzz(seed), { messages: MESSAGES, seed });
      expect(wrong).to.deep.equal([]);
      expect(rows).to.be.greaterThan(MESSAGES / 4);
      expect(records).to.be.greaterThan(MESSAGES / 20);
    });
  }
});
