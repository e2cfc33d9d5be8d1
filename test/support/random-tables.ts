// Tables of random columns, and copies of their rows with random damage.
import type { TableToJudge } from './compared.js';

export interface ColumnKind {
  readonly local: string;
  readonly ec2: string;
  /** The type in which values are equal or not. */
  readonly as: string;
  /** Texts; neighbours are easily taken for each other. */
  readonly values: readonly string[];
  /** Texts for EC2 alone, whose type holds more. */
  readonly wider?: readonly string[];
  /** Texts of equal values. */
  readonly equal?: readonly (readonly string[])[];
}

export interface RandomColumn {
  readonly name: string;
  readonly kind: ColumnKind;
}

type Row = readonly (string | null)[];

export interface RandomTable {
  readonly judged: TableToJudge;
  readonly create: { readonly local: string; readonly ec2: string };
  readonly columns: readonly RandomColumn[];
  readonly rows: { readonly local: readonly Row[]; readonly ec2: readonly Row[] };
  /** Bounds in µs since 1970, with both null for everything; not for a table without times. */
  readonly window: { readonly from: number | null; readonly to: number | null };
  readonly damages: readonly string[];
  /** Whether the times lie centuries apart. */
  readonly isFar: boolean;
}

const LONG = 'a text that is longer than the twelve bytes which the hash takes at a time, ';
const far = (place: number): string =>
  `[${Array.from({ length: 40 }, (_, at) => (at === place ? '"x"' : '"y"')).join(', ')}]`;

