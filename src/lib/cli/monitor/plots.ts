import { escapeHtml } from './html.js';
import { formatMs, formatRate, formatSeconds } from './wording.js';
import { formatCount } from '../quantities.js';
import type { SampleFigures } from '../../repository/monitor/samples.js';

export interface PlotsOptions {
  readonly stretch: Pick<PlotOptions, 'fromMs' | 'toMs' | 'bands'>;
  /** The values of one figure over the stretch. */
  readonly points: (read: (figures: SampleFigures) => number | null) => Point[];
  /** What a red band says. */
  readonly band: string;
  /** How the series of confirmed readings and of the lag are named. */
  readonly confirmed: string;
  readonly lag: string;
}

/** The plots of a stretch of time, as the live page and the report show them, with what their bands mean. */
export function renderPlots({ stretch, points, band, confirmed, lag }: PlotsOptions): string {
  const plots = [
    renderPlot({
      ...stretch,
      title: 'Readings a second',
      format: (value) => formatRate(value),
      atLeast: 1,
      series: [
        { name: 'in', points: points(({ inPerSecond }) => inPerSecond) },
        { name: confirmed, points: points(({ toSecondaryPerSecond }) => toSecondaryPerSecond) },
      ],
    }),
    renderPlot({
      ...stretch,
      title: 'Lag',
      format: (value) => formatSeconds(value),
      atLeast: 1,
      series: [{ name: lag, points: points(({ lagSeconds }) => lagSeconds) }],
    }),
    renderPlot({
      ...stretch,
      title: 'Write latency',
      format: (value) => formatMs(value),
      atLeast: 10,
      series: [
        { name: 'local p50', points: points(({ localP50Ms }) => localP50Ms) },
        { name: 'EC2 p50', points: points(({ ec2P50Ms }) => ec2P50Ms) },
        { name: 'local p99', points: points(({ localP99Ms }) => localP99Ms) },
        { name: 'EC2 p99', points: points(({ ec2P99Ms }) => ec2P99Ms) },
      ],
    }),
    renderPlot({
      ...stretch,
      title: 'Readings that the secondary lacks',
      format: formatCount,
      atLeast: 10,
      series: [{ name: 'readings', points: points(({ gapReadings }) => gapReadings) }],
    }),
  ];
  const legend = `<p class="dim"><i class="key bandkey"></i>${escapeHtml(band)} A line that breaks: not known.</p>`;
  return `<div class="plots">${plots.join('')}</div>${legend}`;
}

/** A moment in ms since 1970, and a value; null breaks the line. */
export type Point = readonly [atMs: number, value: number | null];

export interface PlotOptions {
  readonly title: string;
  /** Up to four; the third and fourth are drawn as dashed lines of the first and second. */
  readonly series: readonly { readonly name: string; readonly points: readonly Point[] }[];
  readonly fromMs: number;
  readonly toMs: number;
  readonly format: (value: number) => string;
  /** The scale reaches at least so far. */
  readonly atLeast: number;
  /** Stretches in which something was wrong, in ms since 1970. */
  readonly bands?: readonly { readonly fromMs: number; readonly toMs: number }[];
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [560, 170, 58, 8, 8, 22];
const COLUMNS = 240;
const DAY_MS = 86_400_000;
const QUARTER_HOUR_MS = 900_000;

/** A plot as a figure of HTML with inline SVG; each pixel column shows its highest value. */
export function renderPlot(options: PlotOptions): string {
  const { title, series, fromMs, toMs, format } = options;
  const lines = series.map(({ points }) => highest(points, fromMs, toMs));
  const top = niceCeiling(Math.max(options.atLeast, ...lines.flat().map(([, value]) => value ?? 0)));
  const span = Math.max(toMs - fromMs, 1);
  const x = (atMs: number): number => round(LEFT + ((atMs - fromMs) / span) * (WIDTH - LEFT - RIGHT));
  const y = (value: number): number => round(TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM));
  const grid = [0, top / 2, top].map(
    (value) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>` +
      `<text x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${escapeHtml(format(value))}</text>`,
  );
  const clock = [0, 0.5, 1].map((share) => {
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
    const atMs = fromMs + share * span;
    return `<text x="${x(atMs)}" y="${HEIGHT - 6}" text-anchor="${anchor}">${formatMoment(atMs, span)}</text>`;
  });
  const bands = (options.bands ?? []).map(({ fromMs: start, toMs: end }) => {
    const [left, right] = [x(Math.max(start, fromMs)), x(Math.min(end, toMs))];
    return `<rect class="band" x="${left}" y="${TOP}" width="${Math.max(1, right - left)}" height="${HEIGHT - TOP - BOTTOM}"/>`;
  });
  const paths = lines.map(
    (line, place) =>
      `<path class="line s${place}${place === 0 && lines.length > 1 ? ' under' : ''}" d="${pathOf(line, x, y)}"/>`,
  );
  const keys = series.map(({ name, points }, place) => {
    const last = points.findLast(([, value]) => value !== null)?.[1] ?? null;
    return `<span><i class="key s${place}"></i>${escapeHtml(name)} ${last === null ? '' : escapeHtml(format(last))}</span>`;
  });
  return `<figure><figcaption><b>${escapeHtml(title)}</b>${keys.join('')}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}">${[...bands, ...grid, ...clock, ...paths].join('')}</svg></figure>`;
}

/** The points of a stretch, at most one a column: the highest of its values, or null where one breaks the line. */
function highest(points: readonly Point[], fromMs: number, toMs: number): Point[] {
  const width = Math.max(1, (toMs - fromMs) / COLUMNS);
  const columns = new Map<number, Point>();
  for (const point of points) {
    const column = Math.floor((point[0] - fromMs) / width);
    const shown = columns.get(column);
    if (shown === undefined || (point[1] ?? -1) > (shown[1] ?? -1)) columns.set(column, point);
  }
  return [...columns.values()];
}

function pathOf(points: readonly Point[], x: (atMs: number) => number, y: (value: number) => number): string {
  let isDrawing = false;
  const steps = points.map(([atMs, value]) => {
    if (value === null) {
      isDrawing = false;
      return '';
    }
    const step = `${isDrawing ? 'L' : 'M'}${x(atMs)} ${y(value)}`;
    // A point that stands alone is a dot.
    const dot = isDrawing ? '' : 'h0.1';
    isDrawing = true;
    return step + dot;
  });
  return steps.join('');
}

/** 1, 2 or 5 times a power of ten, or a quarter more or less: what a person reads at a glance. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

function formatMoment(atMs: number, spanMs: number): string {
  const text = new Date(atMs).toISOString();
  if (spanMs > DAY_MS) return text.slice(5, 16).replace('T', ' ');
  return spanMs > QUARTER_HOUR_MS ? text.slice(11, 16) : text.slice(11, 19);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
