import type { TimeRange } from '../../domain/time-range.js';
import type { DigestMethod } from '../compare/digest-method.js';
import { axisOf, pagesSql, sliceSql, type ClassSlice, type Pages } from '../compare/slices.js';
import { boundSql, boundText } from '../tables/axis.js';
import { sideSql, type TablePair } from '../tables/table-pair.js';
import { columnOf, type Table } from '../tables/table.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import type { Transfer } from './transfer.js';

/** The rows of a table that are copied together, as SQL without parameters: COPY takes none. */
export interface Portion {
  /** What the source holds of it, as the relation `stored`, with what has to follow it. */
  readonly source: string;
  /** A condition for the target's rows (under the name `stored`) that belong to it; null where that cannot be told. */
  readonly target: string | null;
  /** One for those that are found by their key: no more than that, so that no more chunks are looked into. */
  readonly found: string;
}

/** Ranges of the axis. */
export function portionOfRanges({ compared, key }: Transfer, ranges: readonly TimeRange[]): Portion {
  const { sql: axis, type } = axisOf({ table: compared, role: 'primary' });
  const there = axisOf({ table: compared, role: 'secondary' });
  const bound = (place: number, of = type): string => boundSql(of, place, quoteLiteral(boundText(of, place)));
  const bounds = ranges.map(({ from, to }) => `(${bound(from)}, ${bound(to)})`);
  // Constants, so that chunks outside of all of them are not even locked.
  const span = {
    from: ranges.reduce((least, { from }) => Math.min(least, from), Infinity),
    to: ranges.reduce((most, { to }) => Math.max(most, to), -Infinity),
  };
  const within = `${axis} >= ${bound(span.from)} and ${axis} < ${bound(span.to)}`;
  const target = `stored.${there.sql} >= ${bound(span.from, there.type)} and stored.${there.sql} < ${bound(span.to, there.type)}`;
  return {
    source: `(values ${bounds.join(', ')}) as slice (start, stop) join lateral (
      select * from ${sideSql(compared, 'primary')} where ${axis} >= slice.start and ${axis} < slice.stop and ${within}
    ) as stored on true`,
    target,
    found: key.includes(compared.axis?.column ?? '') || key.length === 0 ? target : 'true',
  };
}

/** Rows by the class of their key. */
export function portionOfClasses({ compared: table }: Transfer, slice: ClassSlice, method: DigestMethod): Portion {
  const rows = (role: 'primary' | 'secondary'): string => sliceSql({ table, method, role }, slice);
  return {
    source: `(select * from ${sideSql(table, 'primary')} where ${rows('primary')}) as stored`,
    target: rows('secondary'),
    found: 'true',
  };
}

/** What some pages of the source's files hold. */
export function portionOfPages({ compared }: Transfer, pages: Pages): Portion {
  return {
    source: `(select * from ${sideSql(compared, 'primary')} where ${pagesSql(pages)}) as stored`,
    target: null,
    found: 'true',
  };
}

export function portionOfAll({ compared }: Transfer): Portion {
  return { source: `${sideSql(compared, 'primary')} as stored`, target: 'true', found: 'true' };
}

/** Rows by their keys: JSON lists of texts. */
export function portionOfKeys({ compared, key }: Transfer, keys: readonly string[]): Portion {
  const same = key.map((name, place) => `known.${quoteIdentifier(name)} = named.part_${place}`);
  const within = withinSpanSql(compared, key, keys);
  return {
    source: `${namedKeysSql(compared.sides.primary, key, keys)}
      cross join lateral (select known.* from ${sideSql(compared, 'primary')} as known where ${[...same, ...within].join(' and ')}) as stored`,
    target: null,
    found: 'true',
  };
}

/**
 * SQL for the keys as the relation `named`: their text, and `part_0`, … in the types that a side has. As values, so that the
 * planner knows how many they are, and what they are held against is found by more than its index.
 */
export function namedKeysSql(side: Pick<Table, 'columns'>, key: readonly string[], keys: readonly string[]): string {
  const types = key.map((name) => columnOf(side, name)?.type ?? 'text');
  const rows = keys.map((text) => {
    const parts = partsOf(text);
    const values = types.map((type, place) => `${textSql(parts[place])}::${type}`);
    return `(${[quoteLiteral(text), ...values].join(', ')})`;
  });
  const names = ['key', ...key.map((_, place) => `part_${place}`)];
  return `(values ${rows.join(', ')}) as named (${names.join(', ')})`;
}

function partsOf(key: string): unknown[] {
  return JSON.parse(key) as unknown[];
}

function textSql(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  return quoteLiteral(typeof value === 'string' ? value : JSON.stringify(value));
}

/** Times as a session in UTC prints them: in the order of their texts. */
const UTC_TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?:\+00)?$/;

/** Constants, so that chunks in which no key can lie are not looked into; none where the texts do not say it. */
function withinSpanSql({ axis, sides }: TablePair, key: readonly string[], keys: readonly string[]): string[] {
  const column = axis?.column ?? '';
  const place = key.indexOf(column);
  if (place < 0 || sides.primary.hypertable === null) return [];
  const texts = keys.map((text) => partsOf(text)[place]);
  if (!texts.every((text): text is string => typeof text === 'string' && UTC_TIME.test(text))) return [];
  const [least, most] = texts.reduce(
    ([low, high], text) => [text < low ? text : low, text > high ? text : high],
    [texts[0] ?? '', texts[0] ?? ''],
  );
  const type = columnOf(sides.primary, column)?.type ?? 'timestamptz';
  return [
    `known.${quoteIdentifier(column)} between ${quoteLiteral(least)}::${type} and ${quoteLiteral(most)}::${type}`,
  ];
}
