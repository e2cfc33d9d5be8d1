import { expect } from 'chai';

import { printable } from '../../src/lib/cli/table.js';
import { LedgerCover } from '../../src/lib/repository/comparison/ledger-cover.js';

const TIME = '2025-07-01T00:00:00.000000Z';
const FROM = Date.parse(TIME) * 1000;

describe('the ledger, as compare asks it', () => {
  it('knows a refused reading by its sensor, and takes no sensor named null for one', () => {
    const range = { from: FROM, to: FROM + 1 };
    const missed = new LedgerCover([{ ...range, entryId: 9, state: 'missed', sensorId: null }], 5);
    expect(missed.classOf(TIME, 'null'), 'an entry newer than the first look').to.equal('unexplained');
    const refused = new LedgerCover([{ ...range, entryId: 9, state: 'refused', sensorId: 'S1' }], 5);
    expect(refused.classOf(TIME, 'S1')).to.equal('known gap');
    expect(refused.classOf(TIME, 'S2')).to.equal('unexplained');
  });
});

describe('what a device sends, on a terminal', () => {
  it('cannot colour, clear or forge lines', () => {
    expect(printable('a\u001b[31mb\u0007\u009bc\rd')).to.equal('a\\x1b[31mb\\x07\\x9bc\\x0dd');
    expect(printable('ชลประทาน é')).to.equal('ชลประทาน é');
  });
});
