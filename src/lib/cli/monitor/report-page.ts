import { counted } from '../../domain/words.js';
import { parseInstant } from '../../domain/time.js';
import { HOLE_SECONDS } from '../../operations/monitor/incidents.js';
import type { MonitorReport, PhaseChange } from '../../operations/monitor/monitor-report.js';
import type { ReportedTable } from '../../operations/monitor/reported-tables.js';
import type { TroubleKind } from '../../operations/monitor/monitor-snapshot.js';
import type { ComparisonFigures } from '../../repository/monitor/last-comparison.js';
import type { SampleFigures } from '../../repository/monitor/samples.js';
import { formatCount, formatDuration } from '../quantities.js';
import { escapeHtml, hashSource, htmlCard, htmlTable, PAGE_STYLE } from './html.js';
import { type Point, renderPlots } from './plots.js';
import { describeDatabases, describeTables, formatMs, formatSeconds } from './wording.js';

const ROWS_AT_MOST = 200;
const NAMES_AT_MOST = 5;
const BAND = 'Red band: an incident other than gaps and lag, or a time that nobody watched (see Incidents).';

const INCIDENT_TITLES: Readonly<Record<TroubleKind | 'not-watched', string>> = {
  'primary-silent': 'the primary did not answer',
  'secondary-silent': 'the secondary did not answer',
  'not-readable': 'a side could be read only in part',
  'not-receiving': 'a consumer received nothing',
  'queue-silent': 'the queue did not answer',
  'no-consumer': 'no consumer ran',
  'breaker-open': 'consumers left the secondary out',
  gaps: 'the secondary lacked readings',
  lag: 'the secondary was behind',
  'dead-letters': 'messages in the dead-letter queue',
  different: 'a comparison found rows that nothing explains',
  apart: 'the sides counted differently, and the ledger knew nothing of it',
  'not-handled': 'tables could not be moved as they are',
  'partly-tracked': 'triggers for other writers were not whole',
  'change-overdue': 'a change of phase was overdue',
  'not-watched': 'nobody watched',
};

