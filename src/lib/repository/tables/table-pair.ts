import type { Role } from '../../domain/side.js';
import { shareUnit, type AxisType } from './axis.js';
import { axisType, columnOf, rowsSql, type Column, type Table } from './table.js';

/** A column as both sides compare it. */
export interface ComparedColumn {
  readonly name: string;
  /** The type without length and precision that both sides' values are cast to; null: their text is compared. */
  readonly type: string | null;
  /** A numeric that may hold Infinity, since it has no precision on one side. */
  readonly unbounded: boolean;
  /** Ranges of the table are cut along it. */
  readonly isAxis: boolean;
}

/** The column along which both sides are cut into ranges, with its type on each. */
export type PairAxis = { readonly column: string } & Readonly<Record<Role, AxisType>>;

/** A table that both sides have, as they compare it. */
export interface TablePair {
  /** How output and the ledger name it. */
  readonly name: string;
  readonly sides: Readonly<Record<Role, Table>>;
  readonly columns: readonly ComparedColumn[];
  /** The columns that tell rows apart, unique or not, with the axis where there is one; empty where only the whole row does. */
  readonly key: readonly string[];
  /** The same without the axis, where a constraint of the primary says so: what a row is written under. */
  readonly uniqueKey: readonly string[];
  /** Columns that the secondary alone has; they are not compared. */
  readonly surplus: readonly string[];
  /** Columns that each side keeps for itself, as somebody said. */
  readonly excepted: readonly string[];
  /** Null for a table that is compared whole. */
  readonly axis: PairAxis | null;
  /** Null for a table that the consumer does not write. */
  readonly known: KnownTable | null;
}

/** Facts about a table that the consumer writes, beyond its catalogs. */
export interface KnownTable {
  /** The columns that tell rows apart, whether or not a constraint says so. */
  readonly key: readonly string[];
  readonly axis: string | null;
  /** Columns that each side keeps for itself. */
  readonly except: readonly string[];
  /** Null where rows are only added. */
  readonly updated: UpdateRule | null;
}

/** How batches update a row. */
export interface UpdateRule {
  /** The write that is newer by this column wins. */
  readonly newestBy: string;
  /** The columns that each write has, that one included. */
  readonly columns: readonly string[];
  /** Columns that a write may leave out: the newest that has them wins, and the bookkeeping remembers its time. */
  readonly remembered: readonly string[];
}

/** The table of a pair in a statement that reads, updates or deletes rows on one side. */
export function sideSql({ sides }: Pick<TablePair, 'sides'>, role: Role): string {
  return rowsSql(sides[role]);
}

const TIME_TYPES = new Set(['timestamp with time zone', 'timestamp without time zone']);
const TEXT_TYPES = new Set(['text', 'character varying']);
const INTEGER_TYPES = new Set(['smallint', 'integer', 'bigint']);
const NUMBER_TYPES = new Set([...INTEGER_TYPES, 'numeric']);
const LOOSE_ELEMENTS = ['numeric', 'real', 'double precision', 'jsonb', 'interval'];
/** Types that have several texts for equal values, such as 1.0 and 1.00 within jsonb, or 1 mon and 30 days. */
const LOOSE_TYPES = new Set([
  'jsonb',
  'interval',
  'numrange',
  'nummultirange',
  ...LOOSE_ELEMENTS.map((type) => `${type}[]`),
]);
/** Types with an equality of their own that both methods know; any other is compared as text. */
const KNOWN_TYPES = new Set([
  ...TIME_TYPES,
  ...TEXT_TYPES,
  ...NUMBER_TYPES,
  ...LOOSE_TYPES,
  ...['real', 'double precision', 'boolean', 'date', 'uuid', 'bytea', 'character'],
]);

interface Unpaired {
  readonly primary: Table;
  readonly secondary: Table;
  readonly known?: KnownTable | undefined;
  /** Columns that are not compared. */
  readonly except?: readonly string[];
}

