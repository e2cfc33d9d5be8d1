import { counted, formatCount, formatDuration } from '../quantities.js';
import { listOf } from '../../domain/words.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { parseInstant } from '../../domain/time.js';
import { countWriters, TRACKINGS, type Snapshot } from '../../operations/monitor/monitor-snapshot.js';
import type { ShownTable } from './worst-tables.js';
import type { DatabaseAddress } from '../../operations/monitor/side-watch.js';
import type { TableRows } from '../../repository/monitor/ledger-figures.js';

export const UNKNOWN = '?';

/** `phase 2 · dual-write · epoch 4 · primary local · soak 14 of 24 h`. */
export function describePhase({ phase, writeMode, epoch, primary, change, soak, sides }: Snapshot): string {
  if (sides.local.answers !== true && sides.ec2.answers !== true) {
    return `phase ${UNKNOWN} · primary ${UNKNOWN} · no side answers that knows`;
  }
  const where = phase === null ? 'no phase recorded' : `phase ${phase}`;
  const target = change === null ? '' : ` to phase ${change.targetPhase}`;
  const lasted = soak === null ? '' : ` · ${describeSoak(soak)}`;
  return `${where} · ${writeMode ?? 'no consumer'}${target} · epoch ${epoch} · primary ${sideTitle(primary)}${lasted}`;
}

function describeSoak({ seconds, wantedSeconds }: NonNullable<Snapshot['soak']>): string {
  const hours = (each: number): string => String(Math.floor(each / 360) / 10);
  return `soak ${hours(seconds)} of ${hours(wantedSeconds)} h`;
}

/** `local 10.0.0.5:5433/sensor_data`, of each side. */
export function describeDatabases(
  sides: Readonly<Record<Side, { readonly database: DatabaseAddress | null }>>,
): string[] {
  return (['local', 'ec2'] as const).map((side) => {
    const { database } = sides[side];
    const where = database === null ? 'not configured' : `${database.host}:${database.port}/${database.name}`;
    return `${sideTitle(side)} ${where}`;
  });
}

/** How far a backfill has come; null where there is none. */
export function describeBackfill({ backfill, at }: Snapshot): string | null {
  if (backfill === null) return null;
  const { running, side, startedAt, units, unitsDone, rows, rowsDone } = backfill;
  const since = `since ${formatClock(startedAt, at)}`;
  if (units === 0) return `of ${sideTitle(side)}: being planned, ${since}`;
  const share = rows === 0 ? unitsDone / units : rowsDone / rows;
  const progress = `${Math.floor(share * 100)} % of ${formatCount(rows)} rows to ${sideTitle(side)} (${formatCount(unitsDone)} of ${counted(units, 'unit')})`;
  return running ? `${progress}, ${since}` : `interrupted at ${progress}`;
}

/** What local is left without on purpose, and what a rollback would bring there. */
export function describeLeftBehind(
  { ranges, readings, oldest }: NonNullable<Snapshot['leftBehind']>,
  at: string,
): string {
  if (ranges === 0) return 'nothing that a rollback would have to bring to local';
  const from = oldest === null ? '' : `, from ${formatClock(oldest, at)}`;
  return `${counted(readings, 'reading')}${from}, for a rollback to bring`;
}

/** `a 20, b 1, 3 tables more`; the name alone of a table whose rows are known by their keys; nothing where there are none. */
export function describeTables(tables: readonly TableRows[], shown = 3): string {
  const texts = tables.slice(0, shown).map(({ table, rows }) => (rows === 0 ? table : `${table} ${formatCount(rows)}`));
  const more = tables.length - shown;
  return [...texts, ...(more > 0 ? [`${counted(more, 'table')} more`] : [])].join(', ');
}

/** The sentence for when nothing is wrong. */
export function describeCalm({ primary, writeMode, lagSeconds, sides, leftBehind }: Snapshot): string {
  if (sides.ec2.answers === null) return 'EC2 is not configured: only local is watched';
  if (writeMode === 'local-only') return 'Local takes what comes; nothing is written to EC2';
  if (writeMode === 'ec2-only') {
    const behind =
      leftBehind === null || leftBehind.readings === 0
        ? ''
        : ` (${counted(leftBehind.readings, 'reading')} behind, as intended)`;
    return `EC2 takes what comes; local is kept as it was at the switch${behind}`;
  }
  const [here, there] = primary === 'local' ? ['local', 'EC2'] : ['EC2', 'local'];
  if ((lagSeconds ?? 0) > 0) return `${there} holds what ${here} holds, but for what is on its way`;
  return `${there} holds what ${here} holds`;
}

