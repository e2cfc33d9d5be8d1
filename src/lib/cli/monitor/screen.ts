import { renderConsumers } from './screen-consumers.js';
import {
  describeBackfill,
  describeCalm,
  describeDatabases,
  describeLeftBehind,
  describePhase,
  describeTableSet,
  describeWriters,
  formatAgo,
  formatClock,
  formatFigure,
  formatMs,
  formatRate,
  formatSeconds,
  quarantineFigures,
  rowsApart,
  rowsAndNewest,
  UNKNOWN,
} from './wording.js';
import { worstTables, type ShownTable } from './worst-tables.js';
import type { Paint } from '../output.js';
import { fitLine, padEnd, padStart, shorten, widthOf, wrap } from '../text-layout.js';
import { formatCount, formatDuration } from '../quantities.js';
import { mapTexts, oneLine } from '../../domain/printable.js';
import { otherSide, sideTitle } from '../../domain/side.js';
import { counted } from '../../domain/words.js';
import type { Snapshot } from '../../operations/monitor/monitor-snapshot.js';

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
const TROUBLE_LINES = 4;
/** Of a terminal that has room for more tables, and for empty lines. */
const TALL = 40;
const TABLES_SHOWN = 5;
const TABLES_SHOWN_TALL = 12;
/** Of the names of tables, on 80 columns; a wider terminal shows more of them. */
const NAME_COLUMNS = 23;
const NAME_COLUMNS_AT_MOST = 60;

/** The live picture as lines of at most so many columns; the last of `history` is what it shows. */
export function renderScreen(history: readonly Snapshot[], options: ScreenOptions): string[] {
  const last = history.at(-1);
  if (last === undefined) return ['Looking …'];
  // What it is made of comes from outside: names of tables and hosts, errors of servers.
  const snapshot = mapTexts(last, oneLine);
  const { paint, columns, rows, footer } = options;
  const gap = rows < TALL ? [] : [''];
  const head = [
    ...renderHead(snapshot, options),
    ...gap,
    ...renderTables(snapshot, options),
    ...gap,
    ...renderFlow(history, snapshot, paint),
    ...gap,
  ];
  const foot = footer === null ? [] : ['', paint(footer, 'dim')];
  const room = Math.max(1, rows - head.length - foot.length - 1);
  const consumers = renderConsumers(snapshot.consumers, { room, columns, paint });
  return [...[...head, ...consumers].slice(0, Math.max(0, rows - foot.length)), ...foot].map((line) =>
    fitLine(line, columns),
  );
}

function renderHead(snapshot: Snapshot, { columns, rows, paint }: ScreenOptions): string[] {
  const { health, troubles, at, sides } = snapshot;
  const color = { healthy: 'green', recovering: 'yellow', trouble: 'red' } as const;
  const title = paint(` ${health.toUpperCase()} `, 'bold', 'inverse', color[health]);
  const clock = `${at.slice(0, 19).replace('T', ' ')} UTC`;
  const gap = ' '.repeat(Math.max(1, 80 - health.length - 2 - clock.length));
  const shown = troubles.length === 0 ? [describeCalm(snapshot)] : wrapTroubles(snapshot, { columns, rows });
  const databases = describeDatabases(sides);
  const inOneLine = `  ${databases.join('   ')}`;
  return [
    `${title}${gap}${paint(clock, 'dim')}`,
    `  ${describePhase(snapshot)}`,
    ...(widthOf(inOneLine) <= columns ? [inOneLine] : databases.map((each) => `  ${each}`)),
    ...shown.map((line) => `  ${troubles.length === 0 ? line : paint(line, color[health])}`),
  ];
}

/** Each in full where the lines are enough for it, else the first line of each. */
function wrapTroubles({ troubles }: Snapshot, { columns, rows }: Pick<ScreenOptions, 'columns' | 'rows'>): string[] {
  const room = Math.max(TROUBLE_LINES, Math.floor(rows / 4));
  const wrapped = troubles.map(({ text }) =>
    wrap(text, columns - 4).map((line, place) => (place === 0 ? line : `  ${line}`)),
  );
  if (wrapped.flat().length <= room) return wrapped.flat();
  const firsts = troubles.map(({ text }) => text);
  if (firsts.length <= room) return firsts;
  return [...firsts.slice(0, room - 1), `and ${counted(firsts.length - room + 1, 'trouble')} more`];
}

