import path from 'node:path';
import { expect } from 'chai';
import { findRetryLoops, readSources } from '../house/measure.js';

/** How many loops a file may have that wait or go on after an error, and why `domain/retry.ts` does not do it for them. */
const ALLOWED: Readonly<Record<string, readonly [loops: number, reason: string]>> = {
  'lib/domain/retry.ts': [2, 'it is the helper'],
  'lib/repository/write/settle.ts': [1, 'one round a collection of settled batches; its attempts are withRetries'],
  'lib/repository/cutover/drain-ledger.ts': [
    1,
    'repairs as long as the ledger holds something; waits where nothing was free',
  ],
  'lib/repository/compare/resolve.ts': [1, 'looks again at what differs, fewer each time'],
  'lib/operations/monitor/monitor.ts': [1, 'one look an interval'],
  'lib/operations/backfill/backfill.ts': [1, 'takes turns with other processes to plan'],
  'lib/operations/backfill/repair-ledger.ts': [1, 'the next repair differs by what the one before failed at'],
  'lib/operations/backfill/run-units.ts': [
    2,
    'the next unit, and how it is copied, differs by what the one before failed at',
  ],
  'lib/operations/backfill/throttle.ts': [1, 'waits for a lag that is measured elsewhere'],
  'lib/operations/decode.ts': [1, 'lets other work go on between groups of messages'],
  'lib/operations/demo/demo.ts': [2, 'waits by a pause that ends the demo with an error'],
  'lib/operations/replay.ts': [1, 'sends again what was left of a group'],
  'lib/sandbox/postgres-server.ts': [1, 'ends at once when its own child exits'],
};

describe('trying again', () => {
  it('is done by domain/retry.ts alone, but for loops that are more than that', () => {
    const loops = findRetryLoops(readSources(path.resolve(import.meta.dirname, '../../src')));
    const counts: Record<string, number> = {};
    for (const { file } of loops) counts[file] = (counts[file] ?? 0) + 1;
    const allowed = Object.fromEntries(Object.entries(ALLOWED).map(([file, [count]]) => [file, count]));
    expect(counts).to.deep.equal(allowed);
  });
});
