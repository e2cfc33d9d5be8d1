// Tables of random columns, a decoder that makes of a message what the message says, and messages for it.
import { createRandom } from '../../src/lib/domain/random.js';

/** A type of a column, and what a message gives for it: mostly what it takes. */
interface Kind {
  readonly type: string;
  readonly make: (random: () => number) => unknown;
}

const pickOf = <Item>(items: readonly Item[], random: () => number): Item =>
  items[Math.floor(random() * items.length)]!;
const whole = (random: () => number, most: number): number => Math.floor(random() * most);
const instant = (random: () => number): string =>
  new Date(Date.UTC(2025, 6, 1) + whole(random, 86_400_000)).toISOString();
/** As the decoder's `revive` reads them. */
const bigint = (random: () => number): object => ({ $bigint: `90071992547409${93 + whole(random, 900)}` });

const KEYS: readonly Kind[] = [
  { type: 'bigint', make: bigint },
  { type: 'integer', make: (random) => whole(random, 1e9) },
  { type: 'smallint', make: (random) => whole(random, 30_000) },
  { type: 'timestamptz', make: instant },
  { type: 'timestamp', make: instant },
  { type: 'date', make: (random) => instant(random).slice(0, 10) },
  { type: 'numeric(12,3)', make: (random) => whole(random, 1e6) / 8 },
  { type: 'uuid', make: (random) => `00000000-0000-4000-8000-${String(whole(random, 1e9)).padStart(12, '0')}` },
  { type: 'varchar(40)', make: (random) => pickOf(['a', 'A', 'é', 'o\'dd "q"', ' ', '\\N', '{x}'], random) },
];

const VALUES: readonly Kind[] = [
  ...KEYS,
  { type: 'numeric(5,2)', make: (random) => pickOf([1.255, -999.99, 999.995, 0.004, '12.5', 1e7], random) },
  { type: 'double precision', make: (random) => random() * 1e9 },
  { type: 'real', make: (random) => random() },
  { type: 'boolean', make: (random) => random() < 0.5 },
  { type: 'integer[]', make: (random) => [whole(random, 9), null, -whole(random, 9)] },
  { type: 'text[]', make: (random) => ['a,b', null, '"{}"', pickOf(['', 'NULL', '\\'], random)] },
  { type: 'numeric(6,1)[]', make: (random) => [random() * 100, '7'] },
  { type: 'jsonb', make: (random) => ({ a: [whole(random, 9), { b: null }], 'c "d"': '\u{1F4A7}' }) },
  { type: 'json', make: (random) => [whole(random, 9), ' ', { $bigint: '5' }] },
  { type: 'bytea', make: (random) => ({ $bytes: [0, 255, whole(random, 255)] }) },
  { type: 'interval', make: (random) => `${whole(random, 900)} minutes` },
  { type: 'inet', make: (random) => `10.0.0.${whole(random, 255)}` },
  { type: 'point', make: (random) => `(${whole(random, 9)},1.5)` },
  { type: '"Fuzz 1"."Mood"', make: (random) => pickOf(['calm', 'wild', 'odd'], random) },
  { type: '"Fuzz 1".percent', make: (random) => whole(random, 110) },
  { type: 'char(3)', make: (random) => pickOf(['x', 'xyz', 'wxyz'], random) },
];

interface RandomColumn extends Kind {
  readonly name: string;
}

/** A table; its rows carry the mark of their message in their key, those that are kept newest a name that comes again. */
export interface ShapedTable {
  readonly name: string;
  readonly sql: string;
  readonly isNewest: boolean;
  readonly key: readonly RandomColumn[];
  readonly values: readonly RandomColumn[];
}

export interface Shapes {
  /** Makes all of them, on either side. */
  readonly schema: string;
  readonly tables: readonly ShapedTable[];
  readonly decoder: string;
}

const NAMES = [
  'Level',
  'select',
  'a b',
  'x"y',
  'ระดับ',
  'UPPER',
  'c0',
  'stored',
  'unit',
  'given',
  'place',
  'key',
  'v-1',
  'id',
];
const PARENT = '"Fuzz 1"."Parents"';

/** Tables of random shapes; the first is the parent of some of the others. */
export function randomShapes(seed: number): Shapes {
  const random = createRandom(seed);
  const parent: ShapedTable = {
    ...{ name: 'Fuzz 1.Parents', sql: PARENT, isNewest: true },
    key: [{ name: 'Name', type: 'text', make: () => pickOf(['p1', 'p2', 'p3', 'p4'], random) }],
    values: [{ name: 'Seen', type: 'timestamptz', make: instant }, ...columns(VALUES, 3, random)],
  };
  const children = Array.from({ length: 7 }, (_, place) => randomTable(place, random));
  const statements = [
    ...['create schema "Fuzz 1"', `create type "Fuzz 1"."Mood" as enum ('calm', 'wild')`],
    'create domain "Fuzz 1".percent as integer check (value between 0 and 100)',
    `create table ${PARENT} (${definitions([...parent.key, ...parent.values])}, primary key ("Name"))`,
    ...children.map(({ create }) => create),
  ];
  return { schema: statements.join(';\n'), tables: [parent, ...children.map(({ table }) => table)], decoder: DECODER };
}

