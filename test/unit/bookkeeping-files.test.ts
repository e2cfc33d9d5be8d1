import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { BOOKKEEPING_VERSION } from '../../src/lib/repository/ledger/bookkeeping-schema.js';

const FOLDER = path.resolve(import.meta.dirname, '../../src/lib/repository/ledger/sql');

/** The first digits of each file's SHA-256. A new file is added here; a line that is here never changes. */
const RELEASED: Readonly<Record<string, string>> = {
  '000001.sql': '0ced24b88235c987',
  '000002.sql': '65f609f3aa8acb3b',
  '000003.sql': '12b2a9e15ac49b58',
  '000004.sql': 'c13573663f70851d',
  '000005.sql': 'e18fc218fad13d4a',
  '000006.sql': 'c223412329db724e',
  '000007.sql': '0a3a815c393dda2a',
  '000008.sql': '63e2cd8ad1714aa9',
  '000009.sql': 'fe7545b4d99c35e6',
  '000010.sql': '221a6bd06eb93a85',
  '000011.sql': '6d8619842fba364d',
  '000012.sql': '284c963f84fb597e',
  '000013.sql': 'cc8d8779692f40b8',
  '000014.sql': '6034b9b79541f722',
};

describe('the migrations of the bookkeeping schema', () => {
  const names = readdirSync(FOLDER).sort();

  it('are numbered without a gap, and the last number is the version', () => {
    expect(names).to.deep.equal(names.map((_, index) => `${String(index + 1).padStart(6, '0')}.sql`));
    expect(BOOKKEEPING_VERSION).to.equal(names.length);
  });

  it('are the same bytes as when they were released', () => {
    const digests = names.map((name) => [name, sha256(readFileSync(path.join(FOLDER, name))).slice(0, 16)]);
    expect(Object.fromEntries(digests)).to.deep.equal(RELEASED);
  });
});

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
