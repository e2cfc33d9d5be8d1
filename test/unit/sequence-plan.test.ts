import { expect } from 'chai';
import { planSequences, type Sequence } from '../../src/lib/repository/cutover/sequence-plan.js';

const UP: Sequence = {
  ...{
    oid: 1,
    label: 's',
    sql: 's',
    fills: [],
    increment: 1n,
    minimum: 1n,
    maximum: 2n ** 63n - 1n,
    cache: 1n,
    cycles: false,
  },
  ...{ reached: 0n, mayMove: true },
};
const DOWN: Sequence = { ...UP, increment: -1n, minimum: -(2n ** 63n), maximum: -1n };

type Changed = Partial<Sequence>;

/** What one sequence is set to, or why it is not. */
function move(base: Sequence, from: Changed, to: Changed): string {
  const { moves, stuck } = planSequences([{ ...base, ...from }], [{ ...base, ...to }]);
  const [only] = moves;
  if (only !== undefined) return `${only.value}${only.isHandedOut ? '' : ' next'}`;
  const atLeast = stuck[0]?.atLeast;
  return `${stuck[0]?.reason}${atLeast === undefined || atLeast === null ? '' : `; at least ${atLeast.value}`}`;
}

describe('a plan of sequences', () => {
  it('passes the greater of both values by a thousand, or by ten caches, in the direction of the sequence', () => {
    expect(move(UP, { reached: 500n }, { reached: 1n })).to.equal('1500');
    expect(move(UP, { reached: 500n }, { reached: 7_000n })).to.equal('8000');
    expect(move(UP, { reached: 500n, cache: 200n }, {})).to.equal('2500');
    expect(move(UP, { reached: 500n }, { cache: 200n })).to.equal('2500');
    expect(move(DOWN, { reached: -500n }, { reached: -1n })).to.equal('-1500');
    expect(move(DOWN, { reached: -1n, cache: 1_000n }, { reached: -20n })).to.equal('-10020');
  });

  it('goes by whole increments of its own', () => {
    const odd = { increment: 2n, reached: 500n };
    expect(move(UP, odd, { increment: 2n, reached: 7n })).to.equal('1501');
    expect(move(UP, { ...odd, increment: 700n }, { increment: 700n, reached: 3n })).to.equal('7703');
    expect(move(UP, { reached: 500n }, { reached: 0n, increment: 1_000_000n })).to.equal('11000000');
  });

  it('passes what lies beyond the numbers of a double exactly', () => {
    expect(move(UP, { reached: 9_007_199_254_740_993n }, {})).to.equal('9007199254741993');
  });

  it('is stuck where no room is left behind the margin, and says how far it could go', () => {
    const small = { maximum: 32_767n };
    expect(move(UP, { ...small, reached: 31_766n }, small)).to.equal('32766');
    expect(move(UP, { ...small, reached: 31_767n }, small)).to.equal(
      'ends at 32767, and 31767 is reached: 1000 values have to be left between; at least 31767',
    );
    expect(move(UP, { reached: 3_000_000_000n }, { maximum: 2_147_483_647n })).to.match(
      /^ends at 2147483647, .* between$/,
    );
    expect(move(DOWN, { reached: -100n }, { minimum: -1_000n })).to.match(/^ends at -1000, and -100 is reached/);
    expect(move(UP, { reached: 5n }, { increment: -1n })).to.equal('counts up on one side and down on the other');
  });

  it('begins a cycle anew where it ends, and leaves half of a short one', () => {
    expect(move({ ...UP, cycles: true, maximum: 2_000n }, { reached: 1_500n }, {})).to.equal('1 next');
    expect(move({ ...UP, cycles: true, maximum: 100n }, { reached: 10n }, {})).to.equal('60');
    expect(move({ ...DOWN, cycles: true, minimum: -100n }, { reached: -90n }, {})).to.equal('-1 next');
  });

  it('passes every sequence that fills the same column, and that of the same name', () => {
    const of = (label: string, fills: string[], reached: bigint, oid = 1): Sequence => ({
      ...UP,
      ...{ label, fills, reached, oid },
    });
    const from = [
      of('shared', ['a.id', 'b.id'], 50n),
      of('a_id_seq', ['old.id'], 9_000n),
      of('tickets', [], 70n),
      of('gone', ['gone.id'], 1n),
    ];
    const to = [of('a_id_seq', ['a.id'], 1n, 1), of('b_id_seq', ['b.id'], 1n, 2), of('tickets', [], 1n, 3)];
    const { moves, alone } = planSequences(from, [...to, of('own', [], 5n, 4)]);
    expect(moves.map(({ oid, value }) => `${oid}: ${value}`)).to.deep.equal(['1: 10000', '2: 1050', '3: 1070']);
    expect(alone).to.deep.equal({ from: ['gone'], to: ['own'] });
  });

  it('names those that the role may not read or set, on each side, and moves the others', () => {
    const [read, set] = [
      { ...UP, label: 'read' },
      { ...UP, label: 'set' },
    ];
    const { moves, withoutRight } = planSequences(
      [{ ...read, reached: null }, set, UP],
      [read, { ...set, mayMove: false }, UP],
    );
    expect(withoutRight.from.map(({ label }) => label)).to.deep.equal(['read']);
    expect(withoutRight.to.map(({ label }) => label)).to.deep.equal(['set']);
    expect(moves).to.have.length(1);
  });
});
