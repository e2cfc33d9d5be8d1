import type { TableShape } from '../../db/catalog.js';

/** A column as both sides compare it. */
export interface ComparedColumn {
  readonly name: string;
  /** The type without length and precision that both sides' values are cast to; null: their text is compared. */
  readonly type: string | null;
  /** A numeric that may hold Infinity, since it has no precision on one side. */
  readonly unbounded: boolean;
}

/** A table as both sides compare it. */
export interface ComparedTable {
  readonly name: string;
  readonly columns: readonly ComparedColumn[];
  /** What tells rows apart, unique or not; empty where the whole row does. */
  readonly key: readonly string[];
  /** The type of the column `time` on each side; null for a table that is compared whole. */
  readonly time: { readonly primary: string; readonly secondary: string } | null;
}

/** The time column of every table that is compared by ranges. */
export const TIME_COLUMN = 'time';

const TIME_TYPES = new Set(['timestamp with time zone', 'timestamp without time zone']);
const TEXT_TYPES = new Set(['text', 'character varying']);
const INTEGER_TYPES = new Set(['smallint', 'integer', 'bigint']);
const NUMBER_TYPES = new Set([...INTEGER_TYPES, 'numeric']);
/** Types with an equality of their own that both methods know; any other is compared as text. */
const KNOWN_TYPES = new Set([
  ...TIME_TYPES,
  ...TEXT_TYPES,
  ...NUMBER_TYPES,
  ...['real', 'double precision', 'boolean', 'jsonb', 'date', 'uuid', 'bytea', 'character'],
]);

export interface TablePair {
  readonly primary: TableShape;
  readonly secondary: TableShape;
  /** Columns left out: each side keeps its own. */
  readonly except: readonly string[];
  /** Used where the catalog names no key on the primary. */
  readonly key: readonly string[];
}

/** Says how two tables are compared, or each reason why they cannot be. The types are those of the primary where one can hold the other's values. */
export function planTable({ primary, secondary, except, key }: TablePair): ComparedTable | readonly string[] {
  const names = [...primary.columns.keys()].filter((name) => !except.includes(name));
  const columns = names.map((name) => planColumn(name, primary.columns.get(name), secondary.columns.get(name)));
  const problems = columns.filter((column) => typeof column === 'string');
  if (problems.length > 0) return problems;
  const [primaryTime, secondaryTime] = [primary, secondary].map((shape) => timeTypeOf(shape));
  const time = primaryTime && secondaryTime ? { primary: primaryTime, secondary: secondaryTime } : null;
  return { name: primary.name, columns: columns as ComparedColumn[], key: keyOf(primary, names, key), time };
}

function planColumn(name: string, primary: string | undefined, secondary: string | undefined): ComparedColumn | string {
  if (primary === undefined || secondary === undefined) return `column ${name} is missing`;
  const [one, other] = [baseType(primary), baseType(secondary)];
  const type = commonType(one, other);
  if (type === undefined) return `column ${name} is ${primary} on one side and ${secondary} on the other`;
  return { name, type, unbounded: type === 'numeric' && [primary, secondary].includes('numeric') };
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

/** `timestamp(3) with time zone` → `timestamp with time zone`. */
function baseType(type: string): string {
  return type.replace(/\([^)]*\)/, '');
}

function timeTypeOf(shape: TableShape): string | undefined {
  const type = baseType(shape.columns.get(TIME_COLUMN) ?? '');
  return TIME_TYPES.has(type) ? type : undefined;
}

function keyOf(shape: TableShape, compared: readonly string[], fallback: readonly string[]): readonly string[] {
  const usable = shape.uniqueKeys.filter((key) => key.every((column) => compared.includes(column)));
  if (fallback.length > 0) return fallback;
  return usable.toSorted((one, other) => one.length - other.length)[0] ?? [];
}
