import { expect } from 'chai';
import { buildUnits, type UnitSizes } from '../../src/lib/repository/backfill/unit-builder.js';

const SIZES: UnitSizes = { rows: 1_000, betweenRows: 50, cuts: [] };

function unitsOf(ranges: readonly [from: number, to: number, rows: number][], sizes: Partial<UnitSizes> = {}) {
  const counted = ranges.map(([from, to, rows]) => ({ from, to, rows }));
  return buildUnits(counted, { ...SIZES, ...sizes }).map(({ from, to, rows }) => [from, to, rows]);
}

describe('the units of a backfill', () => {
  it('join ranges that touch, up to their size', () => {
    expect(
      unitsOf([
        [0, 10, 400],
        [10, 20, 400],
        [20, 30, 400],
      ]),
    ).to.deep.equal([
      [0, 20, 800],
      [20, 30, 400],
    ]);
  });

  it('are the same whatever the order in which the ranges were found', () => {
    const found: [number, number, number][] = [
      [10, 20, 400],
      [0, 10, 400],
      [500, 600, 700],
      [20, 30, 400],
    ];
    expect(unitsOf(found)).to.deep.equal(unitsOf(found.toSorted(([one], [other]) => one - other)));
    // Joined as they come, these two would make a unit that ends where it begins.
    expect(
      unitsOf([
        [10, 20, 1],
        [5, 10, 1],
      ]),
    ).to.deep.equal([[5, 20, 2]]);
  });

  it('cover ranges that overlap or hold one another, whole', () => {
    expect(
      unitsOf([
        [0, 100, 10],
        [20, 30, 5],
        [90, 120, 5],
      ]),
    ).to.deep.equal([[0, 120, 20]]);
  });

  it('cut a range that is larger than they are, evenly', () => {
    expect(unitsOf([[0, 100, 2_500]])).to.deep.equal([
      [0, 33, 834],
      [33, 66, 834],
      [66, 100, 834],
    ]);
  });

  it('join ranges with few rows between them, and count those', () => {
    expect(
      unitsOf([
        [0, 10, 10],
        [30, 40, 10],
      ]),
    ).to.deep.equal([[0, 40, 40]]);
    expect(
      unitsOf([
        [0, 10, 10],
        [61, 71, 10],
      ]),
    ).to.deep.equal([
      [0, 10, 10],
      [61, 71, 10],
    ]);
  });

  it('make few of many rows that differ alone', () => {
    const alone = Array.from({ length: 10_000 }, (_, n): [number, number, number] => [n * 40, n * 40 + 1, 1]);
    expect(unitsOf(alone)).to.have.length.below(500);
  });

  it('span no cut, not even between ranges', () => {
    expect(unitsOf([[0, 100, 100]], { cuts: [40] })).to.deep.equal([
      [0, 40, 40],
      [40, 100, 60],
    ]);
    expect(
      unitsOf(
        [
          [0, 10, 10],
          [20, 30, 10],
        ],
        { cuts: [15] },
      ),
    ).to.deep.equal([
      [0, 10, 10],
      [20, 30, 10],
    ]);
    expect(
      unitsOf(
        [
          [0, 10, 10],
          [20, 30, 10],
        ],
        { cuts: [20] },
      ),
    ).to.deep.equal([
      [0, 10, 10],
      [20, 30, 10],
    ]);
  });
});
