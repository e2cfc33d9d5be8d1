import { isReadingTable } from '../../domain/reading.js';
import { otherSide, sideTitle, type Role, type Side } from '../../domain/side.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import type { Problem } from '../../errors.js';
import { planDiscovered, type LeftOutTable, type NotHandled } from '../../repository/compare/plan-tables.js';
import type { SideCatalog } from '../../repository/monitor/side-catalog.js';
import { isTimeAxis, type Axis } from '../../repository/tables/axis.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import type { Table } from '../../repository/tables/table.js';

/** Puts the next step for a problem into words. */
export type Advise = (problem: Problem) => string;

/** A table of the migration, as a monitor watches it. */
export interface WatchedTable {
  readonly table: string;
  /** Rows of the window are counted, or those of all times are estimated by the servers; null: it cannot be handled. */
  readonly counted: 'window' | 'estimate' | null;
  readonly sides: Readonly<Record<Side, Table>> | null;
  /** Along which the window lies, on each side; null of a table whose rows are not counted. */
  readonly axes: Readonly<Record<Side, Axis>> | null;
  /** Null where it is not known, or the rows are counted. */
  readonly estimates: Readonly<Record<Side, number | null>>;
  /** It came after the phase was recorded. */
  readonly isNew: boolean;
  /** Why it cannot be handled, or why its rows are not counted. */
  readonly note: string | null;
}

/** What a monitor watches, and what it does not. */
export interface WatchedTables {
  readonly tables: readonly WatchedTable[];
  readonly leftOut: readonly LeftOutTable[];
}

export interface WatchRequest {
  /** Null where a side never said. */
  readonly catalogs: Readonly<Record<Side, SideCatalog | null>>;
  readonly primary: Side;
  readonly selection: TableSelection;
  /** The tables that were recorded with the phase; empty where none was. */
  readonly recorded: readonly string[];
  readonly advise: Advise;
}

/** So many rows are counted without an index, too. */
const SCANNED_ROWS_AT_MOST = 100_000;
const NO_ESTIMATES = { local: null, ec2: null } as const;
const NOT_COUNTED = { sides: null, axes: null, estimates: NO_ESTIMATES } as const;

/** The tables of the migration and how each is watched. A side that never said is taken to hold what the other does. */
export function planWatched(request: WatchRequest): WatchedTables {
  const { catalogs, primary, selection, recorded } = request;
  const [here, there] = [catalogs[primary], catalogs[otherSide(primary)]].map((each) => each?.discovery);
  const known = here ?? there;
  if (known === undefined) return { tables: [], leftOut: [] };
  const sides = { primary: { side: primary }, secondary: { side: otherSide(primary) } };
  const plan = planDiscovered({ primary: known, secondary: there ?? known }, sides, { selection, names: [] });
  const tables = [
    ...plan.pairs.map((pair) => watchPair(pair, request)),
    ...plan.notHandled.map((each) => watchNotHandled(each, request)),
  ];
  const names = new Set([...tables, ...plan.leftOut].map(({ table }) => table));
  const gone = recorded.filter((table) => !names.has(table));
  return { tables: [...tables, ...gone.map(watchGone)], leftOut: plan.leftOut };
}

function watchPair(pair: TablePair, request: WatchRequest): WatchedTable {
  const { primary } = request;
  const sides = bySide(pair.sides, primary);
  const note = whyEstimated(pair, sides, request);
  const known = { table: pair.name, sides, isNew: isNew(pair.name, request), note };
  if (pair.axis === null || note !== null) {
    return { ...known, counted: 'estimate', axes: null, estimates: estimatesOf(sides, request) };
  }
  const { column, primary: here, secondary: there } = pair.axis;
  const axes = bySide({ primary: { column, type: here }, secondary: { column, type: there } }, primary);
  return { ...known, counted: 'window', axes, estimates: NO_ESTIMATES };
}

/** Null where the rows of a window can be counted on both sides, at a cost that is worth it. */
function whyEstimated(
  pair: TablePair,
  sides: Readonly<Record<Side, Table>>,
  { catalogs }: WatchRequest,
): string | null {
  const { axis } = pair;
  if (axis === null || !isTimeAxis(axis.primary) || !isTimeAxis(axis.secondary)) return 'it has no axis of time';
  if (isReadingTable(pair.name)) return null;
  for (const side of ['local', 'ec2'] as const) {
    const facts = catalogs[side]?.facts.get(sides[side].label);
    if (facts === undefined) continue;
    if (!facts.readable) return `this role may not read it on ${sideTitle(side)}`;
    const isFound = facts.indexed.includes(axis.column) || facts.rows <= SCANNED_ROWS_AT_MOST;
    if (!isFound) return `no index of ${sideTitle(side)} begins with ${axis.column}`;
  }
  return null;
}

/** What hides rows from this role hides none from whoever moves the table. */
function watchNotHandled({ table, reason, advice }: NotHandled, request: WatchRequest): WatchedTable {
  const tables = { local: tableOn('local', table, request), ec2: tableOn('ec2', table, request) };
  const { local, ec2 } = tables;
  if (advice?.code === 'rows-hidden' && local !== undefined && ec2 !== undefined) {
    const sides = { local, ec2 };
    const estimates = estimatesOf(sides, request);
    return { table, counted: 'estimate', sides, axes: null, estimates, isNew: isNew(table, request), note: reason };
  }
  const note = advice === null ? reason : `${reason} (${request.advise(advice)})`;
  return { ...NOT_COUNTED, table, counted: null, isNew: isNew(table, request), note };
}

function watchGone(table: string): WatchedTable {
  const note = 'was recorded with the phase, and is no longer there';
  return { ...NOT_COUNTED, table, counted: null, isNew: false, note };
}

function isNew(table: string, { recorded }: WatchRequest): boolean {
  return recorded.length > 0 && !recorded.includes(table);
}

function tableOn(side: Side, label: string, { catalogs }: WatchRequest): Table | undefined {
  const discovery = (catalogs[side] ?? catalogs[otherSide(side)])?.discovery;
  return discovery?.tables.find((table) => table.label === label);
}

function bySide<Each>({ primary, secondary }: Readonly<Record<Role, Each>>, first: Side): Readonly<Record<Side, Each>> {
  return first === 'local' ? { local: primary, ec2: secondary } : { local: secondary, ec2: primary };
}

function estimatesOf(sides: Readonly<Record<Side, Table>>, { catalogs }: WatchRequest): Record<Side, number | null> {
  const of = (side: Side): number | null => catalogs[side]?.facts.get(sides[side].label)?.rows ?? null;
  return { local: of('local'), ec2: of('ec2') };
}
