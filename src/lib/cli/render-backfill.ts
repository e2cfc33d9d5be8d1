import { CommandLineError } from './advice.js';
import { oneLine } from './output.js';
import type { Progress } from './progress.js';
import { formatBytes, formatCount, formatDuration, formatGapTimes } from './quantities.js';
import { renderTable } from './table.js';
import { otherSide, type Side, sideTitle } from '../domain/side.js';
import { counted } from '../domain/words.js';
import type { BackfillProgress, BackfillPlan, BackfillReport } from '../operations/backfill/backfill-report.js';

const GAPS_SHOWN = 10;

/** `To do: 3 ranges, up to 1,200 rows, 240 kB, about 1 s`. */
export function renderPlan({ ranges, rows, bytes, seconds }: BackfillPlan): string {
  const size = bytes === 0 ? '' : `, ${formatBytes(bytes)}`;
  return `To do: ${counted(ranges, 'range')}, up to ${counted(rows, 'row')}${size}, about ${formatDuration(seconds * 1000)}`;
}

/** Shows each state; pace and time left are those of the step at hand, since it began to be shown. */
export function showBackfill(progress: Progress): (state: BackfillProgress) => void {
  let [step, beganAt, rowsBefore] = ['', 0, 0];
  return (state) => {
    if (state.step !== step) [step, beganAt, rowsBefore] = [state.step, performance.now(), state.rows];
    const seconds = (performance.now() - beganAt) / 1000;
    const { rows, ofRows } = state;
    const rate = seconds === 0 ? 0 : (rows - rowsBefore) / seconds;
    progress.update(renderProgress(state, rate), ofRows === null || ofRows === 0 ? null : rows / ofRows);
  };
}

/** A line for the progress: what is done, how fast (rows a second), and how long the rest will take. */
export function renderProgress({ step, table, rows, ofRows, throttled }: BackfillProgress, rate: number): string {
  const where = table === null ? '' : ` in ${table}`;
  const done =
    ofRows === null || ofRows === 0 ? counted(rows, 'row') : `${formatCount(rows)} of ${counted(ofRows, 'row')}`;
  const left =
    ofRows === null || rate <= 0 ? '' : `, ${formatDuration((Math.max(0, ofRows - rows) / rate) * 1000)} left`;
  const held = throttled === null ? '' : `, held back: ${throttled}`;
  return `${step}${where}: ${done}, ${formatCount(Math.round(rate))}/s${left}${held}`;
}

export function renderBackfill(report: BackfillReport, target: Side, { withNext = true } = {}): string {
  const there = sideTitle(target);
  const leftOut = report.leftOut.map(({ table, before, reason }) =>
    oneLine(`Left out: ${table} before ${before} (${reason})`),
  );
  const failed = report.failed.map(({ table, reason }) => oneLine(`Not copied: ${table}: ${reason}`));
  const next = withNext ? [renderNext(report)] : [];
  if (report.ranges + report.rowsCopied + report.remainingGaps === 0) {
    const said = failed.length > 0 ? [] : [`Nothing to do: ${there} lacks nothing that was asked for.`];
    return [...said, ...leftOut, ...failed, ...(failed.length > 0 ? next : [])].join('\n');
  }
  const counts = renderTable(
    ['rows', 'count'],
    [
      ['copied', report.rowsCopied],
      [`  inserted on ${there}`, report.rowsInserted],
      ['  skipped: there already, equal', report.rowsSkipped],
      ['  corrected', report.rowsCorrected],
      ['  refused', report.rowsRefused],
      ['verified', report.verified],
      [`only on ${there} (reported, left alone)`, report.rowsExtra],
      [`only on ${there} (deleted, kept in its quarantine)`, report.rowsPruned],
      ['gaps that remain', report.remainingGaps],
    ],
  );
  return [counts, ...renderTables(report, there), ...leftOut, ...failed, ...renderGaps(report), ...next].join('\n');
}

/** None where nothing was done but to look. */
function renderTables({ tables }: BackfillReport, there: string): string[] {
  if (tables.length === 0) return [];
  const rows = tables.map((each) => [
    ...[oneLine(each.table), each.rowsInserted, each.rowsSkipped, each.rowsCorrected, each.rowsRefused],
    ...[each.rowsExtra, each.rowsPruned],
  ]);
  return [renderTable(['table', 'inserted', 'equal', 'corrected', 'refused', `only on ${there}`, 'deleted'], rows)];
}

function renderGaps({ gaps }: BackfillReport): string[] {
  if (gaps.length === 0) return [];
  const rows = gaps
    .slice(0, GAPS_SHOWN)
    .map(({ table, from, to, reason }) => [table, ...formatGapTimes(from, to), reason ?? '-']);
  const more = gaps.length > GAPS_SHOWN ? [`and ${counted(gaps.length - GAPS_SHOWN, 'gap')} more`] : [];
  return [renderTable(['gap that remains', 'from (UTC)', 'to (UTC)', 'reason'], rows), ...more];
}

function renderNext({ remainingGaps, rowsExtra, rowsRefused, failed }: BackfillReport): string {
  if (remainingGaps + rowsRefused + failed.length > 0)
    return 'Next: sensorctl verify-schema    # mend what the reasons say, then sensorctl backfill again';
  if (rowsExtra > 0)
    return 'Next: sensorctl compare --all    # names the rows that one side alone has, and how to bring them to the primary';
  return 'Next: sensorctl compare --all    # proves it';
}

/** The side that is written; throws a UsageError where that would delete what the primary alone has. */
export function targetOf(
  { direction, prune }: { direction?: string | undefined; prune: boolean },
  primary: Side,
): Side {
  const target = direction === undefined ? otherSide(primary) : direction === 'local-to-ec2' ? 'ec2' : 'local';
  if (!prune || target !== primary) return target;
  throw new CommandLineError(
    `--prune never deletes from ${sideTitle(primary)}, which decides`,
    'leave --prune or --direction out',
  );
}
