import type { Queryable } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { UsageError } from '../../errors.js';
import { isLoose, type ComparedColumn, type TablePair } from '../tables/table-pair.js';

/**
 * A way to make 64 bits of a row, equal on both servers for equal rows. Rows that differ get the same bits by chance
 * alone (1 in 2^64; 2^32 where only the time differs, by 71 minutes or more); rows that are equal may get different
 * ones where an equality of PostgreSQL looks further than the text (jsonb 1.0 and 1.00), so that a difference is settled
 * by comparing values.
 */
export interface DigestMethod {
  readonly name: 'hash_record_extended' | 'md5';
  /** An SQL expression of type bigint. */
  rowDigest(columns: readonly ComparedColumn[]): string;
}

/** 0 would make a hash of 0.0 equal that of NULL (`hashfloat8extended` returns its seed for zero). */
const SEED = 8_675_309;

/**
 * `hash_record_extended` is linear in the hashes of the columns: two rows that swap the values of a column would keep
 * their sum. The outer hash takes its 64 bits as a seed, which is not linear.
 */
const FAST: DigestMethod = {
  name: 'hash_record_extended',
  rowDigest: (columns) => {
    const elements = [...columns.flatMap(fastElements), ...signs(columns)];
    return `hashint4extended(1, hash_record_extended(row(${elements.join(', ')}), ${SEED}))`;
  },
};

const PORTABLE: DigestMethod = {
  name: 'md5',
  rowDigest: (columns) =>
    `('x' || left(md5(row(${columns.map(portableElement).join(', ')})::text), 16))::bit(64)::bigint`,
};

/** The value of a column in the type in which it is compared. */
export function comparedValue({ name, type }: ComparedColumn, qualifier = ''): string {
  const column = `${qualifier}${quoteIdentifier(name)}`;
  if (type === null) return `${column}::text collate "C"`;
  if (type === 'text' || type === 'character varying' || type === 'character') return `${column}::text collate "C"`;
  return `${column}::${type}`;
}

/** The value of a column as one text for all equal values, unless its type is loose. */
export function canonicalText(column: ComparedColumn): string {
  return `(${portableElement(column)})::text`;
}

/**
 * Loose types are hashed by their text: of two elements of a jsonb array 32 places apart its own hash does not see that
 * they were swapped.
 */
function fastElements(column: ComparedColumn): string[] {
  const value = comparedValue(column);
  if (isLoose(column)) return [`${value}::text collate "C"`];
  // The hash of a bigint folds its halves: 1 and 2^32 hash alike.
  if (column.type === 'bigint') return [value, `(${value} >> 32)::int`];
  // So does that of a timestamp; but no two times in one bucket hash alike while it is shorter than 2^32 µs (71 minutes).
  if (column.type?.startsWith('timestamp') === true && !column.isAxis) {
    return [value, `date_part('epoch', ${value})`];
  }
  // NaN and Infinity hash alike.
  return column.unbounded ? [value, `${value} = 'NaN'`] : [value];
}

/** The hash of a numeric leaves its sign out. */
function signs(columns: readonly ComparedColumn[]): string[] {
  const numerics = columns.filter(({ type }) => type === 'numeric');
  if (numerics.length === 0) return [];
  const bits = numerics.map(
    (column, place) => `case when ${comparedValue(column)} < 0 then ${2 ** (place % 30)} else 0 end`,
  );
  return Array.from({ length: Math.ceil(bits.length / 30) }, (_, word) =>
    bits.slice(word * 30, word * 30 + 30).join(' + '),
  );
}

function portableElement(column: ComparedColumn): string {
  const value = comparedValue(column);
  if (column.type === 'numeric') return `trim_scale(${value})`;
  // -0 + 0 is 0.
  return column.type === 'real' || column.type === 'double precision' ? `${value} + 0::${column.type}` : value;
}

/** Values of each type whose hashes have to agree; a type that is not here is hashed as text. */
const PROBES: Readonly<Record<string, readonly string[]>> = {
  smallint: ['0', '-1', '32767'],
  integer: ['0', '-1', '2147483647'],
  bigint: ['0', '-1', '4294967296', '-9223372036854775808'],
  numeric: ['0', '-1.50', '1e-20', '12345678901234567890.123', 'NaN'],
  real: ['0', '-0', '1e-38', 'NaN', '-Infinity'],
  'double precision': ['0', '-0', '1e-300', 'NaN', '-Infinity'],
  boolean: ['true', 'false'],
  'timestamp with time zone': ['1970-01-01T00:00:00Z', '1969-12-31T23:59:59.999999Z', '2199-01-01T00:00:00.000001Z'],
  'timestamp without time zone': ['1970-01-01T00:00:00', '1969-12-31T23:59:59.999999', '2199-01-01T00:00:00.000001'],
  date: ['1970-01-01', '1969-12-31', '2199-01-01'],
  uuid: ['00000000-0000-0000-0000-000000000000', 'c0ffee00-1234-4567-89ab-cdef01234567'],
  bytea: ['\\x', '\\x00ff'],
  jsonb: ['{}', '[1, 1.50, "é", null]'],
};
const TEXT_PROBES = [
  '',
  'AWD-1A2B',
  'ชลประทาน',
  ' a long text, well beyond the twelve bytes that the hash takes at once ',
];

/**
 * The fast method where both servers give equal hashes for a probe of every column type used, else the portable one.
 * Throws a UsageError where the fast one is `wanted` and the servers do not agree on it.
 */
export async function agreeOnMethod(
  servers: readonly [Queryable, Queryable],
  tables: readonly TablePair[],
  wanted?: DigestMethod['name'],
): Promise<DigestMethod> {
  if (wanted === PORTABLE.name) return PORTABLE;
  const columns = tables.flatMap((table) => table.columns);
  if (columns.length === 0) return FAST;
  const probe = probeSql([...new Set(columns.map(({ type }) => type))]);
  const [one, other] = await Promise.all(
    servers.map(async (server) => (await server.query<{ digests: string }>(probe)).rows[0]?.digests),
  );
  if (one === other) return FAST;
  if (wanted === undefined) return PORTABLE;
  throw new UsageError(`the two servers do not compute ${wanted} alike`, { code: 'digests-differ' });
}

function probeSql(types: readonly (string | null)[]): string {
  const digests = types.flatMap((type) => {
    const known = type === null ? undefined : PROBES[type];
    const probedType = known === undefined ? 'text' : type;
    const literals = [...(known ?? TEXT_PROBES).map((value) => `'${value}'`), 'null'].map(
      (value) => `(${value}::${probedType})`,
    );
    const probed: ComparedColumn = { name: 'probe', type: probedType, unbounded: false, isAxis: false };
    return `(select string_agg(${FAST.rowDigest([probed])}::text, ',') from (values ${literals.join(', ')}) as v (probe))`;
  });
  return `select concat_ws(';', ${digests.join(', ')}) as digests`;
}

/** For benchmarks of the statements. */
export const DIGEST_METHODS = { fast: FAST, portable: PORTABLE } as const;
