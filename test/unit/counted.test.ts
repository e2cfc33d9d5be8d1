import { expect } from 'chai';
import { counted } from '../../src/lib/domain/words.js';

describe('a number and its noun', () => {
  it('agree, with separators from a thousand on', () => {
    expect([0, 1, 2, 1_234_567].map((count) => counted(count, 'row'))).to.deep.equal([
      '0 rows',
      '1 row',
      '2 rows',
      '1,234,567 rows',
    ]);
  });

  it('agree where the plural is irregular, or a verb comes with it', () => {
    expect([1, 2].map((count) => counted(count, 'entry', 'entries'))).to.deep.equal(['1 entry', '2 entries']);
    expect([1, 0].map((count) => counted(count, 'row is', 'rows are'))).to.deep.equal(['1 row is', '0 rows are']);
  });
});
