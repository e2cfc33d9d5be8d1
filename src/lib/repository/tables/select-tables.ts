import {
  EVERY_TABLE,
  fitsPattern,
  parseTablePattern,
  type TablePattern,
  type TableSelection,
} from '../../domain/table-patterns.js';
import type { Discovery, NotTaken } from './discover-tables.js';
import type { KnownTable } from './table-pair.js';
import { axisOf, axisType, type Table } from './table.js';

/** A table as one side or both have it. */
export interface Candidate {
  readonly name: string;
  readonly primary: Table | undefined;
  readonly secondary: Table | undefined;
}

/** Instructions about a table beyond its catalogs. */
export interface Instructions {
  readonly axis: string | null;
  readonly except: readonly string[];
}

/** Pairs what two databases hold: by the name that output gives a table, which leaves out a schema on the search path, else by both names. */
export function pairDiscovered(primary: Discovery, secondary: Discovery): Candidate[] {
  const byLabel = new Map(secondary.tables.map((table) => [table.label, table]));
  const byName = new Map(secondary.tables.map((table) => [fullName(table), table]));
  const taken = new Set<Table>();
  const pairs = primary.tables.map((table): Candidate => {
    const other = byLabel.get(table.label) ?? byName.get(fullName(table));
    if (other !== undefined) taken.add(other);
    return { name: table.label, primary: table, secondary: other };
  });
  const alone = secondary.tables.filter((table) => !taken.has(table));
  return [...pairs, ...alone.map((table) => ({ name: table.label, primary: undefined, secondary: table }))];
}

/** Which tables a command works on, what is left out by the settings, and names that mean nothing. */
export interface Selected {
  readonly chosen: readonly (Candidate & Instructions)[];
  readonly leftOut: readonly { readonly table: string; readonly reason: string }[];
  /** The names given to this command that no table has. */
  readonly unknown: readonly string[];
}

/** `names`: those that a command was given, each as output names a table or as a pattern, in their order; empty: every table. */
export function selectTables(
  candidates: readonly Candidate[],
  { tables, except }: TableSelection = EVERY_TABLE,
  names: readonly string[] = [],
): Selected {
  const wanted = names.map((text) => ({ text, pattern: parseTablePattern(text) }));
  const isWanted = (candidate: Candidate): boolean =>
    wanted.length === 0 || wanted.some((each) => isMeant(candidate, each));
  const reasonOf = (candidate: Candidate): string | null => {
    if (tables.length > 0 && !tables.some((pattern) => fits(candidate, pattern))) return 'TABLES does not name it';
    return except.some((pattern) => fits(candidate, pattern)) ? 'TABLES_EXCEPT names it' : null;
  };
  const placeOf = (candidate: Candidate): number => wanted.findIndex((each) => isMeant(candidate, each));
  const considered = candidates.filter(isWanted).toSorted((one, other) => placeOf(one) - placeOf(other));
  return {
    chosen: considered
      .filter((candidate) => reasonOf(candidate) === null)
      .map((candidate) => ({
        ...candidate,
        ...instructionsFor(candidate, [...tables, ...wanted.flatMap(({ pattern }) => pattern ?? [])]),
      })),
    leftOut: considered.flatMap((candidate) => {
      const reason = reasonOf(candidate);
      return reason === null ? [] : [{ table: candidate.name, reason }];
    }),
    unknown: wanted.filter((each) => !candidates.some((candidate) => isMeant(candidate, each))).map(({ text }) => text),
  };
}

/** Finds the meaning of a name that is no table of the migration; undefined where it means nothing at all. */
export function findNotTaken(notTaken: readonly NotTaken[], text: string): NotTaken | undefined {
  const pattern = parseTablePattern(text);
  return notTaken.find(
    ({ label, name }) =>
      label === text ||
      `${name.schema}.${name.name}` === text ||
      (pattern !== null && fitsPattern(pattern, { ...name, isOnPath: label === name.name })),
  );
}

/** The same table with what is said of it; a text where that cannot be. */
export function instruct(table: Table, { axis }: Instructions, known: KnownTable | undefined): Table | string {
  const wanted = axis ?? known?.axis ?? null;
  if (wanted === null || table.hypertable !== null) return table;
  if (axisType(table, wanted) === null) {
    return `${wanted} cannot be its axis: it has no such column of a time, a date or whole numbers`;
  }
  return { ...table, axis: axisOf(table, wanted) };
}

/** The last axis that is said counts; one of a pattern for many tables only where the table has such a column. */
function instructionsFor(candidate: Candidate, patterns: readonly TablePattern[]): Instructions {
  const fitting = patterns.filter((pattern) => fits(candidate, pattern));
  const table = candidate.primary ?? candidate.secondary;
  const isPossible = ({ axis, isExact }: TablePattern): boolean =>
    axis !== null && (isExact || (table !== undefined && axisType(table, axis) !== null));
  return {
    axis: fitting.findLast(isPossible)?.axis ?? null,
    except: [...new Set(fitting.flatMap((pattern) => pattern.except))],
  };
}

/** The same table with the columns that each side keeps for itself. */
export function withExcepted(table: Table, { tables }: TableSelection): Table {
  const { except } = instructionsFor({ name: table.label, primary: table, secondary: undefined }, tables);
  return { ...table, excepted: except };
}

function isMeant(candidate: Candidate, { text, pattern }: { text: string; pattern: TablePattern | null }): boolean {
  const table = candidate.primary ?? candidate.secondary;
  const isNamed = candidate.name === text || (table !== undefined && fullName(table) === text);
  return isNamed || (pattern !== null && fits(candidate, pattern));
}

function fits({ primary, secondary }: Candidate, pattern: TablePattern): boolean {
  const table = primary ?? secondary;
  return table !== undefined && fitsPattern(pattern, { ...table.name, isOnPath: table.isOnPath });
}

function fullName({ name: { schema, name } }: Table): string {
  return `${schema}.${name}`;
}