const FLOATS = ['0', '-0', '1', '-1', '0.1', 'NaN', 'Infinity', '-Infinity', '1e-38'];
const NUMBERS = ['1', '-1', '1.0', '1.00', '0', '0.00', '0.0001', '-0.01', '0.01', 'NaN', '99.99'];
const EQUAL_NUMBERS = [
  ['1', '1.0', '1.00'],
  ['0', '0.00'],
];
const TEXTS = [
  '',
  ' ',
  'a',
  'a ',
  'A',
  'é',
  'e\u0301',
  `o'dd\\ "q", (x); --`,
  'NULL',
  '\\N',
  'ชลประทาน',
  '\u{1F4A7}',
  LONG,
];
// The first two differ by 2^32 µs and 1: the halves of their 64 bits fold to the same 32.
const TIMES = [
  ...['2000-01-01 00:00:00.000001', '2000-01-01 01:11:34.967296', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:00'],
  ...['infinity', '-infinity', '0044-03-15 00:00:00 BC', '294276-12-31 23:59:59.999999', '2025-07-01 00:00:00'],
];

/** A type that a table may use. */
export const MOOD = `create type mood as enum ('sad', 'happy', 'it''s')`;

const [TIMESTAMP, TIMESTAMPTZ] = ['timestamp', 'timestamptz'];
const plain = (type: string, values: readonly string[], equal: readonly (readonly string[])[] = []): ColumnKind => {
  return { local: type, ec2: type, as: type, values, equal };
};

export const COLUMN_KINDS: readonly ColumnKind[] = [
  plain('smallint', ['0', '1', '-1', '32767']),
  plain('integer', ['0', '1', '-1', '65536', '2147483647', '-2147483648']),
  plain('bigint', ['1', '4294967296', '-1', '4294967295', '0', '-4294967296', '9223372036854775807']),
  { ...plain('integer', ['1', '-1', '0']), ec2: 'bigint', as: 'bigint', wider: ['4294967296', '4294967295'] },
  { ...plain('bigint', ['1', '-1', '0']), ec2: 'smallint' },
  { ...plain('integer', ['1', '-1', '0']), ec2: 'numeric', as: 'numeric', wider: ['1.5', '1.0', 'NaN', '-0.5'] },
  plain(
    'numeric',
    [...NUMBERS, '10000', 'Infinity', '-Infinity', '1e-20', '-1e-20', '12345678901234567890.5'],
    EQUAL_NUMBERS,
  ),
  plain('numeric(5,2)', NUMBERS, EQUAL_NUMBERS),
  { ...plain('numeric(5,2)', NUMBERS, EQUAL_NUMBERS), ec2: 'numeric', as: 'numeric', wider: ['1.001', 'Infinity'] },
  { ...plain('numeric', NUMBERS, EQUAL_NUMBERS), ec2: 'numeric(6,3)' },
  plain('real', [...FLOATS, '0.10000001'], [['0', '-0']]),
  plain('double precision', [...FLOATS, '0.10000000000000002'], [['0', '-0']]),
  { ...plain('double precision', FLOATS, [['0', '-0']]), ec2: 'real' },
  { ...plain('real', FLOATS, [['0', '-0']]), ec2: 'double precision', wider: ['0.2', '0.20000001'] },
  plain('text', TEXTS),
  { ...plain('varchar(100)', TEXTS), ec2: 'text', as: 'text' },
  { ...plain('text', TEXTS), ec2: 'varchar', as: 'text' },
  plain('char(5)', ['', 'a', 'a    ', 'b', 'A'], [['a', 'a    ']]),
  plain('boolean', ['true', 'false']),
  plain('timestamp', TIMES),
  plain('timestamptz', TIMES),
  { local: TIMESTAMP, ec2: TIMESTAMPTZ, as: TIMESTAMPTZ, values: TIMES },
  { local: TIMESTAMPTZ, ec2: TIMESTAMP, as: TIMESTAMPTZ, values: TIMES },
  {
    ...plain('timestamp(0)', ['2025-07-01 00:00:00']),
    ec2: 'timestamp',
    as: 'timestamp',
    wider: ['2025-07-01 00:00:00.1'],
  },
  plain('date', ['1970-01-01', '1969-12-31', '2025-07-01', 'infinity', '0044-03-15 BC']),
  plain('uuid', ['00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000001']),
  plain('bytea', ['\\x', '\\x00', '\\x0000', '\\xff', '\\x5c78']),
  plain(
    'jsonb',
    [
      ...[
        '1.0',
        '1.00',
        '{"a":1,"b":[1.50]}',
        '{"b":[1.5],"a":1}',
        far(1),
        far(33),
        'null',
        '"null"',
        '{}',
        '[]',
        '""',
      ],
      ...['-0', '0', '"1.0"', '"1.00"', '[[1], 2]', '[1, [2]]', '{"a": null}', 'true', '"true"'],
    ],
    [
      ['1.0', '1.00', '1'],
      ['{"a":1,"b":[1.50]}', '{"b":[1.5],"a":1}'],
      ['-0', '0'],
    ],
  ),
  { ...plain('json', ['1.0', '1.00', '{"a":1}', '{ "a":1}', 'null']), as: 'text' },
  plain('text[]', ['{}', '{NULL}', '{"NULL"}', '{""}', '{a,b}', '{"a,b"}', '{{a},{b}}']),
  plain('numeric[]', ['{1.0}', '{1.00}', '{1}', '{-1}', '{}', '{NULL}'], [['{1.0}', '{1.00}', '{1}']]),
  plain('double precision[]', ['{0}', '{-0}', '{1}'], [['{0}', '{-0}']]),
  plain('interval', ['0', '1 mon', '30 days', '720:00:00', '1 us', '-1 us'], [['1 mon', '30 days', '720:00:00']]),
  plain('inet', ['10.0.0.1', '10.0.0.1/32', '10.0.0.1/24', '::1'], [['10.0.0.1', '10.0.0.1/32']]),
  { ...plain('mood', ['sad', 'happy', `it's`]), as: 'text' },
  plain('time', ['00:00', '24:00', '12:00:00.000001']),
];

/** Where most rows lie: on the edges of minutes and hours, and a microsecond beside them. */
const BASE = microsOf('2025-07-01T00:00:00');
const MINUTE = 60_000_000;
const NEAR = [0, 1, MINUTE - 1, MINUTE, 59 * MINUTE, 60 * MINUTE - 1, 60 * MINUTE, 61 * MINUTE + 7, 24 * 60 * MINUTE];
const NEAR_TIMES = NEAR.map((offset) => BASE + offset);
const FAR_TIMES = [...NEAR_TIMES, -1, 0, 1, microsOf('1700-01-01T00:00:00'), microsOf('2250-01-01T00:00:00')];

/** A key of such a type has several texts for one value: the rows are told apart as a whole. */
const LOOSE_KEYS = ['jsonb', 'interval', 'numeric[]', 'double precision[]'];

const TIME_KINDS: readonly ColumnKind[] = [
  { local: TIMESTAMP, ec2: TIMESTAMP, as: TIMESTAMP, values: [] },
  { local: TIMESTAMPTZ, ec2: TIMESTAMPTZ, as: TIMESTAMPTZ, values: [] },
  { local: TIMESTAMP, ec2: TIMESTAMPTZ, as: TIMESTAMPTZ, values: [] },
  { local: TIMESTAMPTZ, ec2: TIMESTAMP, as: TIMESTAMPTZ, values: [] },
];
const SENSOR: ColumnKind = {
  local: 'varchar(255)',
  ec2: 'text',
  as: 'text',
  values: ['AWD-1', 'awd-1', '', ...TEXTS.slice(4)],
};
const ID: ColumnKind = plain(
  'integer',
  Array.from({ length: 40 }, (_, id) => String(id)),
);
const kindOf = (local: string, ec2 = local): ColumnKind =>
  COLUMN_KINDS.find((kind) => kind.local === local && kind.ec2 === ec2)!;

/** The tables that sensorctl knows, with the columns that tell most. */
const KNOWN_TABLES = {
  water_level_readings: {
    sensor_id: SENSOR,
    location_lat: kindOf('double precision'),
    level_cm: kindOf('numeric(5,2)'),
    rssi: kindOf('integer', 'bigint'),
  },
  moisture_readings: { sensor_id: SENSOR, flood_status: kindOf('boolean'), voltage: kindOf('numeric(5,2)', 'numeric') },
  sensor_readings: {
    sensor_id: SENSOR,
    sensor_type: kindOf('text'),
    value: kindOf('jsonb'),
    metadata: kindOf('jsonb'),
  },
  sensor_registry: {
    sensor_id: SENSOR,
    last_seen: kindOf('timestamp', 'timestamptz'),
    location_lat: kindOf('double precision'),
    metadata: kindOf('jsonb'),
    is_active: kindOf('boolean'),
  },
} as const;

/** Whole numbers below a bound, and picks from lists. */
export class Dice {
  constructor(private readonly random: () => number) {}

  below(bound: number): number {
    return Math.floor(this.random() * bound);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  shuffle<Item>(items: readonly Item[]): Item[] {
    return items
      .map((item) => ({ item, at: this.random() }))
      .sort((one, other) => one.at - other.at)
      .map(({ item }) => item);
  }
}

export function randomTable(dice: Dice): RandomTable {
  return dice.chance(0.4) ? knownTable(dice) : userTable(dice);
}

function knownTable(dice: Dice): RandomTable {
  const name = dice.pick(Object.keys(KNOWN_TABLES)) as keyof typeof KNOWN_TABLES;
  const columns = Object.entries(KNOWN_TABLES[name]).map(([column, kind]) => ({ name: column, kind }));
  if (name === 'sensor_registry') return fill(dice, { name, columns, key: ['sensor_id'], unique: true });
  const timed = [{ name: 'time', kind: dice.pick(TIME_KINDS) }, ...columns];
  return fill(dice, { name, columns: timed, key: ['sensor_id', 'time'], unique: dice.chance(0.5) });
}

function userTable(dice: Dice): RandomTable {
  const odd = dice.shuffle([
    'place',
    'bin',
    'rows',
    'k0',
    'c0',
    'digest',
    'Odd "one"',
    "it's",
    'select',
    'newest',
    'given',
  ]);
  const values = odd.slice(0, 1 + dice.below(5)).map((name) => ({ name, kind: dice.pick(COLUMN_KINDS) }));
  const time = dice.chance(0.6) ? [{ name: 'time', kind: dice.pick(TIME_KINDS) }] : [];
  const [first] = values;
  const keys = [
    { columns: [{ name: 'id', kind: ID }], key: ['id'] },
    { columns: [{ name: 'id', kind: ID }], key: ['id', ...time.map(({ name }) => name)] },
    { columns: [], key: first === undefined || first.kind.local === 'json' ? [] : [first.name] },
    { columns: [], key: [] },
  ];
  const { columns, key } = dice.pick(keys);
  return fill(dice, {
    ...{ name: dice.pick(['t', 'Odd "table"; --']), columns: dice.shuffle([...columns, ...time, ...values]) },
    ...{ key, unique: key.length > 0 },
  });
}

interface Design {
  readonly name: string;
  readonly columns: readonly RandomColumn[];
  readonly key: readonly string[];
  readonly unique: boolean;
}

function fill(dice: Dice, { name, columns, key, unique }: Design): RandomTable {
  const isTimed = columns.some((column) => column.name === 'time');
  const times = dice.chance(0.8) ? NEAR_TIMES : FAR_TIMES;
  const value = ({ name: column, kind }: RandomColumn): string | null => {
    if (column === 'time') return timeText(dice.pick(times));
    if (dice.chance(0.15) && !(unique && key.includes(column))) return null;
    return dice.pick(kind.values);
  };
  const count = dice.pick([0, 1, 3, 20, 60]);
  const local = Array.from({ length: count }, () => columns.map(value));
  if (!unique && dice.chance(0.5)) local.push(...local.filter(() => dice.chance(0.3)));
  const { rows, damages } = damage(dice, columns, { rows: local, times, value });
  const order = dice.shuffle(columns);
  const isUniqueThere = unique && dice.chance(0.5);
  const fits = (row: Row): boolean =>
    !isUniqueThere || columns.every((column, at) => !key.includes(column.name) || row[at] !== null);
  const create = (side: 'local' | 'ec2', those: readonly RandomColumn[], withKey: boolean): string => {
    const declared = those.map(
      (column) => `${quoted(column.name)} ${column.kind[side]}${column.name === 'time' ? ' not null' : ''}`,
    );
    const primary = withKey ? [`primary key (${key.map(quoted).join(', ')})`] : [];
    return `create table ${quoted(name)} (${[...declared, ...primary].join(', ')})`;
  };
  const window = isTimed && dice.chance(0.5) ? { from: dice.pick(times), to: dice.pick(times) + dice.below(2) } : null;
  const bounds = window !== null && window.from < window.to ? window : { from: null, to: null };
  const isLoose = columns.some((column) => key.includes(column.name) && LOOSE_KEYS.includes(column.kind.local));
  const judgedKey = isLoose || key.length === 0 ? [] : [...new Set([...key, ...(isTimed ? ['time'] : [])])];
  return {
    judged: {
      ...{ name, columns: columns.map((column) => ({ name: column.name, as: column.kind.as })), key: judgedKey },
      where:
        bounds.from === null ? 'true' : `"time" >= '${timeText(bounds.from)}' and "time" < '${timeText(bounds.to)}'`,
    },
    create: { local: create('local', columns, unique), ec2: create('ec2', order, isUniqueThere) },
    ...{ columns, rows: { local, ec2: rows.filter(fits) }, window: bounds, damages, isFar: times === FAR_TIMES },
  };
}

interface Damaging {
  readonly rows: readonly Row[];
  readonly times: readonly number[];
  readonly value: (column: RandomColumn) => string | null;
}

function damage(dice: Dice, columns: readonly RandomColumn[], { rows, times, value }: Damaging) {
  let damaged: Row[] = rows.map((row) => [...row]);
  const damages: string[] = [];
  if (dice.chance(0.5)) {
    damaged = damaged.map((row) => row.map((text, at) => rewrite(dice, columns[at]!, text)));
    damages.push('rewritten equal');
  }
  const count = dice.pick([0, 0, 1, 1, 2, 5, 20]);
  for (let each = 0; each < count; each += 1) {
    const kinds = ['delete', 'alter', 'alter', 'alter', 'swap', 'duplicate', 'shift', 'add', 'neighbour', 'null'];
    const kind = dice.pick(damaged.length === 0 ? ['add'] : kinds);
    const [at, column] = [dice.below(damaged.length), dice.below(columns.length)];
    const timeAt = columns.findIndex(({ name }) => name === 'time');
    const row = damaged[at] ?? [];
    damages.push(`${kind} ${at}.${columns[column]!.name}`);
    const set = (place: number, index: number, text: string | null): void => {
      damaged[place] = damaged[place]!.with(index, text);
    };
    if (kind === 'delete') damaged.splice(at, 1);
    if (kind === 'alter') set(at, column, other(dice, columns[column]!, value));
    if (kind === 'neighbour') set(at, column, neighbour(columns[column]!, row[column] ?? null, times));
    if (kind === 'null' && columns[column]!.name !== 'time') set(at, column, null);
    if (kind === 'duplicate') damaged.push([...row]);
    if (kind === 'add') damaged.push(columns.map(value));
    if (kind === 'shift' && timeAt >= 0) set(at, timeAt, timeText(microsOf(row[timeAt]!) + dice.pick([-1, 1])));
    if (kind === 'swap') {
      const with_ = dice.below(damaged.length);
      const mine = row[column]!;
      set(at, column, damaged[with_]![column]!);
      set(with_, column, mine);
    }
  }
  return { rows: damaged, damages };
}

function other(dice: Dice, column: RandomColumn, value: (column: RandomColumn) => string | null): string | null {
  const { wider = [] } = column.kind;
  return wider.length > 0 && dice.chance(0.5) ? dice.pick(wider) : value(column);
}

function neighbour({ name, kind }: RandomColumn, text: string | null, times: readonly number[]): string | null {
  const values = name === 'time' ? times.map(timeText) : kind.values;
  return values[values.indexOf(text ?? '') + 1] ?? values[0] ?? null;
}

/** Another text of an equal value. */
function rewrite(dice: Dice, { kind }: RandomColumn, text: string | null): string | null {
  const alike = kind.equal?.find((texts) => text !== null && texts.includes(text));
  return alike === undefined ? text : dice.pick(alike);
}

/** µs since 1970 of UTC text with or without microseconds. */
function microsOf(text: string): number {
  const [seconds, fraction = '0'] = text.replace(' ', 'T').split('.');
  return Date.parse(`${seconds!}Z`) * 1000 + Number(fraction);
}

/** UTC text with microseconds, of years with four digits. */
export function timeText(micros: number): string {
  const seconds = Math.floor(micros / 1_000_000);
  const date = new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
  return `${date}.${String(micros - seconds * 1_000_000).padStart(6, '0')}`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
