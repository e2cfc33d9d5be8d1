import { counted } from '../../domain/words.js';
import type { Side } from '../../domain/side.js';
import type { Snapshot, TableFigures } from '../../operations/monitor/monitor-snapshot.js';

/** A table of a look, or several as one line. */
export type ShownTable = Omit<Snapshot['tables'][number], 'table'> & { readonly table: string };

/** The tables that a picture has room for, the worst first, and below them all of them as one line where some are left out. */
export function worstTables(tables: readonly ShownTable[], room: number): ShownTable[] {
  if (tables.length <= room) return [...tables];
  const worst = tables.toSorted((one, other) => badness(other) - badness(one) || mostRows(other) - mostRows(one));
  return [...worst.slice(0, room - 1), totalOf(tables)];
}

/** Rows that stay apart before rows that are on their way. */
function badness({ apart, local, ec2 }: ShownTable): number {
  const now = local === null || ec2 === null ? 0 : Math.abs(local.rows - ec2.rows);
  return Math.abs(apart?.rows ?? 0) * Number.MAX_SAFE_INTEGER + now;
}

function mostRows({ local, ec2 }: ShownTable): number {
  return Math.max(local?.rows ?? 0, ec2?.rows ?? 0);
}

function totalOf(tables: readonly ShownTable[]): ShownTable {
  return {
    table: `all ${counted(tables.length, 'table')}`,
    local: sumOf(tables, 'local'),
    ec2: sumOf(tables, 'ec2'),
    apart: null,
  };
}

/** Null where one of them is not known. */
function sumOf(tables: readonly ShownTable[], side: Side): TableFigures | null {
  const figures = tables.map((table) => table[side]);
  const known = figures.filter((each) => each !== null);
  if (known.length < figures.length) return null;
  const times = known.flatMap(({ maxTime }) => maxTime ?? []).toSorted();
  return { rows: known.reduce((sum, { rows }) => sum + rows, 0), maxTime: times.at(-1) ?? null };
}
