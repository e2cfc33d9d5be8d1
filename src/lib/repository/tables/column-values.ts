import { prepareValue } from '../../db/pg-internals.js';
import { isExact } from '../../domain/exact-number.js';
import type { Value } from '../../domain/row.js';
import { KNOWN_TABLES } from './reading-tables.js';
import { columnOf, type Column, type Table } from './table.js';

const NUMBERS = new Set(['smallint', 'integer', 'bigint', 'numeric']);
const FRACTIONS = new Set(['real', 'double precision']);
const TIMES = new Set(['timestamp with time zone', 'timestamp without time zone']);
const TEXTS = new Set(['text', 'character varying', 'character', 'name']);
/** Types that have an order that both sides share, beside texts, which are taken by their bytes. */
const ORDERED = new Set([...NUMBERS, ...FRACTIONS, ...TIMES, 'date', 'boolean', 'uuid', 'bytea', 'interval', 'jsonb']);
/** In these, a name without length means the length 1. */
const ONE_LONG: Readonly<Record<string, string>> = { character: 'bpchar', bit: '"bit"', '"char"': '"char"' };

/** Those that a statement may write. */
export function writableColumns({ columns }: Pick<Table, 'columns'>): string[] {
  return columns.filter(({ generated }) => generated == null).map(({ name }) => name);
}

/** Those of a table that a side fills by itself, each time otherwise, in a row that names only these. */
export function filledColumns(
  { label, columns }: Pick<Table, 'label' | 'columns'>,
  given: readonly string[],
): string[] {
  const own = KNOWN_TABLES.get(label)?.except ?? [];
  return columns.flatMap(({ name, fill }) =>
    fill === 'varying' && !given.includes(name) && !own.includes(name) ? [name] : [],
  );
}

/** Whether each side fills a column for itself, as somebody said, and this one can. */
export function isKept(table: Table, name: string): boolean {
  const column = columnOf(table, name);
  return table.excepted?.includes(name) === true && (column?.fill != null || column?.notNull === false);
}

/** Whether the ledger knows rows of a table by their places on its axis. */
export function isSpanned({ axis }: Pick<Table, 'axis'>): boolean {
  return axis !== null && TIMES.has(axis.type);
}

type Typed = Pick<Column, 'type' | 'baseType'>;

/** Of a column that is not there: the server says so. */
export const UNKNOWN_COLUMN: Typed = { type: 'text', baseType: 'text' };

/** The type as a value travels: wide, so that rounding and limits are those of the column that takes it. */
export function parameterType({ baseType }: Typed): string {
  if (NUMBERS.has(baseType)) return 'numeric';
  if (FRACTIONS.has(baseType)) return 'double precision';
  if (TIMES.has(baseType)) return 'timestamptz';
  return baseType === 'boolean' || baseType === 'jsonb' ? baseType : 'text';
}

/** SQL that an insert takes for the column, from an expression of that type. */
export function insertedSql(column: Typed, value: string): string {
  const parameter = parameterType(column);
  if (parameter !== 'text' || TEXTS.has(column.baseType)) return value;
  return `${value}::${unlimited(column.baseType)}`;
}

/** SQL for the value as the column holds it, rounded to its precision, from an expression of that type. */
export function storedSql(column: Typed, value: string): string {
  // To cast a text to a length cuts it, where an insert refuses it.
  return isLimitedText(column) ? `${value}::${unlimited(column.baseType)}` : `${value}::${column.type}`;
}

function isLimitedText({ baseType }: Typed): boolean {
  return TEXTS.has(baseType) || /^(?:character|bit)/.test(baseType);
}

function unlimited(baseType: string): string {
  const element = baseType.replace(/(?:\[\])+$/, '');
  return `${ONE_LONG[element] ?? element}${baseType.slice(element.length)}`;
}

/** SQL by which two values of the column have one order on both sides, whatever their collations. */
export function orderedSql({ baseType }: Typed, value: string): string {
  return ORDERED.has(baseType) ? value : `${value}::text collate "C"`;
}

function isJson({ baseType }: Typed): boolean {
  return baseType === 'json' || baseType === 'jsonb';
}

/** What a value travels as to a column; what stands in the way is for `valueProblem` to say. */
export function valueText(column: Typed, value: Value | undefined): string | number | boolean | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'object') return objectText(column, value);
  return typeof value === 'bigint' ? String(value) : value;
}

function objectText(column: Typed, value: object): string {
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  return isJson(column) ? jsonText(value) : String(prepareValue(arrayItems(value as readonly Value[])));
}

function jsonText(value: object): string {
  return JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item));
}

function arrayItems(items: readonly Value[]): unknown[] {
  return items.map((item) => {
    if (Array.isArray(item)) return arrayItems(item as readonly Value[]);
    if (typeof item === 'bigint') return String(item);
    return item instanceof Uint8Array ? `\\x${Buffer.from(item).toString('hex')}` : item;
  });
}

/** Types, also as the items of arrays, of which a number that was rounded is another name, not nearly the same one. */
const NAMES = /^(?:bigint|text|character varying|character|name)(?:\[\])*$/;

/** Whether a number in it, or in its lists, may have been another one before it was rounded. */
function isInexact(value: Value, isName: boolean): boolean {
  if (!isName) return false;
  if (Array.isArray(value)) return (value as readonly Value[]).some((item) => isInexact(item, isName));
  return typeof value === 'number' && !isExact(value);
}

/** Why a column of this type takes no such value, whatever it is; null where the server has to say. */
export function valueProblem(column: Column, value: Value, isKey: boolean): string | null {
  const { baseType } = column;
  if (isInexact(value, isKey || NAMES.test(baseType)))
    return 'is a number with more digits than are held exactly: give it as a text';
  if (typeof value === 'number') return null;
  if (typeof value === 'boolean') return NUMBERS.has(baseType) || TIMES.has(baseType) ? 'is no boolean' : null;
  if (typeof value !== 'object' || value === null) return null;
  if (value instanceof Uint8Array) return baseType === 'bytea' ? null : `is ${column.type}, and takes no bytes`;
  if (isJson(column)) return null;
  if (!Array.isArray(value)) return `is ${column.type}, and takes no object`;
  return baseType.endsWith('[]') ? null : `is ${column.type}, and takes no list`;
}

/** Other names of a type, as people write them. */
const ALIASES: Readonly<Record<string, string>> = {
  varchar: 'character varying',
  bpchar: 'character',
  char: 'character',
  timestamptz: 'timestamp with time zone',
  timestamp: 'timestamp without time zone',
  int: 'integer',
  int4: 'integer',
  int8: 'bigint',
  int2: 'smallint',
  float8: 'double precision',
  float4: 'real',
  bool: 'boolean',
  decimal: 'numeric',
};

/** Whether values that are meant for a type (`numeric(5,2) not null`) can be stored in a column. */
export function fitsDeclared(column: Typed, declared: string): boolean {
  const name = declared
    .toLowerCase()
    .replace(/\s+not null$|\s+null$/, '')
    .replace(/\s*\([^)]*\)/, '')
    .trim();
  const type = ALIASES[name] ?? name;
  const isText = ({ baseType }: Typed): boolean => TEXTS.has(baseType) || /(?:^|\.)citext$/.test(baseType);
  if (TEXTS.has(type)) return isText(column);
  const family = [new Set([...NUMBERS, ...FRACTIONS]), TIMES, new Set(['json', 'jsonb'])].find((each) =>
    each.has(type),
  );
  return family?.has(column.baseType) ?? (type === column.baseType || isText(column));
}
