import {
  describeCalm,
  describePhase,
  formatAgo,
  formatClock,
  formatFigure,
  formatMs,
  formatRate,
  formatSeconds,
  quarantineFigures,
  rowsAndNewest,
  UNKNOWN,
} from './wording.js';
import type { Paint } from '../output.js';
import { fitLine, padEnd, padStart, shorten } from '../text-layout.js';
import { formatCount, formatDuration } from '../quantities.js';
import { mapTexts, oneLine } from '../../domain/printable.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { counted } from '../../domain/words.js';
import { type ConsumerSnapshot, leavesSecondaryOut, type Snapshot } from '../../operations/monitor/monitor-snapshot.js';

export interface ScreenOptions {
  readonly columns: number;
  /** Lines to fill at most; consumers are left out where there are more. */
  readonly rows: number;
  readonly paint: Paint;
  /** The last line: keys, or that it is paused. */
  readonly footer: string | null;
}

const SPARK_COLUMNS = 20;
const LABEL_COLUMNS = 11;
const TROUBLES_SHOWN = 4;
const ERROR_COLUMNS = 26;

/** The live picture as lines of at most so many columns; the last of `history` is what it shows. */
export function renderScreen(history: readonly Snapshot[], options: ScreenOptions): string[] {
  const last = history.at(-1);
  if (last === undefined) return ['Looking …'];
  // What it is made of comes from outside: names of tables and hosts, errors of servers.
  const snapshot = mapTexts(last, oneLine);
  const { paint, columns, rows, footer } = options;
  const head = [
    ...renderHead(snapshot, paint),
    '',
    ...renderTables(snapshot, paint),
    '',
    ...renderFlow(history, snapshot, paint),
    '',
  ];
  const foot = footer === null ? [] : ['', paint(footer, 'dim')];
  const consumers = renderConsumers(snapshot, Math.max(1, rows - head.length - foot.length - 1), paint);
  return [...head, ...consumers, ...foot].slice(0, rows).map((line) => fitLine(line, columns));
}

function renderHead(snapshot: Snapshot, paint: Paint): string[] {
  const { health, troubles, at } = snapshot;
  const color = { healthy: 'green', recovering: 'yellow', trouble: 'red' } as const;
  const title = paint(` ${health.toUpperCase()} `, 'bold', 'inverse', color[health]);
  const clock = `${at.slice(0, 19).replace('T', ' ')} UTC`;
  const gap = ' '.repeat(Math.max(1, 80 - health.length - 2 - clock.length));
  const shown = troubles.slice(0, TROUBLES_SHOWN).map(({ text }) => paint(`  ${text}`, color[health]));
  const more = troubles.length > TROUBLES_SHOWN ? [`  and ${troubles.length - TROUBLES_SHOWN} troubles more`] : [];
  const calm = troubles.length === 0 ? [`  ${describeCalm(snapshot)}`] : [];
  return [`${title}${gap}${paint(clock, 'dim')}`, `  ${describePhase(snapshot)}`, ...calm, ...shown, ...more];
}

function renderTables({ tables, windowSeconds, at, sides }: Snapshot, paint: Paint): string[] {
  const window = formatDuration(windowSeconds * 1000);
  const columns = (cells: readonly string[]): string => {
    const [name = '', ...rest] = cells;
    return padEnd(name, 23) + rest.map((cell, place) => padStart(cell, [11, 12, 11, 12, 10][place] ?? 0)).join('');
  };
  const title = columns([`rows of the last ${window}`, 'local', 'newest', 'EC2', 'newest', 'apart']);
  const lines = tables.map(({ table, local, ec2 }) => {
    const apart = local === null || ec2 === null ? '' : formatCount(local.rows - ec2.rows);
    const cells = [...rowsAndNewest(local, sides.local, at), ...rowsAndNewest(ec2, sides.ec2, at)];
    const texts = cells.map((each) => (typeof each === 'number' ? formatCount(each) : each));
    return columns([table, ...texts, apart === '0' ? '=' : apart]);
  });
  return [paint(title, 'dim'), ...lines];
}

