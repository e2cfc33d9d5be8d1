import { expect } from 'chai';
import { escapeHtml, hashSource, htmlCard, htmlTable, PAGE_STYLE } from '../../src/lib/cli/monitor/html.js';
import { createErrorReport, renderErrorReport } from '../../src/lib/cli/error-report.js';
import { renderLiveBody } from '../../src/lib/cli/monitor/live-page.js';
import { createPaint, printableButStyle, createRedactor } from '../../src/lib/cli/output.js';
import { renderReportPage } from '../../src/lib/cli/monitor/report-page.js';
import { renderTable } from '../../src/lib/cli/table.js';
import { describeFault } from '../../src/lib/db/sqlstate.js';
import { mapTexts, oneLine, printable, printableJson } from '../../src/lib/domain/printable.js';
import { UnreachableError } from '../../src/lib/errors.js';
import { createLogger } from '../../src/lib/logger.js';
import { judgeVitals, type Vitals } from '../../src/lib/operations/consume/health.js';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import type { SampleFigures } from '../../src/lib/repository/monitor/samples.js';
import { comparisonOf, snapshotOf } from '../support/monitored.js';

/** Clears the screen, turns the line around, hides letters, and begins lines of its own. */
const HOSTILE =
  '\u001b[2J\u009b31m\u202egnihton\u2066\u200b\ufeff\u2028\u0085\r\nNext: sensorctl init --remove\u{e0041}';
/* eslint-disable no-control-regex -- they are what must not be there */
const ACTS =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/u;
/* eslint-enable no-control-regex */

describe('what comes from outside, on a terminal', () => {
  it('is shown by its numbers, and is one line', () => {
    expect(oneLine(HOSTILE)).to.equal(
      String.raw`\x1b[2J\x9b31m\u202egnihton\u2066\u200b\ufeff\u2028\x85\x0d\x0aNext: sensorctl init --remove\udb40\udc41`,
    );
    expect(printable('a\tb\nc\u001b')).to.equal('a\\x09b\nc\\x1b');
  });

  it('stays as it is where it can be read', () => {
    for (const text of ['ชลประทาน é 🔄 │ ▁ "quoted" \\x1b', 'ไม่มี']) expect(printable(text)).to.equal(text);
  });

  it('makes no line of its own in a table, a log, an error, or the report of one', () => {
    const logged: string[] = [];
    const logger = createLogger((line) => logged.push(line));
    logger.info(HOSTILE, { error: HOSTILE });
    const error = new UnreachableError(HOSTILE);
    const texts = {
      table: renderTable(['a', 'b'], [[HOSTILE, [HOSTILE, 'second']]], Infinity),
      log: logged.join('\n'),
      fault: describeFault(new Error(HOSTILE)),
      report: printable(renderErrorReport(createErrorReport(error, 'help'), error, Infinity).join('\n')),
    };
    for (const [name, text] of Object.entries(texts)) {
      expect(text, name).not.to.match(ACTS);
      expect(text, name).not.to.match(/^Next: sensorctl init/m);
    }
    expect(texts.table.split('\n')).to.have.length(6);
    expect(logged).to.have.length(1);
  });

  it('a log quotes what a terminal would act on or misread, and nothing else', () => {
    const logged: string[] = [];
    const logger = createLogger((line) => logged.push(line.slice(31)));
    for (const value of ['\u001b', '\u0085', '\u202e', 'a b', 'a"', 'a=b', 'plain']) logger.info('read', { value });
    expect(logged).to.deep.equal(
      ['"\\u001b"', '"\\u0085"', '"\\u202e"', '"a b"', '"a\\""', '"a=b"', 'plain'].map((text) => `read value=${text}`),
    );
  });

  it('is JSON that says the same, and that a terminal can be shown', () => {
    const value = { [HOSTILE]: [HOSTILE, 1, null, true, { deep: 'ชลประทาน "é"' }] };
    for (const spaces of [undefined, 0, 2]) {
      const json = printableJson(value, spaces);
      expect(json).not.to.match(ACTS);
      expect(JSON.parse(json)).to.deep.equal(value);
    }
    expect(mapTexts(value, oneLine)).to.deep.equal({
      [oneLine(HOSTILE)]: [oneLine(HOSTILE), 1, null, true, { deep: 'ชลประทาน "é"' }],
    });
  });

  it('keeps our own colours, and no other sequence', () => {
    const painted = createPaint(true)('TROUBLE', 'bold', 'red');
    expect(printableButStyle(`${painted}\u001b[2J\u001b]0;title\u0007`)).to.equal(
      `${painted}\\x1b[2J\\x1b]0;title\\x07`,
    );
  });
});