/** The report as one file of HTML that needs no other. */
export function renderReportPage(report: MonitorReport): string {
  const { since, until, databases, phase, epoch, soak, notRead } = report;
  const sides = { local: { database: databases.local }, ec2: { database: databases.ec2 } };
  const title = `sensorctl: ${short(since)} to ${short(until)} UTC`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src ${hashSource(PAGE_STYLE)}; base-uri 'none'; form-action 'none'">
<title>${title}</title><style>${PAGE_STYLE}</style></head><body><main>
<header><h1>What sensorctl saw</h1>${badge(report)}<span>${short(since)} to ${short(until)} UTC</span>
<span class="dim right">${phase === null ? 'no phase recorded' : `phase ${phase}`} · epoch ${epoch}</span></header>
<p>Between ${describeDatabases(sides).map(escapeHtml).join(' and ')}.</p>
${notRead.map((message) => `<p class="wrong">Not in this report: ${escapeHtml(message)}</p>`).join('')}
<div class="cards">${renderCards(report)}</div>
<h2>Gates</h2>${renderGates(report)}
<h2>Tables</h2>${renderTables(report)}
${renderSamples(report)}
<h2>Incidents</h2>${renderIncidents(report)}
<h2>Gaps</h2>${renderGaps(report)}
<h2>Comparisons</h2>${renderComparisons(report)}
<h2>Changes of phase</h2>${renderChanges(report)}
<p class="dim">${counted(soak.samples, 'sample')} on the primary, from ${short(soak.first)} to ${short(soak.last)}; at most ${formatSeconds(soak.largestHoleSeconds)} without one. Explained: an outage of the secondary whose readings the ledger holds.</p>
</main></body></html>
`;
}

/** The report in one line. */
export function describeReport({ soak, incidents, comparisons, gaps, tables }: MonitorReport): string {
  const open = gaps.filter(({ closed }) => closed === null).length;
  const different = comparisons.filter(({ verdict }) => verdict === 'different').length;
  return `${counted(soak.samples, 'sample')}, ${counted(incidents.length, 'incident')}, ${counted(gaps.length, 'gap')} (${open} open), ${counted(comparisons.length, 'comparison')} (${different} different)${describeProven(tables)}`;
}

function describeProven(tables: MonitorReport['tables']): string {
  if (tables === null) return '';
  return `, ${countProven(tables)} of ${counted(tables.length, 'table')} proven`;
}

function countProven(tables: NonNullable<MonitorReport['tables']>): number {
  return tables.filter(({ proven, different }) => proven !== null && different === null).length;
}

function badge({ gates, soak, comparisons }: MonitorReport): string {
  if (gates !== null) {
    const open = gates.filter(({ passed }) => !passed).length;
    return open === 0
      ? '<span class="badge yes">GATES MET</span>'
      : `<span class="badge no">${counted(open, 'GATE', 'GATES')} NOT MET</span>`;
  }
  const isClean = soak.unexplained === 0 && comparisons.every(({ unexplained }) => unexplained === 0);
  if (soak.samples === 0) return '<span class="badge">NOT WATCHED</span>';
  return isClean
    ? '<span class="badge yes">NOTHING UNEXPLAINED</span>'
    : '<span class="badge no">UNEXPLAINED TROUBLE</span>';
}

function renderCards({ soak, samples, incidents, gaps, comparisons }: MonitorReport): string {
  const most = (read: (figures: SampleFigures) => number | null): number | null => {
    const known = samples.map(({ figures }) => read(figures)).filter((value) => value !== null);
    return known.length === 0 ? null : Math.max(...known);
  };
  const unexplained = incidents.filter(({ explained }) => !explained).length;
  const identical = comparisons.filter(({ verdict }) => verdict === 'identical').length;
  const closed = gaps.filter((gap) => gap.closed !== null).length;
  const card = (title: string, value: string, detail: string, isBad = false): string =>
    htmlCard(title, value, detail, isBad ? 'bad' : '');
  return [
    card(
      'samples',
      formatCount(soak.samples),
      `at most ${formatSeconds(soak.largestHoleSeconds)} apart`,
      soak.samples === 0,
    ),
    card('incidents', formatCount(incidents.length), `${unexplained} unexplained`, unexplained > 0),
    card('gaps opened', formatCount(gaps.length), `${closed} closed`, closed < gaps.length),
    card('longest lag', formatSeconds(most(({ lagSeconds }) => lagSeconds)), 'of any sample'),
    card('local p99', formatMs(most(({ localP99Ms }) => localP99Ms)), 'at worst'),
    card('EC2 p99', formatMs(most(({ ec2P99Ms }) => ec2P99Ms)), 'at worst'),
    card('comparisons', formatCount(comparisons.length), `${identical} identical`, identical < comparisons.length),
  ].join('');
}

function renderGates({ gates }: MonitorReport): string {
  if (gates === null) return '<p>Not measured for this report: those of phase 3 are measured in phase 2.</p>';
  return htmlTable(
    ['gate', 'met', 'detail', 'next'],
    gates.map(({ name, passed, detail, next }) => [name, passed ? 'yes' : 'NO', detail, next ?? '-']),
  );
}

/** Those that want something of the reader first: without a proof, then the oldest proof. */
function renderTables({ tables, leftOut }: MonitorReport): string {
  if (tables === null) return '<p>Not known: both sides have to answer for that.</p>';
  const ageOf = ({ proven, ageSeconds }: ReportedTable): number =>
    proven === null ? Number.MAX_VALUE : (ageSeconds ?? 0);
  const worst = tables.toSorted((one, other) => ageOf(other) - ageOf(one));
  const rows = worst
    .slice(0, ROWS_AT_MOST)
    .map((each) => [
      each.table,
      each.proven === null ? 'NO' : short(each.proven),
      each.ageSeconds === null ? '-' : `${formatDuration(each.ageSeconds * 1000)} ago`,
      each.different === null ? '-' : short(each.different),
      each.tracking ?? '-',
      each.note ?? '-',
    ]);
  const proven = countProven(tables);
  const tracked = tables.filter(({ tracking }) => tracking === 'tracked').length;
  const more = tables.length > ROWS_AT_MOST ? `, of which the ${ROWS_AT_MOST} with the oldest proofs are shown` : '';
  const left = leftOut.map(({ table, reason }) => `${table} (${reason})`).join(', ') || 'nothing';
  return `<p>${counted(tables.length, 'table')}, ${proven} proven, ${tracked} tracked${more}. What other programs write to an untracked one is found by comparisons alone.</p>
${htmlTable(['table', 'proven', 'ended', 'different since', 'other writers', 'note'], rows)}
<p class="dim">Left out: ${escapeHtml(left)}.</p>`;
}

function renderSamples(report: MonitorReport): string {
  const { samples, incidents, until } = report;
  const toMs = milliseconds(until);
  const fromMs = milliseconds(samples[0]?.takenAt ?? report.since);
  const points = (read: (figures: SampleFigures) => number | null): Point[] =>
    samples.flatMap(({ takenAt, figures }, place): Point[] => {
      const [atMs, beforeMs] = [milliseconds(takenAt), milliseconds(samples[place - 1]?.takenAt ?? takenAt)];
      const broken: Point[] = atMs - beforeMs > HOLE_SECONDS * 1000 ? [[(beforeMs + atMs) / 2, null]] : [];
      return [...broken, [atMs, read(figures)]];
    });
  const bands = incidents
    .filter(({ kind }) => kind !== 'lag' && kind !== 'gaps')
    .map(({ from, to }) => ({ fromMs: milliseconds(from), toMs: milliseconds(to ?? until) }));
  return renderPlots({
    stretch: { fromMs, toMs, bands },
    points,
    band: BAND,
    confirmed: 'to the secondary',
    lag: 'lag',
  });
}

function renderIncidents({ incidents }: MonitorReport): string {
  const rows = incidents.slice(-ROWS_AT_MOST).map(({ kind, from, to, seconds, explained, tables }) => {
    return [
      // A newer sensorctl may have recorded a kind that this one does not know.
      (INCIDENT_TITLES as Readonly<Record<string, string>>)[kind] ?? kind,
      short(from),
      to === null ? 'lasts' : short(to),
      formatDuration(seconds * 1000),
      explained ? 'yes' : 'NO',
      describeTables(tables) || '-',
    ];
  });
  return rows.length === 0
    ? '<p>None.</p>'
    : htmlTable(['incident', 'from', 'to', 'for', 'explained', 'rows at most'], rows);
}

function renderGaps({ gaps }: MonitorReport): string {
  const rows = gaps
    .slice(-ROWS_AT_MOST)
    .map(({ opened, closed, mostReadings }) => [short(opened), closed === null ? 'open' : short(closed), mostReadings]);
  return rows.length === 0 ? '<p>None.</p>' : htmlTable(['opened', 'closed', 'readings at most'], rows);
}

function renderComparisons({ comparisons }: MonitorReport): string {
  const rows = comparisons
    .slice(0, ROWS_AT_MOST)
    .map((comparison) => [
      short(comparison.finishedAt),
      describeExtent(comparison),
      describeCompared(comparison),
      comparison.verdict,
      comparison.knownGap,
      comparison.unexplained,
    ]);
  if (rows.length === 0) return '<p>None: sensorctl compare --window 1h records one.</p>';
  return htmlTable(['finished', 'times', 'tables', 'verdict', 'known gap', 'unexplained'], rows);
}

function describeExtent({ kind, from, to }: ComparisonFigures): string {
  const range = from === null ? 'nothing with a time' : `${short(from)} to ${short(to)}`;
  return { all: `all: ${range}`, range, window: `the last: ${range}` }[kind];
}

/** The tables that differ by their rows, or else all by their names. */
function describeCompared({ tables }: ComparisonFigures): string {
  const differing = tables
    .map(({ table, knownGap, unexplained }) => ({ table, rows: knownGap + unexplained }))
    .filter(({ rows }) => rows > 0);
  if (differing.length > 0) return `${tables.length}: ${describeTables(differing)}`;
  const names = tables.slice(0, NAMES_AT_MOST).map(({ table }) => table);
  const more = tables.length > NAMES_AT_MOST ? ` and ${tables.length - NAMES_AT_MOST} more` : '';
  return `${tables.length}: ${names.join(', ')}${more}`;
}

function renderChanges({ changes }: MonitorReport): string {
  const rows = changes.map((change) => {
    const { at, epoch, by, reason, overriddenGates } = change;
    return [short(at), describePhaseChange(change), epoch, by ?? '-', reason ?? '-', overriddenGates.join(', ') || '-'];
  });
  if (rows.length === 0) return '<p>None.</p>';
  return htmlTable(['at', 'change', 'epoch', 'by', 'reason', 'gates overridden'], rows);
}

/** A rollback reads as one, and so does a change that went back by itself. */
function describePhaseChange({ phaseBefore, phase, writeMode, targetPhase }: PhaseChange): string {
  const [before, now] = [phaseBefore ?? 0, phase ?? 0];
  if (writeMode === 'draining') {
    const what = (targetPhase ?? 0) < now ? 'rollback' : 'switch';
    return `${what} from phase ${now} to ${targetPhase ?? '?'} begins: consumers pause`;
  }
  const mode = writeMode === null ? '' : `, ${writeMode}`;
  if (now === before) return `it goes back: phase ${now} goes on${mode}`;
  return now < before ? `rolled back from phase ${before} to ${now}${mode}` : `phase ${now} begins${mode}`;
}

function short(time: string | null): string {
  return time === null ? '-' : time.slice(0, 19).replace('T', ' ');
}

function milliseconds(time: string): number {
  return (parseInstant(time) ?? 0) / 1000;
}
