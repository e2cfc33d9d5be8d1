import { counted } from '../../domain/words.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { parseInstant } from '../../domain/time.js';
import { figuresOf } from '../../operations/monitor/figures.js';
import type { Snapshot } from '../../operations/monitor/snapshot.js';
import { LAG_OF_CONCERN_SECONDS } from '../../operations/monitor/trouble.js';
import { escapeHtml, htmlCard, htmlTable } from './html.js';
import { PAGE_STYLE } from './page-style.js';
import { renderPlots } from './plots.js';
import {
  describeCalm,
  describePhase,
  formatAgo,
  formatFigure,
  formatRate,
  formatSeconds,
  quarantineFigures,
  rowsAndNewest,
  UNKNOWN,
} from './wording.js';

/** Draws each picture that the server sends; says so when none comes any more. */
export const LIVE_SCRIPT = `
const main = document.querySelector('main');
let timer;
const alive = (is) => document.body.classList.toggle('stale', !is);
new EventSource('pictures').onmessage = ({ data }) => {
  main.innerHTML = JSON.parse(data);
  alive(true);
  clearTimeout(timer);
  timer = setTimeout(() => alive(false), 15000);
};`;

/** The page as it is loaded once; everything on it comes as pictures. */
export const LIVE_PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sensorctl monitor</title><style>${PAGE_STYLE}</style></head>
<body><p id="gone" class="wrong">The monitor does not answer any more: what you see is old.</p>
<main><p class="dim">Waiting for the first look …</p></main><script>${LIVE_SCRIPT}</script></body></html>
`;

/** The picture of the last look, and plots of those before. */
export function renderLiveBody(history: readonly Snapshot[]): string {
  const snapshot = history.at(-1);
  if (snapshot === undefined) return '';
  const { health, troubles, at } = snapshot;
  const wrong = troubles.map(({ text }) => `<p class="wrong ${health}">${escapeHtml(text)}</p>`).join('');
  return `<header><h1>sensorctl monitor</h1><span class="badge ${health}">${health.toUpperCase()}</span>
<span>${escapeHtml(describePhase(snapshot))}</span><span class="dim right">${at.slice(0, 19).replace('T', ' ')} UTC</span></header>
${wrong === '' ? `<p class="calm">${escapeHtml(describeCalm(snapshot))}</p>` : wrong}
<div class="cards">${renderCards(snapshot)}</div>
<div class="plots">${renderHistory(history)}</div>
<h2>Rows of the last ${formatSeconds(snapshot.windowSeconds)}</h2>${renderTables(snapshot)}
<h2>Consumers</h2>${renderConsumers(snapshot)}`;
}

function renderCards(snapshot: Snapshot): string {
  const { primary, rates, lagSeconds, gaps, queue, ledger, comparison, at } = snapshot;
  const dead = queue?.deadLetters ?? 0;
  return [
    htmlCard('in', formatRate(rates.in), 'readings accepted'),
    htmlCard(`to ${sideTitle(otherSide(primary))}`, formatRate(rates.toSecondary), 'readings confirmed'),
    htmlCard(
      'lag',
      formatSeconds(lagSeconds),
      'oldest batch not confirmed',
      (lagSeconds ?? 0) > LAG_OF_CONCERN_SECONDS ? 'warn' : '',
    ),
    htmlCard(
      'gaps',
      formatFigure(gaps?.ranges ?? null),
      gaps === null ? `${UNKNOWN} readings` : counted(gaps.readings, 'reading'),
      (gaps?.ranges ?? 0) > 0 ? 'bad' : '',
    ),
    htmlCard(
      'ledger',
      formatFigure(ledger?.pending ?? null),
      `pending; ${formatFigure(ledger?.missed ?? null)} missed`,
    ),
    htmlCard(
      'queue',
      queue === null ? '-' : formatFigure(queue.visible),
      counted(dead, 'dead letter'),
      dead > 0 ? 'bad' : '',
    ),
    htmlCard('quarantine', quarantineFigures(snapshot).join(' + '), 'local + EC2, open'),
    htmlCard(
      'compare',
      comparison?.verdict ?? 'none',
      comparison === null ? 'on record' : `${formatAgo(comparison.finishedAt, at)} ago`,
      comparison?.verdict === 'different' ? 'bad' : '',
    ),
  ].join('');
}

function renderHistory(history: readonly Snapshot[]): string {
  const moments = history.map(({ at }) => (parseInstant(at) ?? 0) / 1000);
  const [fromMs = 0, toMs = 0] = [moments[0], moments.at(-1)];
  const figures = history.map(figuresOf);
  const bands = history.flatMap((each, place) => {
    const start = moments[place] ?? 0;
    return each.health === 'trouble' ? [{ fromMs: start, toMs: moments[place + 1] ?? toMs }] : [];
  });
  const primary = history.at(-1)?.primary ?? 'local';
  return renderPlots({
    stretch: { fromMs, toMs, bands },
    points: (read) => figures.map((each, place) => [moments[place] ?? 0, read(each)]),
    confirmed: `to ${sideTitle(otherSide(primary))}`,
    lag: 'oldest batch not confirmed',
  });
}

function renderTables({ tables, at, sides }: Snapshot): string {
  const rows = tables.map(({ table, local, ec2 }) => {
    const apart = local === null || ec2 === null ? '?' : local.rows - ec2.rows;
    return [table, ...rowsAndNewest(local, sides.local, at), ...rowsAndNewest(ec2, sides.ec2, at), apart];
  });
  return htmlTable(['table', 'local', 'newest (UTC)', 'EC2', 'newest (UTC)', 'apart'], rows);
}

function renderConsumers({ consumers }: Snapshot): string {
  if (consumers === null) return '<p>Not known: the primary does not answer.</p>';
  const rows = consumers.map(({ host, pid, state, rate, breaker, messagesInHand, lastError }) => [
    `${host} ${pid}`,
    state,
    rate === null ? '-' : formatRate(rate),
    breaker ?? '-',
    messagesInHand ?? '-',
    lastError === null ? '-' : `${formatSeconds(lastError.agoSeconds)} ago: ${lastError.text}`,
  ]);
  return htmlTable(['consumer', 'state', 'rate', 'breaker', 'in hand', 'last error'], rows);
}
