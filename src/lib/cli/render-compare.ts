import { adviseOn } from './advice.js';
import { oneLine } from './output.js';
import { counted, formatCount, formatDuration, formatTime } from './quantities.js';
import { renderTable } from './table.js';
import { shellWord } from './shell-word.js';
import { padEnd } from './text-layout.js';
import { otherSide, type Side, sideTitle } from '../domain/side.js';
import {
  type CompareReport,
  type DifferenceRecord,
  type SideReport,
  type Strip,
  type TableReport,
} from '../operations/compare/compare-report.js';
import { type CompareOutcome } from '../operations/compare/compare.js';

const HEIGHTS = '▁▂▃▄▅▆▇█';
const NONE = '·';

/**
 * Renders a comparison for a person: rows and newest time on both sides, the differences, where in the window they lie, and,
 * unless it is done anyway, what to do.
 */
export function renderComparison({ report, strips, failed }: CompareOutcome, { withNext = true } = {}): string {
  const { tables, window, leftOut, tablesLeftOut, notCompared, differences } = report;
  const differing = tables.filter(hasDifference);
  const sections = [
    `From ${window.from ?? 'the oldest row'} to ${window.to ?? 'the newest row'} (UTC)\nDigests by ${report.digest}`,
    renderTable(['table', 'side', 'rows', 'newest (UTC)'], tables.flatMap(sideRows)),
    ...leftOut.map(({ table, before, reason }) => oneLine(`Left out: ${table} before ${before} (${reason})`)),
    ...renderLeftOut(tablesLeftOut),
    ...failed.map(renderFailed),
    ...notCompared.map(({ table, columns, reason }) =>
      oneLine(`Not compared: ${columns.join(', ')} of ${table} (${reason})`),
    ),
    ...(differing.length === 0 ? [] : [renderCounts(differing, report.primary)]),
    ...renderStrips(differing, strips),
    ...differences.map(renderDifference),
    ...renderMore(differing, differences),
    ...renderVerdict(report, withNext),
  ];
  return sections.join('\n');
}

const NAMED_AT_MOST = 10;

/** By reason, since there may be hundreds of tables. */
function renderLeftOut(tables: CompareReport['tablesLeftOut']): string[] {
  const reasons = [...new Set(tables.map(({ reason }) => reason))];
  return reasons.map((reason) => {
    const names = tables.filter((each) => each.reason === reason).map(({ table }) => table);
    const more = names.length - NAMED_AT_MOST;
    return oneLine(
      `Left out: ${names.slice(0, NAMED_AT_MOST).join(', ')}${more > 0 ? ` and ${more} more` : ''} (${reason})`,
    );
  });
}

function renderFailed({ table, reason, advice }: CompareOutcome['failed'][number]): string {
  return oneLine(`Not compared: ${table}: ${reason}${advice === null ? '' : ` (next: ${adviseOn(advice)})`}`);
}

function sideRows({ table, local, ec2 }: TableReport): (string | number)[][] {
  const row = (side: string, { rows, maxTime }: SideReport): (string | number)[] => [
    ...[side === 'local' ? table : '', side, rows],
    formatTime(maxTime),
  ];
  return [row('local', local), row('ec2', ec2)];
}

function hasDifference({ missingOnEc2, missingOnLocal, different }: TableReport): boolean {
  return missingOnEc2 + missingOnLocal + different > 0;
}

function renderCounts(tables: readonly TableReport[], primary: Side): string {
  const secondary = otherSide(primary);
  const kinds = [`missing on ${secondary}`, `missing on ${primary}`, 'different'];
  const head = ['differences', ...kinds, 'pending', 'known gap', 'unexplained'];
  const rows = tables.map((each) => {
    const { table, different, pending, knownGap, unexplained } = each;
    return [table, lackingIn(each, primary), extraIn(each, primary), different, pending, knownGap, unexplained];
  });
  return renderTable(head, rows);
}

/** Rows that the secondary lacks, and those that it alone has. */
function lackingIn({ missingOnEc2, missingOnLocal }: TableReport, primary: Side): number {
  return primary === 'local' ? missingOnEc2 : missingOnLocal;
}

function extraIn({ missingOnEc2, missingOnLocal }: TableReport, primary: Side): number {
  return primary === 'local' ? missingOnLocal : missingOnEc2;
}

function renderStrips(tables: readonly TableReport[], strips: ReadonlyMap<string, Strip>): string[] {
  const shown = tables.flatMap(({ table }) => {
    const strip = strips.get(table);
    return strip === undefined ? [] : [`${padEnd(oneLine(table), 22)} |${renderStrip(strip)}|`];
  });
  return shown.length === 0 ? [] : ['Where they lie, from the beginning of the window to its end:', ...shown];
}

/** A cell for each part of the window, higher where more rows differ; `1234` → `▁▂▃▄`. */
function renderStrip(strip: Strip): string {
  const most = Math.max(...strip);
  const height = (count: number): string => HEIGHTS[Math.ceil((count / most) * HEIGHTS.length) - 1] ?? NONE;
  return strip.map((count) => (count === 0 ? NONE : height(count))).join('');
}

