import { counted } from '../../domain/words.js';
import { isReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { TableFigures, TableSnapshot } from '../../operations/monitor/monitor-snapshot.js';

/** A table of a look, or several as one line. */
export type ShownTable = Pick<TableSnapshot, 'table' | 'counted' | 'apart' | 'tracking' | Side>;

/**
 * The tables that a picture has room for: those that consumers write, then the worst of the rest, and below them all of
 * them as one line where some are left out.
 */
export function worstTables(tables: readonly TableSnapshot[], room: number): ShownTable[] {
  if (tables.length <= room) return [...tables];
  const worst = tables.toSorted(
    (one, other) =>
      Number(isReadingTable(other.table)) - Number(isReadingTable(one.table)) ||
      badness(other) - badness(one) ||
      mostRows(other) - mostRows(one),
  );
  return [...worst.slice(0, room - 1), totalOf(tables)];
}

/** What cannot be moved, and what may pass unseen; then rows that stay apart before rows that are on their way. */
function badness({ counted: how, tracking, apart, local, ec2 }: TableSnapshot): number {
  if (how === null) return Number.MAX_VALUE;
  const now = how === 'estimate' || local === null || ec2 === null ? 0 : Math.abs(local.rows - ec2.rows);
  const unseen = tracking === 'partly tracked' ? 1 : 0;
  return (Math.abs(apart?.rows ?? 0) + unseen) * Number.MAX_SAFE_INTEGER + now;
}

/** Rows of all times that a server estimates are no measure beside those of a window. */
function mostRows({ counted: how, local, ec2 }: TableSnapshot): number {
  return how === 'window' ? Math.max(local?.rows ?? 0, ec2?.rows ?? 0) : -1;
}

/** What is estimated is no part of it. */
function totalOf(tables: readonly TableSnapshot[]): ShownTable {
  const inWindow = tables.filter((table) => table.counted === 'window');
  const isAll = inWindow.length === tables.length;
  return {
    table: isAll ? `all ${counted(tables.length, 'table')}` : `all ${inWindow.length} counted ones`,
    counted: 'window',
    local: sumOf(inWindow, 'local'),
    ec2: sumOf(inWindow, 'ec2'),
    apart: null,
    tracking: null,
  };
}

/** Null where one of them is not known. */
function sumOf(tables: readonly TableSnapshot[], side: Side): TableFigures | null {
  const figures = tables.map((table) => table[side]);
  const known = figures.filter((each) => each !== null);
  if (known.length < figures.length) return null;
  const times = known.flatMap(({ maxTime }) => maxTime ?? []).toSorted();
  return { rows: known.reduce((sum, { rows }) => sum + rows, 0), maxTime: times.at(-1) ?? null };
}