/** Says how two tables are compared, or each reason why they cannot be. The types are those of the primary where one can hold the other's values. */
export function pairTables({ primary, secondary, known, except = [] }: Unpaired): TablePair | readonly string[] {
  const isCompared = ({ name }: Column): boolean => known?.except.includes(name) !== true && !except.includes(name);
  const names = primary.columns.filter(isCompared).map(({ name }) => name);
  const axis = pairAxis(primary, secondary);
  const columns = names.map((name) =>
    planColumn(name, { primary: columnOf(primary, name), secondary: columnOf(secondary, name), axis }),
  );
  const problems = [
    ...columns.filter((column) => typeof column === 'string'),
    ...[axis?.column ?? [], primary.key ?? []]
      .flat()
      .flatMap((name) => (except.includes(name) ? `column ${name} is needed to tell its rows apart` : [])),
  ];
  if (problems.length > 0) return problems;
  const compared = columns.filter((column) => typeof column !== 'string');
  const surplus = secondary.columns.filter(isCompared).map(({ name }) => name);
  const uniqueKey = known?.key ?? usableKey(primary, compared);
  return {
    name: primary.label,
    sides: { primary, secondary },
    columns: compared,
    key: known?.key ?? withAxis(uniqueKey, axis),
    uniqueKey,
    surplus: surplus.filter((name) => !names.includes(name)),
    excepted: except.filter((name) => columnOf(primary, name) !== undefined),
    axis,
    known: known ?? null,
  };
}

/** The primary's axis, where the secondary can be cut along it too. */
function pairAxis(primary: Table, secondary: Table): PairAxis | null {
  const column = primary.axis?.column ?? secondary.axis?.column;
  if (column === undefined) return null;
  const [one, other] = [axisType(primary, column), axisType(secondary, column)];
  return one === null || other === null || !shareUnit(one, other) ? null : { column, primary: one, secondary: other };
}

/** Whether equal values may have different texts, so that only a look at the values tells. */
export function isLoose({ type }: ComparedColumn): boolean {
  return type !== null && LOOSE_TYPES.has(type);
}

interface UnpairedColumn {
  readonly primary: Column | undefined;
  readonly secondary: Column | undefined;
  readonly axis: PairAxis | null;
}

function planColumn(name: string, { primary, secondary, axis }: UnpairedColumn): ComparedColumn | string {
  if (primary === undefined || secondary === undefined) return `column ${name} is missing`;
  const type = commonType(primary.baseType, secondary.baseType);
  if (type === undefined) return `column ${name} is ${primary.type} on one side and ${secondary.type} on the other`;
  const unbounded = type === 'numeric' && [primary.type, secondary.type].includes('numeric');
  return { name, type, unbounded, isAxis: name === axis?.column };
}

/** The type in which both are compared; null: as text; undefined: values of the two cannot be compared exactly. */
function commonType(primary: string, secondary: string): string | null | undefined {
  const both = (types: ReadonlySet<string>): boolean => types.has(primary) && types.has(secondary);
  if (primary === secondary) return KNOWN_TYPES.has(primary) ? primary : null;
  if (both(TIME_TYPES)) return 'timestamp with time zone';
  if (both(TEXT_TYPES)) return 'text';
  if (both(INTEGER_TYPES)) return 'bigint';
  if (both(NUMBER_TYPES)) return 'numeric';
  return both(new Set(['real', 'double precision'])) ? primary : undefined;
}

/** The key, where equal values of it have one text; none of a table whose rows are told apart as a whole. */
function usableKey({ key }: Table, columns: readonly ComparedColumn[]): readonly string[] {
  const exact = columns.filter((column) => !isLoose(column)).map(({ name }) => name);
  return key?.every((column) => exact.includes(column)) === true ? key : [];
}

/** With the axis, a row that has another place there is missing and extra, wherever the bounds of what is looked at lie. */
function withAxis(key: readonly string[], axis: PairAxis | null): readonly string[] {
  return key.length === 0 || axis === null ? key : [...new Set([...key, axis.column])];
}