function renderDifference({ table, kind, class: found, key, columns }: DifferenceRecord): string {
  const name = Object.values(key)
    .map((value) => value ?? 'null')
    .join(' ');
  const values = Object.entries(columns).map(([column, { local, ec2 }]) => {
    return `${column} is ${local ?? 'null'} on local, ${ec2 ?? 'null'} on EC2`;
  });
  const lacking = kind.replace('ec2', 'EC2');
  // A row of sensor_registry is there, and lacks what later readings say.
  const where = values.length === 0 ? lacking : lacking.replace('missing', 'behind');
  const what = kind === 'different' ? values.join('; ') : [`${where} (${found})`, ...values].join('; ');
  return oneLine(`  ${table} ${name}: ${what}`);
}

function renderMore(tables: readonly TableReport[], listed: readonly DifferenceRecord[]): string[] {
  const all = tables.reduce((sum, table) => sum + table.missingOnEc2 + table.missingOnLocal + table.different, 0);
  return all > listed.length ? [`  and ${formatCount(all - listed.length)} more; --output FILE writes them all`] : [];
}

function renderVerdict(report: CompareReport, withNext: boolean): string[] {
  const { verdict, primary, tables, failed, window, resumedFrom } = report;
  const resumed =
    resumedFrom === null ? '' : ` (resumed: what was compared since ${resumedFrom} was not looked at again)`;
  const ofWhat = `${counted(tables.length, 'table')} compared${renderRest(report)}`;
  if (verdict === 'identical')
    return [`Identical: ${renderEquality(tables, { primary, window })}; ${ofWhat}${resumed}.`];
  if (!tables.some(hasDifference)) {
    return [`Not proven: ${counted(failed.length, 'table')} could not be compared; ${ofWhat}${resumed}.`];
  }
  const sum = (count: (table: TableReport) => number): number =>
    tables.reduce((total, table) => total + count(table), 0);
  const extra = sum((table) => extraIn(table, primary) - table.pendingExtra);
  const lacking = sum((table) => lackingIn(table, primary) + table.different - table.pending + table.pendingExtra);
  const there = sideTitle(otherSide(primary));
  const found = `Different: ${counted(lacking, 'row is', 'rows are')} missing or different on ${there}, ${counted(extra, 'is', 'are')} there alone${resumed}.`;
  return withNext ? [found, `Next: sensorctl ${nextOf(report, { lacking, extra })}`] : [found];
}

/** The command that brings the sides together, and what it does; rows by whether the secondary lacks them or has them alone. */
function nextOf(
  { primary, tables, window }: CompareReport,
  { lacking, extra }: { readonly lacking: number; readonly extra: number },
): string {
  const there = sideTitle(otherSide(primary));
  const gaps = tables.reduce((sum, { knownGap }) => sum + knownGap, 0);
  const isKnown = gaps > 0 && (lacking === 0 || lacking + extra === gaps);
  if (isKnown && primary === 'ec2')
    return `cutover --rollback    # local is kept as it was: going back brings it what EC2 got; sensorctl backfill does so at once`;
  if (isKnown) return `backfill    # repairs the gaps that the ledger knows, and names what ${there} refuses`;
  // A range holds no row off the axis: what was compared whole is repaired so.
  const isWhole = window.from === null || window.to === null || tables.every(({ whole }) => whole);
  const range = isWhole ? '--all' : `--from ${window.from} --to ${window.to}`;
  if (lacking === 0)
    return `backfill ${range} --direction ${otherSide(primary)}-to-${primary}    # brings to ${sideTitle(primary)} what only ${there} has; where it is wrong there, --prune deletes it`;
  const differing = tables.filter(hasDifference).map(({ table }) => oneLine(table));
  const isEach = differing.length === tables.length && differing.length > NAMED_AT_MOST;
  const some = isEach ? '' : differing.map((table) => ` --table ${shellWord(table)}`).join('');
  return `compare ${range}${some} --repair    # brings to ${there} what it lacks`;
}

/** Renders what the verdict does not cover. */
function renderRest({ tablesLeftOut, notCompared }: Pick<CompareReport, 'tablesLeftOut' | 'notCompared'>): string {
  const columns = notCompared.reduce((sum, each) => sum + each.columns.length, 0);
  return [
    tablesLeftOut.length > 0 ? `, ${tablesLeftOut.length} left out` : '',
    columns > 0 ? `, without ${counted(columns, 'column')}` : '',
  ].join('');
}

function renderEquality(
  tables: readonly TableReport[],
  { primary, window }: Pick<CompareReport, 'primary' | 'window'>,
): string {
  const pending = tables.reduce((sum, table) => sum + table.pending, 0);
  const equal = `${sideTitle(otherSide(primary))} holds what ${sideTitle(primary)} holds`;
  if (pending > 0) return `${equal}, ${counted(pending, 'row is', 'rows are')} on the way`;
  if (tables.some(({ local, ec2 }) => local.rows + ec2.rows > 0)) return equal;
  return window.from === null ? 'neither side holds a row' : 'neither side holds a row in this range';
}

/** `42 %, about 3 min left`. */
export function renderShare(done: number, leftMs: number | null): string {
  const share = `${Math.floor(done * 100)} %`;
  if (leftMs === null) return share;
  return `${share}, about ${formatDuration(leftMs)} left`;
}