function randomTable(place: number, random: () => number): { table: ShapedTable; create: string } {
  const name = `Tab ${place}`;
  const mark: RandomColumn = { name: 'Mark', type: 'text', make: () => null };
  const others = columns(KEYS, whole(random, 3), random, 'k ');
  const at = whole(random, others.length + 1);
  const key = [...others.slice(0, at), mark, ...others.slice(at)];
  const values = columns(VALUES, 1 + whole(random, 6), random);
  const hasParent = random() < 0.5;
  const link: RandomColumn = { name: 'Parent', type: 'text', make: () => null };
  const extra = [
    ...(random() < 0.4 ? ['filled timestamptz default clock_timestamp()'] : []),
    ...(random() < 0.4 ? ['number bigint generated always as identity'] : []),
    ...(random() < 0.4 ? ['twice text generated always as ("Mark" || "Mark") stored'] : []),
    ...(random() < 0.3 ? [`check (length("Mark") < 60)`] : []),
    ...(hasParent ? [`foreign key ("Parent") references ${PARENT}`] : []),
  ];
  const all = [...key, ...(hasParent ? [link] : []), ...values];
  const sql = `"Fuzz 1"."${name}"`;
  const keyList = key.map((column) => quote(column.name)).join(', ');
  const constraint = random() < 0.5 ? 'primary key' : 'unique';
  const lines = [...[definitions(all, key)], ...extra, `${constraint} (${keyList})`];
  const table = { name: `Fuzz 1.${name}`, sql, isNewest: false, key, values: hasParent ? [link, ...values] : values };
  return { table, create: `create table ${sql} (${lines.join(', ')})` };
}

function columns(kinds: readonly Kind[], count: number, random: () => number, prefix = ''): RandomColumn[] {
  const names = NAMES.map((name) => ({ name, place: random() })).sort((one, other) => one.place - other.place);
  return Array.from({ length: count }, (_, place) => ({
    ...pickOf(kinds, random),
    name: `${prefix}${names[place]!.name}`,
  }));
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

function definitions(all: readonly RandomColumn[], notNull: readonly RandomColumn[] = []): string {
  return all
    .map((column) => `${quote(column.name)} ${column.type}${notNull.includes(column) ? ' not null' : ''}`)
    .join(', ');
}

/** What a message says, it makes; also what is no answer of a decoder. */
const DECODER = `
const revive = (_, value) => {
  if (typeof value !== 'object' || value === null) return value;
  if ('$bigint' in value) return BigInt(value.$bigint);
  if ('$bytes' in value) return Uint8Array.from(value.$bytes);
  if ('$odd' in value) return [NaN, new Date(0), () => 1, Symbol('s'), Promise.resolve(1), Infinity, new Map([[1, 2]])][value.$odd];
  return value;
};
export default { decode(body) {
  const { throws, answer, rows } = JSON.parse(body, revive);
  if (throws !== undefined) throw throws;
  return answer === undefined ? rows.map((row) => row) : answer;
} };`;

/** A row of a message: what of it must be found again. */
export interface MarkedRow {
  readonly table: string;
  readonly mark: string;
}

/** Endless messages; those that are not mutated afterwards are mostly sound. */
export function* shapedMessages({ tables }: Shapes, random: () => number): Generator<string> {
  const [parent, ...children] = tables;
  for (let number = 0; ; number += 1) {
    if (random() < 0.02) {
      yield JSON.stringify(
        random() < 0.5
          ? { number, throws: pickOf(['x', null, 5], random) }
          : { number, answer: pickOf([5, [], null, [[]], 'x', [{ fault: 'no' }]], random) },
      );
      continue;
    }
    const rows = Array.from({ length: whole(random, 4) }, (_, place) =>
      childRow(pickOf(children, random), `${number}-${place}`, random),
    );
    // Those that refer to a parent bring it along, mostly.
    const parents = rows.flatMap((row) => {
      const name = row.values.Parent;
      if (typeof name !== 'string' || random() < 0.05) return [];
      const write = { newestBy: 'Seen' };
      const values = {
        Name: name,
        ...Object.fromEntries(parent!.values.map(({ name: column, make }) => [column, make(random)])),
      };
      return [{ table: parent!.name, values, write, ...(row.unit !== undefined && { unit: row.unit }) }];
    });
    yield JSON.stringify({ number, rows: [...rows, ...parents] });
  }
}

interface GivenRow {
  readonly table: string;
  readonly values: Record<string, unknown>;
  readonly unit?: number;
}

function childRow({ name: table, key, values }: ShapedTable, mark: string, random: () => number): GivenRow {
  const made = [...key, ...values].flatMap((column) => {
    if (column.name === 'Mark') return [[column.name, mark]];
    if (column.name === 'Parent') return [[column.name, pickOf(['p1', 'p2', 'p3', 'p4'], random)]];
    if (!key.includes(column) && random() < 0.02) return [];
    if (!key.includes(column) && random() < 0.1) return [[column.name, null]];
    return [[column.name, random() < 0.01 ? { $odd: whole(random, 7) } : column.make(random)]];
  });
  const row = { table, values: Object.fromEntries(made) as Record<string, unknown> };
  return random() < 0.7 ? { ...row, unit: whole(random, 2) } : row;
}
