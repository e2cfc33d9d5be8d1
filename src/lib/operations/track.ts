import { namingSide, type Database } from '../db/database.js';
import type { Side } from '../domain/side.js';
import { UsageError } from '../errors.js';
import { readTables } from '../repository/tables/read-tables.js';
import { ALL_TABLES } from '../repository/tables/reading-tables.js';
import type { Table } from '../repository/tables/table.js';
import { isTracked, readTracking, trackTable, type Tracking } from '../repository/writers/tracking.js';

/** What became of one table on one side. */
export interface TrackedTable {
  readonly table: string;
  /** `tracked`: for the first time; `renewed`: its triggers were not whole; `kept`: they are. */
  readonly action: 'tracked' | 'renewed' | 'kept';
  /** Why it was not tracked before, or not wholly. */
  readonly problems: readonly string[];
  /** What it costs its writers, and what else it changes. */
  readonly changes: readonly string[];
}

export interface SideTracking {
  readonly side: Side;
  readonly tables: readonly TrackedTable[];
}

export interface TrackOptions {
  /** Names of tables, as the role's search path finds them or with their schema; none: those of the consumer. */
  readonly tables: readonly string[];
  /** Says what would be done, and changes nothing. */
  readonly dryRun: boolean;
}

/** Covers the other writers of these tables on the sides, one table after the other; runs any number of times. */
export async function trackSides(databases: readonly Database[], options: TrackOptions): Promise<SideTracking[]> {
  const sides: SideTracking[] = [];
  for (const database of databases) sides.push(await namingSide(database, () => trackSide(database, options)));
  return sides;
}

async function trackSide(database: Database, { tables: wanted, dryRun }: TrackOptions): Promise<SideTracking> {
  const names = wanted.length > 0 ? wanted : ALL_TABLES;
  const found = [...(await readTables(database.pool, names)).values()].filter(isTable);
  if (found.length === 0) throw new UsageError('there is no such table', { code: 'tables-unknown' });
  const tables: TrackedTable[] = [];
  for (const tracking of await readTracking(database, found)) {
    const isWhole = isTracked(tracking);
    if (!isWhole && !dryRun) await trackTable(database, tracking);
    tables.push(describe(tracking, isWhole));
  }
  return { side: database.side, tables };
}

function isTable({ kind }: Table): boolean {
  return kind === 'plain' || kind === 'partitioned' || kind === 'hypertable';
}

function describe(tracking: Tracking, isWhole: boolean): TrackedTable {
  const { table, trackedAt, problems } = tracking;
  const action = isWhole ? 'kept' : trackedAt === null ? 'tracked' : 'renewed';
  return { table: table.label, action, problems: trackedAt === null ? [] : problems, changes: changesOf(tracking) };
}

function changesOf({ table, planned }: Tracking): string[] {
  const { key, axis, hypertable } = table;
  const isByRow = planned.some(({ name, statement }) => name === 'sensorctl_row' && statement.includes('after insert'));
  return [
    ...(key === null && axis === null ? ['it has neither key nor axis: any change enters the whole table'] : []),
    ...(key === null && axis !== null ? [`it has no key: rows are named by their ${axis.column}`] : []),
    ...(isByRow ? ['its changes are entered row by row: TimescaleDB before 2.26.4, or a column was dropped'] : []),
    ...(hypertable === null ? [] : ['inserts are not compressed directly']),
    ...(hypertable?.compressed === true
      ? ['a delete decompresses what it touches, without a limit, instead of dropping whole batches']
      : []),
  ];
}