function renderTables(snapshot: Snapshot, { rows, columns, paint }: ScreenOptions): string[] {
  const window = formatDuration(snapshot.windowSeconds * 1000);
  const nameColumns = Math.min(NAME_COLUMNS + Math.max(0, columns - 80), NAME_COLUMNS_AT_MOST);
  const line = ([name = '', ...rest]: readonly string[]): string => {
    const widths = [11, 12, 11, 12, 10];
    const cells = rest.map((cell, place) => padStart(cell, widths[place] ?? 0));
    return padEnd(shorten(name, nameColumns), nameColumns) + cells.join('');
  };
  const title = line([`rows of the last ${window}`, 'local', 'newest', 'EC2', 'newest', 'apart']);
  const lines = worstTables(snapshot.tables, rows < TALL ? TABLES_SHOWN : TABLES_SHOWN_TALL).map((table) => {
    const cells = [...rowsAndNewest(table, 'local', snapshot), ...rowsAndNewest(table, 'ec2', snapshot)];
    const texts = cells.map((each) => (typeof each === 'number' ? formatCount(each) : each));
    return line([table.table, ...texts, describeApart(table)]);
  });
  return [paint(title, 'dim'), ...lines];
}

function describeApart(table: ShownTable): string {
  const apart = rowsApart(table);
  if (apart === null) return '';
  return apart === 0 ? '=' : formatCount(apart);
}

function renderFlow(history: readonly Snapshot[], snapshot: Snapshot, paint: Paint): string[] {
  const { primary, rates, lagSeconds, sides, ledger, gaps, leftBehind, at } = snapshot;
  const secondary = otherSide(primary);
  const spark = (read: (each: Snapshot) => number | null): string =>
    history.length === 1 ? ' '.repeat(SPARK_COLUMNS) : paint(sparkline(history.map(read), SPARK_COLUMNS), 'cyan');
  const flow = (label: string, value: string, line: string, rest: string): string =>
    `${label.padEnd(LABEL_COLUMNS)}${value.padStart(8)} ${line}  ${rest}`;
  const writes = (side: 'local' | 'ec2'): string => {
    const [p50, p99] = [formatMs(sides[side].writeP50Ms), formatMs(sides[side].writeP99Ms)];
    return `${sideTitle(side)} writes`.padEnd(13) + `p50 ${p50.padStart(7)}  p99 ${p99.padStart(7)}`;
  };
  const backfill = describeBackfill(snapshot);
  const writers = describeWriters(snapshot.writers);
  return [
    flow(
      'in',
      formatRate(rates.in),
      spark((each) => each.rates.in),
      writes(primary),
    ),
    ...(leftBehind === null
      ? [
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
            describeLedger(ledger),
          ),
          labelled('gaps', describeGaps(gaps, at, paint)),
        ]
      : [
          labelled('to local', 'not written: it is kept as it was'),
          labelled('way back', describeLeftBehind(leftBehind, at)),
        ]),
    ...(writers === null ? [] : [labelled('writers', paint(writers, 'yellow'))]),
    ...(backfill === null ? [] : [labelled('backfill', backfill)]),
    ...(snapshot.tables.length === 0 ? [] : [labelled('tables', describeTableSet(snapshot))]),
    labelled('queue', describeQueue(snapshot.queue)),
    labelled('quarantine', describeQuarantine(snapshot)),
    labelled('compare', describeComparison(snapshot)),
  ];
}

function labelled(label: string, text: string): string {
  return `${label.padEnd(LABEL_COLUMNS)} ${text}`;
}

function describeLedger(ledger: Snapshot['ledger']): string {
  if (ledger === null) return `ledger       ${UNKNOWN}`;
  const { pending, missed, refused } = ledger;
  return `pending ${formatCount(pending)}  missed ${formatCount(missed)}  refused ${formatCount(refused)}`;
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