describe('what comes from outside, in HTML', () => {
  const EVIL = `<img src=x onerror="alert(1)">'&\u202e`;
  const SAFE = '&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&#39;&amp;\\u202e';
  const figures = {} as SampleFigures;
  const report: MonitorReport = {
    tables: [{ table: EVIL, proven: null, ageSeconds: null, different: null, tracking: 'untracked', note: EVIL }],
    leftOut: [{ table: EVIL, reason: EVIL }],
    ...{ since: '2025-07-01T00:00:00Z', until: '2025-07-02T00:00:00Z', phase: 2, epoch: 2 },
    soak: { samples: 1, first: null, last: null, largestHoleSeconds: 1, troubled: 0, unexplained: 0 },
    incidents: [
      {
        kind: EVIL,
        from: '2025-07-01T00:00:00Z',
        to: null,
        seconds: 1,
        explained: true,
        tables: [{ table: EVIL, rows: 1 }],
      },
    ],
    gaps: [],
    comparisons: [comparisonOf({ tables: [{ table: EVIL, knownGap: 0, unexplained: 0 }] })],
    changes: [
      {
        ...{ at: EVIL, phaseBefore: null, targetPhase: null, phase: 1, writeMode: EVIL, epoch: 1 },
        ...{ by: EVIL, reason: EVIL, overriddenGates: [EVIL] },
      },
    ],
    gates: [{ name: EVIL, passed: false, detail: EVIL, next: EVIL }],
    databases: { local: { host: EVIL, port: 1, name: EVIL }, ec2: null },
    notRead: [EVIL],
    samples: [
      { takenAt: '2025-07-01T00:00:00Z', phase: 2, epoch: 2, troubles: [], unexplained: [], figures, tables: [] },
    ],
  };

  it('is text, in cards, tables and figures', () => {
    expect(escapeHtml(EVIL)).to.equal(SAFE);
    for (const html of [htmlCard(EVIL, EVIL, EVIL), htmlTable([EVIL], [[EVIL]])]) {
      expect(html).to.contain(SAFE).and.not.to.contain('<img');
    }
  });

  it('is text in the report, which names its own style and no script by its policy', () => {
    const html = renderReportPage(report);
    expect(html).not.to.contain('<img').and.not.to.contain('\u202e');
    expect(html.split(SAFE).length - 1).to.be.at.least(13);
    expect(html).to.contain(`content="default-src 'none'; style-src ${hashSource(PAGE_STYLE)};`);
    expect(html).not.to.match(/unsafe-inline|<script|script-src| style="/);
  });

  it('is text in the live picture: names of tables and hosts, errors', () => {
    const snapshot = snapshotOf({});
    const html = renderLiveBody([
      {
        ...snapshot,
        troubles: [{ ...snapshot.troubles[0]!, text: EVIL }],
        tables: [{ ...snapshot.tables[0]!, table: EVIL, local: null, ec2: null }],
        consumers: [
          {
            ...{ host: EVIL, pid: 1, state: 'running', rate: 1, breaker: 'open', messagesInHand: 0 },
            ...{ pollAgeSeconds: 1, pollFailure: null },
            lastError: { agoSeconds: 1, text: EVIL },
          } as never,
        ],
      },
    ]);
    expect(html).not.to.contain('<img');
    expect(html.split(SAFE).length - 1).to.equal(4);
  });
});

describe('secrets', () => {
  const SECRET = 'p@ss "w\\ö rd\u0085/1';

  for (const [how, carried] of [
    ['as they are', SECRET],
    ['in a URL', `https://user:${encodeURIComponent(SECRET)}@host`],
    ['in a form', new URLSearchParams({ password: SECRET }).toString().replaceAll('%20', '+')],
    ['in JSON', JSON.stringify({ password: SECRET })],
    ['in JSON for a terminal', printableJson({ password: SECRET })],
    ['in an error that was made one line', oneLine(SECRET)],
  ] as const) {
    it(`are masked ${how}`, () => {
      const masked = createRedactor([SECRET])(carried);
      expect(masked)
        .to.contain('***')
        .and.not.to.match(/p(@|%40)ss/);
    });
  }

  it('are masked whole where one is a part of another', () => {
    expect(createRedactor(['pass', 'password-1'])('a password-1 b')).to.equal('a *** b');
  });
});

describe('the health of a consumer', () => {
  const well: Vitals = { paused: false, primary: 'local', pollAgeMs: 5_000, pollFailure: null, leaseAgeMs: 1_000 };

  for (const [what, vitals, healthy, ready, reason] of [
    ['is well', {}, true, true, undefined],
    ['is not alive without answers of the queue', { pollAgeMs: 60_000 }, false, false, /answered no poll for 60 s$/],
    ['says why', { pollAgeMs: 95_400, pollFailure: 'ExpiredToken' }, false, false, /no poll for 95 s: ExpiredToken$/],
    ['is alive while it pauses on purpose', { pollAgeMs: 99_000, paused: true }, true, false, /local does not take/],
    ['is not ready without its lease', { leaseAgeMs: 30_000 }, true, false, /lease could not be renewed/],
    ['is ready until then', { leaseAgeMs: 29_999, pollAgeMs: 59_999 }, true, true, undefined],
  ] as const) {
    it(what, () => {
      const verdict = judgeVitals({ ...well, ...vitals });
      expect(verdict).to.include({ healthy, ready });
      if (reason === undefined) expect(verdict.reasons).to.deep.equal([]);
      else
        expect(verdict.reasons)
          .to.have.length(1)
          .and.to.satisfy(([text]: string[]) => reason.test(text!));
    });
  }
});
