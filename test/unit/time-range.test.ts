import { expect } from 'chai';
import { mergeRanges, without, type TimeRange } from '../../src/lib/domain/time-range.js';

type Bounds = readonly [from: number, to: number];

function range([from, to]: Bounds): TimeRange {
  return { from, to };
}

function boundsOf(ranges: readonly TimeRange[]): Bounds[] {
  return ranges.map(({ from, to }) => [from, to]);
}

function merged(ranges: readonly Bounds[], withinMicros?: number): Bounds[] {
  return boundsOf(mergeRanges(ranges.map(range), withinMicros));
}

function left(whole: Bounds, parts: readonly Bounds[]): Bounds[] {
  return boundsOf(without(range(whole), parts.map(range)));
}

describe('ranges that are merged', () => {
  it('are in time order, and one where they overlap, meet, or lie in each other', () => {
    const given: Bounds[] = [
      [30, 40],
      [0, 10],
      [10, 20],
      [32, 35],
      [38, 50],
    ];
    expect(merged(given)).to.deep.equal([
      [0, 20],
      [30, 50],
    ]);
  });

  it('are one, too, where no more than the wanted distance is between them', () => {
    const given: Bounds[] = [
      [0, 10],
      [15, 20],
      [26, 30],
    ];
    expect(merged(given, 5)).to.deep.equal([
      [0, 20],
      [26, 30],
    ]);
  });

  it('leave out what is empty, and may have no bounds', () => {
    const given: Bounds[] = [
      [5, 5],
      [9, 7],
      [20, Infinity],
      [-Infinity, 3],
    ];
    expect(merged(given)).to.deep.equal([
      [-Infinity, 3],
      [20, Infinity],
    ]);
  });

  it('leave what they were made of as it was', () => {
    const given = [range([0, 10]), range([5, 20])];
    mergeRanges(given);
    expect(boundsOf(given)).to.deep.equal([
      [0, 10],
      [5, 20],
    ]);
  });
});

describe('a range without parts', () => {
  it('is what lies before, between and after them, whatever their order', () => {
    const parts: Bounds[] = [
      [60, 70],
      [10, 20],
      [15, 30],
    ];
    expect(left([0, 100], parts)).to.deep.equal([
      [0, 10],
      [30, 60],
      [70, 100],
    ]);
  });

  it('is whole where none of them touches it, and nothing where they cover it', () => {
    const outside: Bounds[] = [
      [0, 10],
      [20, 30],
      [40, 50],
    ];
    expect(left([10, 20], outside)).to.deep.equal([[10, 20]]);
    expect(left([5, 8], [[0, 10], ...outside])).to.deep.equal([]);
    expect(left([5, 10], outside)).to.deep.equal([]);
  });
});
