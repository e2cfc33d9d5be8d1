import type { Side } from '../../domain/side.js';
import { sideTitle } from '../../domain/side.js';
import { formatInstant } from '../../domain/time.js';
import { describePair, type PairTracking } from '../../repository/writers/pair-tracking.js';
import type { Apart, TableFigures, TableSnapshot } from './monitor-snapshot.js';
import type { SideLook } from './side-watch.js';
import type { WatchedTable } from './watched-tables.js';

interface TableLooks {
  readonly local: SideLook;
  readonly ec2: SideLook | null;
  readonly apart: ReadonlyMap<string, Apart>;
}

/** What both sides said of a table. Pure. */
export function tableSnapshot(watched: WatchedTable, { local, ec2, apart }: TableLooks): TableSnapshot {
  const { table, counted, isNew } = watched;
  const tracking = trackingOf(watched, local, ec2);
  return {
    table,
    counted,
    local: figuresOf(watched, 'local', local),
    ec2: figuresOf(watched, 'ec2', ec2),
    apart: counted === 'window' ? (apart.get(table) ?? null) : null,
    tracking: tracking === null ? null : stateOf(tracking),
    isNew,
    note: tracking !== null && stateOf(tracking) === 'partly tracked' ? describeProblem(tracking) : watched.note,
  };
}

function figuresOf(
  { table, counted, estimates }: WatchedTable,
  side: Side,
  look: SideLook | null,
): TableFigures | null {
  if (counted === 'estimate') {
    const rows = look?.answers === true ? estimates[side] : null;
    return rows === null ? null : { rows, maxTime: null };
  }
  const figures = look?.tables.get(table);
  if (figures === undefined) return null;
  return { rows: figures.rows, maxTime: figures.newest === null ? null : formatInstant(figures.newest) };
}

/** Null where a side did not say. */
function trackingOf({ table, sides }: WatchedTable, local: SideLook, ec2: SideLook | null): PairTracking | null {
  const [here, there] = [local.trackings?.get(table), ec2?.trackings?.get(table)];
  if (sides === null || here === undefined || there === undefined) return null;
  return describePair(table, [
    { side: 'local', tracking: here },
    { side: 'ec2', tracking: there },
  ]);
}

/** What healers give its triggers by themselves within a minute is no trouble. */
function stateOf({ state, awaitsPartitions }: PairTracking): NonNullable<TableSnapshot['tracking']> {
  if (state !== 'broken') return state;
  return awaitsPartitions ? 'tracked' : 'partly tracked';
}

function describeProblem({ problems }: PairTracking): string {
  const [first, ...others] = problems;
  const where = first === undefined ? '' : `on ${sideTitle(first.side)} ${first.problem}`;
  return others.length === 0 ? where : `${where} (and ${others.length} more)`;
}
