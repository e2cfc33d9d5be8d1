/** A part of a name: exactly this one, or all that fit, where `*` stands for any characters. */
interface NamePart {
  readonly text: string;
  readonly isExact: boolean;
  readonly fits: (name: string) => boolean;
}

/** Which tables are meant, and what is said of them. */
export interface TablePattern {
  /** As it was written. */
  readonly text: string;
  /** Null: the schemas in which a name without one is found. */
  readonly schema: NamePart | null;
  readonly name: NamePart;
  /** It names one table, not all that fit. */
  readonly isExact: boolean;
  /** The column along which they are cut; null where nobody says. */
  readonly axis: string | null;
  /** Columns that each side keeps for itself. */
  readonly except: readonly string[];
}

/** Which tables belong to the migration. */
export interface TableSelection {
  /** Empty: every table. */
  readonly tables: readonly TablePattern[];
  readonly except: readonly TablePattern[];
}

/** A table as patterns match it. */
export interface NamedTable {
  readonly schema: string;
  readonly name: string;
  /** A name without schema finds it. */
  readonly isOnPath: boolean;
}

export const EVERY_TABLE: TableSelection = { tables: [], except: [] };

const PART = '"(?:[^"]|"")+"|[^\\s.,=\\-"]+';
const ENTRY = new RegExp(`^(?:(${PART})\\.)?(${PART})(?:=(${PART}))?((?:-(?:${PART}))*)$`);
const ENTRIES = /(?:"(?:[^"]|"")*"?|[^\s,"])+/g;
const COLUMNS = new RegExp(`-(${PART})`, 'g');

/** The form of a right entry, for errors. */
export const PATTERN_FORM =
  'table, schema.table or a pattern with * (all: *), with =column for its axis and -column for one that is not compared; odd names in "double quotes"';

/**
 * Reads `schema.table=axis-column-column`, of which only the table is needed. A name of other characters than letters,
 * digits, underscores and the like stands in double quotes, in which `*` is a character like any other. Null for anything
 * else.
 */
export function parseTablePattern(text: string): TablePattern | null {
  const match = ENTRY.exec(text);
  if (match === null) return null;
  const [, ofSchema, ofName = '', axis, columns = ''] = match;
  const schema = ofSchema === undefined ? null : parsePart(ofSchema);
  const name = parsePart(ofName);
  return {
    text,
    schema,
    name,
    isExact: name.isExact && schema?.isExact !== false,
    axis: axis === undefined ? null : parsePart(axis).text,
    except: [...columns.matchAll(COLUMNS)].map(([, column = '']) => parsePart(column).text),
  };
}

/** The entries of a list, separated by commas or spaces. */
export function splitPatterns(list: string): string[] {
  return list.match(ENTRIES) ?? [];
}

export function fitsPattern({ schema, name }: TablePattern, table: NamedTable): boolean {
  if (schema !== null) return schema.fits(table.schema) && name.fits(table.name);
  return (table.isOnPath || name.text === '*') && name.fits(table.name);
}

function parsePart(part: string): NamePart {
  if (part.startsWith('"')) {
    const text = part.slice(1, -1).replaceAll('""', '"');
    return { text, isExact: true, fits: (name) => name === text };
  }
  const pieces = part.split('*').map((piece) => piece.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
  const pattern = new RegExp(`^${pieces.join('.*')}$`, 's');
  return { text: part, isExact: pieces.length === 1, fits: (name) => pattern.test(name) };
}
