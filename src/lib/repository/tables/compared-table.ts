import type { TableShape } from './catalog.js';

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
  /** What tells rows apart, unique or not, with the time where there is one; empty where the whole row does. */
  readonly key: readonly string[];
  /** Columns that the secondary alone has; they are not compared. */
  readonly surplus: readonly string[];
  /** The type of the column `time` on each side; null for a table that is compared whole. */
  readonly time: { readonly primary: string; readonly secondary: string } | null;
}

/** The time column of every table that is compared by ranges. */
export const TIME_COLUMN = 'time';

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
  const compared = columns.filter((column) => typeof column !== 'string');
  const surplus = [...secondary.columns.keys()].filter((name) => !except.includes(name) && !names.includes(name));
  return {
    name: primary.name,
    columns: compared,
    key: keyOf(primary, compared, { fallback: key, time }),
    surplus,
    time,
  };
}

/** Whether equal values may have different texts, so that only a look at the values tells. */
export function isLoose({ type }: ComparedColumn): boolean {
  return type !== null && LOOSE_TYPES.has(type);
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

/** With the time, a row that has another time there is missing and extra, wherever the bounds of what is looked at lie. */
function keyOf(
  shape: TableShape,
  columns: readonly ComparedColumn[],
  { fallback, time }: { fallback: readonly string[]; time: ComparedTable['time'] },
): readonly string[] {
  if (fallback.length > 0) return fallback;
  const exact = columns.filter((column) => !isLoose(column)).map(({ name }) => name);
  const usable = shape.uniqueKeys.filter((key) => key.every((column) => exact.includes(column)));
  const shortest = usable.toSorted((one, other) => one.length - other.length)[0] ?? [];
  return shortest.length === 0 || time === null ? shortest : [...new Set([...shortest, TIME_COLUMN])];
}