/** Rows and newest time of a table on a side, `~1,234` where they are estimated; `-` where there is nothing to count. */
export function rowsAndNewest(
  { counted: how, ...table }: ShownTable,
  side: Side,
  { sides, at }: Pick<Snapshot, 'sides' | 'at'>,
): [string | number, string] {
  const [figures, { answers }] = [table[side], sides[side]];
  if (answers === null || how === null) return ['-', ''];
  if (how === 'estimate') return [figures === null ? UNKNOWN : `~${formatCount(figures.rows)}`, ''];
  if (figures === null) return [answers ? 'counting' : UNKNOWN, ''];
  return [figures.rows, formatClock(figures.maxTime, at)];
}

/** What local has more now; null where that is not known. */
export function rowsApart({ counted: how, local, ec2 }: ShownTable): number | null {
  return how === 'window' && local !== null && ec2 !== null ? local.rows - ec2.rows : null;
}

/** `19 (16 tracked, 3 untracked); 1 new: orders; 1 left out; 2 estimated`. */
export function describeTableSet({ tables, leftOut, sides }: Snapshot): string {
  const tracking = TRACKINGS.flatMap((state) => partOf(tables.filter((each) => each.tracking === state).length, state));
  const isKnown = tracking.length > 0 || sides.ec2.answers === null;
  const added = tables.filter(({ isNew }) => isNew).map(({ table }) => table);
  return [
    `${tables.length} (${isKnown ? tracking.join(', ') || 'EC2 is not configured' : `tracked ${UNKNOWN}`})`,
    ...partOf(tables.filter((each) => each.counted === null).length, 'cannot be moved'),
    ...(added.length === 0 ? [] : [`${added.length} new: ${listOf(added, 2)}`]),
    ...partOf(leftOut.length, 'left out'),
    ...partOf(tables.filter((each) => each.counted === 'estimate').length, 'estimated'),
  ].join('; ');
}

function partOf(count: number, what: string): string[] {
  return count === 0 ? [] : [`${formatCount(count)} ${what}`];
}

/** What other programs wrote and the secondary has yet to get; null where there is nothing. */
export function describeWriters(writers: Snapshot['writers']): string | null {
  if (writers === null || writers.length === 0) return null;
  const [pending, missed] = [countWriters(writers, 'pending') ?? 0, countWriters(writers, 'missed') ?? 0];
  const oldest = Math.max(...writers.map(({ oldestSeconds }) => oldestSeconds));
  const rows = writers.map((each) => ({ table: each.table, rows: each.pending + each.missed }));
  return `pending ${formatCount(pending)}  missed ${formatCount(missed)}, the oldest ${formatSeconds(oldest)}: ${describeTables(rows, 2)}`;
}

/** Open records on local, and on EC2; `-` where EC2 is not configured. */
export function quarantineFigures({ sides }: Snapshot): [string, string] {
  return [formatFigure(sides.local.quarantine), sides.ec2.answers === null ? '-' : formatFigure(sides.ec2.quarantine)];
}

/** `142/s`, `0.4/s`. */
export function formatRate(perSecond: number | null): string {
  if (perSecond === null) return UNKNOWN;
  return `${perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond))}/s`;
}

/** `0.2 s`, `42 s`, `3 min`. */
export function formatSeconds(seconds: number | null): string {
  if (seconds === null) return UNKNOWN;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : formatDuration(seconds * 1000);
}

export function formatMs(ms: number | null): string {
  if (ms === null) return '-';
  return ms < 10_000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(0)} s`;
}

export function formatFigure(value: number | null): string {
  return value === null ? UNKNOWN : formatCount(value);
}

/** `12:34:56` of UTC text; with the date in front where it is not the day of `at`, and the date alone of another year. */
export function formatClock(time: string | null, at: string): string {
  if (time === null) return '-';
  if (yearOf(time) !== yearOf(at)) return time.slice(0, time.indexOf('T'));
  return time.slice(0, 10) === at.slice(0, 10) ? time.slice(11, 19) : time.slice(5, 16).replace('T', ' ');
}

/** Also of years with more digits, or before Christ. */
function yearOf(time: string): string {
  return time.slice(0, time.indexOf('-', 1));
}

/** How long before `at` a time was: `12 min`. */
export function formatAgo(time: string, at: string): string {
  const [then, now] = [parseInstant(time), parseInstant(at)];
  return then === null || now === null ? UNKNOWN : formatDuration(Math.max(0, now - then) / 1000);
}
