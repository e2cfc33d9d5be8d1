// What names, values and secrets could do to a page or a log line.
import { expect } from 'chai';
import { htmlCard, htmlTable } from '../../src/lib/cli/monitor/html.js';
import { renderLiveBody } from '../../src/lib/cli/monitor/live-page.js';
import { createRedactor } from '../../src/lib/cli/redact.js';
import { createLogger } from '../../src/lib/logger.js';
import { consumerOf, lookOf, snapshotOf } from '../support/monitored.js';

const HOSTILE = `<img src=x onerror="alert('1')">&`;
const HARMLESS = '&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;';

describe('a name from outside', () => {
  it('is text in HTML: in tables, cards, and the live page', () => {
    expect(htmlTable([HOSTILE], [[HOSTILE]]))
      .to.contain(`<th>${HARMLESS}</th>`)
      .and.to.contain(`<td>${HARMLESS}</td>`);
    expect(htmlCard(HOSTILE, HOSTILE, HOSTILE)).not.to.contain('<img');
    const local = lookOf('local', { consumers: [consumerOf({ host: HOSTILE })] });
    const page = renderLiveBody([snapshotOf({ local })]);
    expect(page).to.contain(HARMLESS).and.not.to.contain('<img');
  });

  for (const [what, value] of [
    ['a space', 'two words'],
    ['an equals sign', 'error=none'],
    ['a quotation mark', 'a"b'],
    ['a line feed', 'a\nb'],
    ['a carriage return', 'a\rb'],
    ['an escape', 'a\u001b[2Jb'],
    ['a C1 control', 'a\u009b2Jb'],
  ] as const) {
    it(`is one quoted value of one log line where it holds ${what}`, () => {
      const lines: string[] = [];
      createLogger((line) => lines.push(line)).info('read', { sensor: value, next: 'ok' });
      expect(lines).to.have.length(1);
      expect(lines[0]).to.match(/ info {2}read sensor="[^"\n\r]*(?:\\"[^"\n\r]*)?" next=ok$/);
    });
  }
});

describe('a secret', () => {
  it('is masked as it is, as a URL carries it, and as JSON writes it', () => {
    const secret = 'p@ss "wörd"/\\4711';
    const redact = createRedactor([secret]);
    for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) {
      expect(redact(`before ${form} after`)).to.equal('before *** after');
    }
  });
});
