import type { ServerResponse } from 'node:http';
import { escapeHtml, hashSource, htmlCard, htmlTable, PAGE_STYLE } from './html.js';
import { formatCount } from '../quantities.js';
import { worstTables } from './worst-tables.js';
import { renderPlots } from './plots.js';
import {
  describeBackfill,
  describeCalm,
  describeDatabases,
  describeLeftBehind,
  describePhase,
  describeTableSet,
  describeWriters,
  formatAgo,
  formatFigure,
  formatRate,
  formatSeconds,
  quarantineFigures,
  rowsApart,
  rowsAndNewest,
  UNKNOWN,
} from './wording.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { parseInstant } from '../../domain/time.js';
import { counted } from '../../domain/words.js';
import { type Endpoint, serve } from '../../http/serve.js';
import { figuresOf } from '../../operations/monitor/sample-recorder.js';
import type { Snapshot } from '../../operations/monitor/monitor-snapshot.js';
import { LAG_OF_CONCERN_SECONDS } from '../../operations/monitor/trouble.js';

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

/** The page with the picture of now: what comes later comes as pictures, where scripts run; elsewhere it is loaded anew. */
export function renderLivePage(history: readonly Snapshot[]): string {
  const waiting =
    '<h1>sensorctl monitor</h1><p>The first look at both sides and the queue is under way. It takes as long as the slowest of them, a few seconds at most where they answer.</p>';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<title>sensorctl monitor</title><style>${PAGE_STYLE}</style></head>
<body><p id="gone" class="wrong">The monitor does not answer any more: what you see is old.</p>
<noscript><p class="dim">Without JavaScript this page is loaded anew every 5 s.</p></noscript>
<main>${history.length === 0 ? waiting : renderLiveBody(history)}</main><script>${LIVE_SCRIPT}</script></body></html>
`;
}

/** The picture of the last look, and plots of those before. */
export function renderLiveBody(history: readonly Snapshot[]): string {
  const snapshot = history.at(-1);
  if (snapshot === undefined) return '';
  const { health, troubles, at, sides } = snapshot;
  const backfill = describeBackfill(snapshot);
  const wrong = troubles.map(({ text }) => `<p class="wrong ${health}">${escapeHtml(text)}</p>`).join('');
  return `<header><h1>sensorctl monitor</h1><span class="badge ${health}">${health.toUpperCase()}</span>
<span>${escapeHtml(describePhase(snapshot))}</span><span class="dim right">${at.slice(0, 19).replace('T', ' ')} UTC</span></header>
<p class="dim">${describeDatabases(sides).map(escapeHtml).join(' &nbsp; ')}</p>
${wrong === '' ? `<p class="calm">${escapeHtml(describeCalm(snapshot))}</p>` : wrong}
${backfill === null ? '' : `<p class="calm">Backfill ${escapeHtml(backfill)}</p>`}
<div class="cards">${renderCards(snapshot)}</div>
${renderHistory(history)}
<h2>Rows of the last ${formatSeconds(snapshot.windowSeconds)}</h2>${renderTables(snapshot)}
<h2>Consumers</h2>${renderConsumers(snapshot)}`;
}

function renderCards(snapshot: Snapshot): string {
  const { rates, queue, comparison, at, leftBehind } = snapshot;
  const dead = queue?.deadLetters ?? 0;
  return [
    htmlCard('in', formatRate(rates.in), 'readings accepted'),
    ...(leftBehind === null
      ? dualWriteCards(snapshot)
      : [htmlCard('way back', formatCount(leftBehind.readings), describeLeftBehind(leftBehind, at))]),
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

/** What a secondary that is written has coming. */
function dualWriteCards({ primary, rates, lagSeconds, gaps, ledger }: Snapshot): string[] {
  const isLate = (lagSeconds ?? 0) > LAG_OF_CONCERN_SECONDS;
  const readings = gaps === null ? `${UNKNOWN} readings` : counted(gaps.readings, 'reading');
  const missed = formatFigure(ledger?.missed ?? null);
  return [
    htmlCard(`to ${sideTitle(otherSide(primary))}`, formatRate(rates.toSecondary), 'readings confirmed'),
    htmlCard('lag', formatSeconds(lagSeconds), 'oldest batch not confirmed', isLate ? 'warn' : ''),
    htmlCard('gaps', formatFigure(gaps?.ranges ?? null), readings, (gaps?.ranges ?? 0) > 0 ? 'bad' : ''),
    htmlCard('ledger', formatFigure(ledger?.pending ?? null), `pending; ${missed} missed`),
  ];
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
    band: 'Red band: TROUBLE, something needed you.',
    confirmed: `to ${sideTitle(otherSide(primary))}`,
    lag: 'oldest batch not confirmed',
  });
}

function renderTables(snapshot: Snapshot): string {
  const rows = worstTables(snapshot.tables, TABLES_SHOWN).map((table) => [
    table.table,
    ...rowsAndNewest(table, 'local', snapshot),
    ...rowsAndNewest(table, 'ec2', snapshot),
    rowsApart(table) ?? (table.counted === 'window' ? UNKNOWN : '-'),
    table.tracking ?? '',
  ]);
  const head = ['table', 'local', 'newest (UTC)', 'EC2', 'newest (UTC)', 'apart', 'other writers'];
  const writers = describeWriters(snapshot.writers);
  const lines = [`Tables: ${describeTableSet(snapshot)}`, ...(writers === null ? [] : [`Other writers: ${writers}`])];
  return `${htmlTable(head, rows)}${lines.map((line) => `<p class="dim">${escapeHtml(line)}</p>`).join('')}`;
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

/** Of more of them the worst, and all as one line. */
const TABLES_SHOWN = 15;
/** As many looks as the plots show: ten minutes at an interval of 2 s. */
const HISTORY = 300;
const HOST = '127.0.0.1';

/** Nothing is loaded from elsewhere, nothing runs but the page's own script, and no other page shows this one. */
const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src ${hashSource(PAGE_STYLE)}; script-src ${hashSource(LIVE_SCRIPT)}; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
};

/** The live picture as a page on loopback. */
export class LiveWeb {
  #history: readonly Snapshot[] = [];
  readonly #watching = new Set<ServerResponse>();
  #endpoint: Endpoint | undefined;

  constructor(private readonly port: number) {}

  /** Throws a UsageError where the port cannot be had. Returns the address of the page. */
  async open(): Promise<string> {
    this.#endpoint = await serve({ host: HOST, port: this.port }, 'web', (path, response) =>
      this.#answer(path, response),
    );
    return `http://${HOST}:${this.port}/`;
  }

  show(snapshot: Snapshot): void {
    this.#history = [...this.#history, snapshot].slice(-HISTORY);
    if (this.#watching.size === 0) return;
    const picture = this.#picture();
    for (const response of this.#watching) response.write(picture);
  }

  close(): void {
    this.#endpoint?.close();
  }

  #answer(path: string, response: ServerResponse): void {
    if (path === '/') response.writeHead(200, HEADERS).end(renderLivePage(this.#history));
    else if (path === '/pictures') this.#stream(response);
    else response.writeHead(404).end();
  }

  #stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(this.#picture());
    this.#watching.add(response);
    response.on('close', () => this.#watching.delete(response));
  }

  #picture(): string {
    return `data: ${JSON.stringify(renderLiveBody(this.#history))}\n\n`;
  }
}
