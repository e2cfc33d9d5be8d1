import { expect } from 'chai';
import type { Value } from '../../src/lib/domain/row.js';
import { valueProblem } from '../../src/lib/repository/tables/column-values.js';

const ROUNDED = Number('9007199254740993');

function problem(type: string, value: Value, isKey = false): string | null {
  return valueProblem({ name: 'a', type, baseType: type, notNull: false }, value, isKey);
}

describe('a number that was rounded', () => {
  for (const [type, value, isKey] of [
    ['text', ROUNDED, false],
    ['bigint', ROUNDED, false],
    ['character varying[]', ['a', ROUNDED], false],
    ['bigint[]', [1, null, ROUNDED], false],
    ['bigint[]', [[1], [ROUNDED]], false],
    ['text', Math.PI, false],
    ['numeric', ROUNDED, true],
    ['uuid', ROUNDED, true],
  ] as const) {
    it(`is no value of ${type}${isKey ? ' in a key' : ''}: ${JSON.stringify(value)}`, () => {
      expect(problem(type, value, isKey)).to.match(/more digits than are held exactly/);
    });
  }

  for (const [type, value] of [
    ['numeric', ROUNDED],
    ['double precision', ROUNDED],
    ['numeric[]', [0.1, ROUNDED]],
    ['jsonb', [ROUNDED]],
    ['bigint[]', [5n, '9007199254740993', 2 ** 53 - 1]],
    ['text[]', ['a', 1.5]],
  ] as const) {
    it(`is a measurement, or exact, in ${type}: ${JSON.stringify(value, (_, item: unknown) => String(item))}`, () => {
      expect(problem(type, value)).to.equal(null);
    });
  }
});
