import { namingSide, type Database } from '../db/database.js';
import { sideTitle, type Side } from '../domain/side.js';
import { UsageError } from '../errors.js';
import type { TableSelection } from '../domain/table-patterns.js';
import { discoverTables, type Discovery } from '../repository/tables/discover-tables.js';
import { KNOWN_TABLES } from '../repository/tables/reading-tables.js';
import {
  instruct,
  pairDiscovered,
  selectTables,
  type Candidate,
  type Instructions,
} from '../repository/tables/select-tables.js';
import type { Table } from '../repository/tables/table.js';
import { isTracked, readTracking, trackTable, type Tracking } from '../repository/writers/tracking.js';

/** The outcome for one table on one side. */
export interface TrackedTable {
  readonly table: string;
  /** `tracked`: for the first time; `renewed`: its triggers were not whole; `kept`: they are. */
  readonly action: 'tracked' | 'renewed' | 'kept';
  /** Why it was not tracked before, or not wholly. */
  readonly problems: readonly string[];
  /** Its costs for writers, and whatever else it changes. */
  readonly changes: readonly string[];
}

export interface SideTracking {
  readonly side: Side;
  readonly tables: readonly TrackedTable[];
}

export interface TrackOptions {
  /** The tables of the migration. */
  readonly selection?: TableSelection | undefined;
  /** Of these the ones to track, by name or pattern; none: all. */
  readonly tables: readonly string[];
  /** Says what would be done, and changes nothing. */
  readonly dryRun: boolean;
}

/**
 * Covers the other writers of the tables of the migration on the sides given, one table after the other; runs any number of
 * times. Throws a UsageError for a name that no table has.
 */
export async function trackSides(databases: readonly Database[], options: TrackOptions): Promise<SideTracking[]> {
  const chosen = await chooseTables(databases, options);
  const sides: SideTracking[] = [];
  for (const [place, database] of databases.entries()) {
    const tables = await namingSide(database, () => trackSide(database, chosen[place] ?? [], options));
    sides.push({ side: database.side, tables });
  }
  return sides;
}

/** By side. Of two sides the tables that both have: nobody writes one of EC2's own to local. */
async function chooseTables(
  databases: readonly Database[],
  { selection, tables: names }: TrackOptions,
): Promise<Table[][]> {
  const [here = NOTHING, there = here] = await Promise.all(
    databases.map((database) => namingSide(database, () => discoverTables(database.pool))),
  );
  const candidates = pairDiscovered(here, there).filter(({ primary, secondary }) => primary && secondary);
  const { chosen, leftOut, unknown } = selectTables(candidates, selection, names);
  const [missing] = unknown;
  if (missing !== undefined || chosen.length === 0) {
    const name = missing ?? leftOut[0]?.table ?? '';
    const where =
      databases.length > 1 ? 'both sides have' : `${databases.map(({ side }) => sideTitle(side)).join('')} has`;
    throw new UsageError(`there is no table ${name === '' ? '' : `${name} `}of the migration that ${where}`, {
      code: 'tables-unknown',
    });
  }
  return databases.map((_, place) =>
    chosen.flatMap((candidate) => {
      const table = place === 0 ? candidate.primary : candidate.secondary;
      return table === undefined ? [] : [instructed(table, candidate)];
    }),
  );
}

const NOTHING: Discovery = { tables: [], notTaken: [] };

function instructed(table: Table, instructions: Candidate & Instructions): Table {
  const found = instruct(table, instructions, KNOWN_TABLES.get(instructions.name));
  if (typeof found === 'string') throw new UsageError(`${table.label}: ${found}`, { code: 'tables-unknown' });
  return found;
}

async function trackSide(
  database: Database,
  chosen: readonly Table[],
  { dryRun }: TrackOptions,
): Promise<TrackedTable[]> {
  const tables: TrackedTable[] = [];
  for (const tracking of await readTracking(database, chosen)) {
    const isWhole = isTracked(tracking);
    if (!isWhole && !dryRun) await trackTable(database, tracking);
    tables.push(describe(tracking, isWhole));
  }
  return tables;
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
    ...(key === null && axis === null ? ['without a key and an axis any change enters the whole table'] : []),
    ...(key === null && axis !== null ? [`without a key rows are named by their ${axis.column}`] : []),
    ...(isByRow ? ['changes are entered row by row: TimescaleDB before 2.26.4, or a column was dropped'] : []),
    ...(hypertable === null ? [] : ['inserts are not compressed directly']),
    ...(hypertable?.compressed === true
      ? ['a delete decompresses what it touches, without a limit, instead of dropping whole batches']
      : []),
  ];
}
