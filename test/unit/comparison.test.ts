import { expect } from 'chai';

import { renderComparison } from '../../src/lib/cli/render-compare.js';
import { printable } from '../../src/lib/cli/output.js';
import type { CompareReport, DifferenceRecord } from '../../src/lib/operations/compare/compare-report.js';
import { LedgerView, type UnsettledKey, type UnsettledRange } from '../../src/lib/repository/ledger/ledger.js';
import { LedgerCover } from '../../src/lib/repository/compare/ledger-cover.js';

const TIME = '2025-07-01T00:00:00.000000Z';
const FROM = Date.parse(TIME) * 1000;
/** The first look came before transaction 6. */
const FIRST = new LedgerView('6:6:');
const ofBatch = (enteredBy: number): { enteredBy: number; ofWriter: boolean; gone: boolean } => ({
  ...{ enteredBy, ofWriter: false, gone: false },
});

describe('the ledger, as compare asks it', () => {
  it('knows a refused reading by its sensor, and takes no sensor named null for one', () => {
    const range = { from: FROM, to: FROM + 1 };
    const classOf = (entry: Pick<UnsettledRange, 'state' | 'sensorId'>, sensorId: string): string | null => {
      const cover = new LedgerCover({ suspects: [], keys: [], ranges: [{ ...range, ...ofBatch(9), ...entry }] }, FIRST);
      return cover.of({ kind: 'missing', name: '', reading: { time: TIME, sensorId } })?.class ?? null;
    };
    expect(classOf({ state: 'missed', sensorId: null }, 'null'), 'an entry newer than the first look').to.equal(null);
    expect(classOf({ state: 'refused', sensorId: 'S1' }, 'S1')).to.equal('known gap');
    expect(classOf({ state: 'refused', sensorId: 'S1' }, 'S2')).to.equal(null);
  });

  it('knows a row by its key from entries of the first look alone, and a gap before what is on its way', () => {
    const suspects = ['A', 'B', 'C'].map((name) => ({ name }));
    const keys: UnsettledKey[] = [
      { ...ofBatch(3), state: 'missed', place: 0 },
      { ...ofBatch(4), state: 'pending', place: 0 },
      { ...ofBatch(5), state: 'pending', place: 1 },
      { ...ofBatch(6), state: 'missed', place: 2 },
    ];
    const cover = new LedgerCover({ suspects, keys, ranges: [] }, FIRST);
    expect(suspects.map(({ name }) => cover.ofKey(name, FIRST))).to.deep.equal(['known gap', 'pending', null]);
  });

  it('knows what another program deleted, and what it touched again since the first look', () => {
    const keys: UnsettledKey[] = [
      { ...ofBatch(5), ofWriter: true, gone: true, state: 'missed', place: 0 },
      { ...ofBatch(5), ofWriter: true, state: 'missed', place: 1 },
      { ...ofBatch(7), ofWriter: true, state: 'pending', place: 1 },
      { ...ofBatch(7), ofWriter: true, state: 'pending', place: 2 },
    ];
    const cover = new LedgerCover({ suspects: ['A', 'B', 'C'].map((name) => ({ name })), keys, ranges: [] }, FIRST);
    const said = (kind: 'extra' | 'different', name: string): object | null => cover.of({ kind, name, reading: null });
    expect(said('extra', 'A')).to.deep.equal({ class: 'known gap', isFirst: true });
    expect(said('extra', 'B'), 'an entry that says that the row is there').to.equal(null);
    expect(said('different', 'B')).to.deep.equal({ class: 'known gap', isFirst: true });
    expect(said('different', 'C')).to.deep.equal({ class: 'pending', isFirst: false });
  });

  it('sees of the ledger what had been committed, whatever the numbers of its transactions', () => {
    const seen = [3, 5, 6, 7, 8].filter((enteredBy) => new LedgerView('5:8:6').shows({ enteredBy }));
    expect(seen).to.deep.equal([3, 5, 7]);
  });
});

describe('what compare says of a row', () => {
  const side = { rows: 1, maxTime: TIME };
  const none = {
    missingOnEc2: 0,
    missingOnLocal: 0,
    different: 0,
    pending: 0,
    pendingExtra: 0,
    knownGap: 0,
    unexplained: 0,
    whole: true,
  };

  function lineOf(difference: Omit<DifferenceRecord, 'kind' | 'class'>): string {
    const table = { table: difference.table, local: side, ec2: side, ...none, missingOnEc2: 1, knownGap: 1 };
    const report: CompareReport = {
      ...{ verdict: 'different', primary: 'local', window: { from: TIME, to: TIME }, tables: [table], digest: 'md5' },
      ...{ failed: [], tablesLeftOut: [], leftOut: [], notCompared: [], resumedFrom: null },
      differences: [{ ...difference, kind: 'missing on ec2', class: 'known gap' }],
    };
    const outcome = { report, strips: new Map(), differing: new Map(), failed: [] };
    const compared = { from: null, to: null, windowMicros: null };
    return (
      renderComparison({ ...outcome, compared })
        .split('\n')
        .find((line) => line.startsWith(`  ${difference.table} `)) ?? ''
    );
  }

  it('a reading that EC2 lacks is missing; a sensor whose row is there is behind, and says in what', () => {
    expect(lineOf({ table: 'moisture_readings', key: { sensor_id: 'S1', time: TIME }, columns: {} })).to.equal(
      `  moisture_readings S1 ${TIME}: missing on EC2 (known gap)`,
    );
    const columns = { last_seen: { local: '2025-07-01', ec2: '2025-06-30' } };
    expect(lineOf({ table: 'sensor_registry', key: { sensor_id: 'S1' }, columns })).to.equal(
      '  sensor_registry S1: behind on EC2 (known gap); last_seen is 2025-07-01 on local, 2025-06-30 on EC2',
    );
  });
});

describe('what a device sends, on a terminal', () => {
  it('cannot colour, clear or forge lines', () => {
    expect(printable('a\u001b[31mb\u0007\u009bc\rd')).to.equal('a\\x1b[31mb\\x07\\x9bc\\x0dd');
    expect(printable('ชลประทาน é')).to.equal('ชลประทาน é');
  });
});
