import { expect } from 'chai';
import { renderProgress, showBackfill } from '../../src/lib/cli/render-backfill.js';
import { renderBar } from '../../src/lib/cli/progress.js';
import type { BackfillProgress } from '../../src/lib/operations/backfill/backfill-report.js';

const STATE: BackfillProgress = { step: 'copying', table: null, rows: 25_000, ofRows: 100_000, throttled: null };

describe('the progress of a backfill', () => {
  it('says how fast it is and what is left', () => {
    expect(renderProgress(STATE, 5_000)).to.equal('copying: 25,000 of 100,000 rows, 5,000/s, 15 s left');
    expect(renderProgress({ ...STATE, throttled: 'commits take 300 ms' }, 0)).to.equal(
      'copying: 25,000 of 100,000 rows, 0/s, held back: commits take 300 ms',
    );
  });

  it('draws a bar of what is done', () => {
    expect(renderBar(0.4)).to.equal('████████░░░░░░░░░░░░  40 %');
    expect([0, 1, 1.2].map((share) => renderBar(share).slice(-5))).to.deep.equal(['  0 %', '100 %', '100 %']);
  });

  it('does not count for the pace of a step what was done before it', () => {
    const shown: (readonly [string, number | null | undefined])[] = [];
    const show = showBackfill({ update: (text, share) => shown.push([text, share]), stop: () => undefined });
    show({ ...STATE, step: 'looking for differences', table: 'moisture_readings', ofRows: null });
    show(STATE);
    expect(shown[0]?.[1]).to.equal(null);
    expect(shown[1]).to.deep.equal(['copying: 25,000 of 100,000 rows, 0/s', 0.25]);
  });
});