function renderFlow(history: readonly Snapshot[], snapshot: Snapshot, paint: Paint): string[] {
  const { primary, rates, lagSeconds, sides, ledger, gaps, at } = snapshot;
  const secondary = otherSide(primary);
  const spark = (read: (each: Snapshot) => number | null): string =>
    history.length === 1 ? ' '.repeat(SPARK_COLUMNS) : paint(sparkline(history.map(read), SPARK_COLUMNS), 'cyan');
  const flow = (label: string, value: string, line: string, rest: string): string =>
    `${label.padEnd(LABEL_COLUMNS)}${value.padStart(8)} ${line}  ${rest}`;
  const writes = (side: 'local' | 'ec2'): string => {
    const [p50, p99] = [formatMs(sides[side].writeP50Ms), formatMs(sides[side].writeP99Ms)];
    return `${sideTitle(side)} writes`.padEnd(13) + `p50 ${p50.padStart(7)}  p99 ${p99.padStart(7)}`;
  };
  const entries =
    ledger === null
      ? `ledger       ${UNKNOWN}`
      : `pending ${formatCount(ledger.pending)}  missed ${formatCount(ledger.missed)}  refused ${formatCount(ledger.refused)}`;
  return [
    flow(
      'in',
      formatRate(rates.in),
      spark((each) => each.rates.in),
      writes(primary),
    ),
    flow(
      `to ${sideTitle(secondary)}`,
      formatRate(rates.toSecondary),
      spark((each) => each.rates.toSecondary),
      writes(secondary),
    ),
    flow(
      'lag',
      formatSeconds(lagSeconds),
      spark((each) => each.lagSeconds),
      entries,
    ),
    `${'gaps'.padEnd(LABEL_COLUMNS)} ${describeGaps(gaps, at, paint)}`,
    `${'queue'.padEnd(LABEL_COLUMNS)} ${describeQueue(snapshot.queue)}`,
    `${'quarantine'.padEnd(LABEL_COLUMNS)} ${describeQuarantine(snapshot)}`,
    `${'compare'.padEnd(LABEL_COLUMNS)} ${describeComparison(snapshot)}`,
  ];
}

function describeGaps(gaps: Snapshot['gaps'], at: string, paint: Paint): string {
  if (gaps === null) return UNKNOWN;
  if (gaps.ranges === 0) return 'none';
  const oldest = gaps.oldest === null ? '' : `, the oldest from ${formatClock(gaps.oldest, at)}`;
  return paint(`${counted(gaps.ranges, 'range')}, ${counted(gaps.readings, 'reading')}${oldest}`, 'yellow');
}

function describeQueue(queue: Snapshot['queue']): string {
  if (queue === null) return 'not configured';
  const waited = queue.longestWaitSeconds === null ? '-' : formatSeconds(queue.longestWaitSeconds);
  const dead = queue.deadLetters === null ? '-' : formatCount(queue.deadLetters);
  return `${formatFigure(queue.visible)} waiting, ${formatFigure(queue.inFlight)} in flight, longest wait ${waited}, dead letters ${dead}`;
}

function describeQuarantine(snapshot: Snapshot): string {
  const [local, ec2] = quarantineFigures(snapshot);
  return `local ${local}, EC2 ${ec2}`;
}

function describeComparison({ comparison, at }: Snapshot): string {
  if (comparison === null) return 'none on record';
  const { verdict, finishedAt, knownGap, unexplained } = comparison;
  const found =
    verdict === 'identical' ? '' : ` (known gap ${formatCount(knownGap)}, unexplained ${formatCount(unexplained)})`;
  return `${verdict}${found}, ${formatAgo(finishedAt, at)} ago`;
}

function renderConsumers({ consumers }: Snapshot, room: number, paint: Paint): string[] {
  if (consumers === null) return [`consumers  ${UNKNOWN}`];
  if (consumers.length === 0) return ['consumers  none'];
  const title = paint(consumerLine(['consumer', 'rate', 'breaker', 'in hand', 'last error']), 'dim');
  const lines = consumers.map((consumer) => renderConsumer(consumer, paint));
  if (lines.length <= room) return [title, ...lines];
  return [title, ...lines.slice(0, room - 1), `and ${counted(lines.length - room + 1, 'consumer')} more`];
}

function renderConsumer(consumer: ConsumerSnapshot, paint: Paint): string {
  const { host, pid, state, rate, breaker, messagesInHand, lastError } = consumer;
  const error = lastError === null ? '-' : `${formatDuration(lastError.agoSeconds * 1000)} ago: ${lastError.text}`;
  const cells = [
    `${shorten(host, 20)} ${pid}`,
    state === 'running' ? formatRate(rate) : state,
    breaker ?? '-',
    messagesInHand === null ? '-' : formatCount(messagesInHand),
    shorten(error, ERROR_COLUMNS),
  ];
  const line = consumerLine(cells);
  if (state === 'lost') return paint(line, 'red');
  return leavesSecondaryOut(consumer) ? paint(line, 'yellow') : line;
}

function consumerLine([name = '', rate = '', breaker = '', inHand = '', error = '']: readonly string[]): string {
  return `${padEnd(name, 28)}${rate.padStart(9)}  ${breaker.padEnd(8)}${inHand.padStart(7)}  ${error}`;
}

const HEIGHTS = '▁▂▃▄▅▆▇█';

/** The last values as one character each, the highest of them (or of `atLeast`) as a full block; unknown ones are blank. */
export function sparkline(values: readonly (number | null)[], width: number, atLeast = 1): string {
  const shown = values.slice(-width);
  const most = Math.max(atLeast, ...shown.map((value) => value ?? 0));
  const height = (value: number | null): string => {
    return value === null ? ' ' : (HEIGHTS[Math.round((value / most) * (HEIGHTS.length - 1))] ?? ' ');
  };
  return shown.map(height).join('').padStart(width);
}
