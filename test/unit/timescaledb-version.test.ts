import { expect } from 'chai';
import { losesRowsOnConflict } from '../../src/lib/repository/tables/server-facts.js';

describe('losesRowsOnConflict', () => {
  for (const version of ['1.7.5', '2.11.0', '2.17.9', '2.18.0', '2.18.0-dev']) {
    it(`holds of TimescaleDB ${version}`, () => expect(losesRowsOnConflict(version)).to.equal(true));
  }
  for (const version of ['2.18.1', '2.18.2', '2.19.0', '2.26.4', '2.30.0-dev', '3.0.0']) {
    it(`does not hold of TimescaleDB ${version}`, () => expect(losesRowsOnConflict(version)).to.equal(false));
  }
});
