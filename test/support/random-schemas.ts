// Databases of random tables that refer to each other, rows in them, and random damage.
import pg from 'pg';
import type { Dice } from './random-tables.js';

/** A table as a test knows it. */
export interface KnownTable {
  /** As a statement names it. */
  readonly sql: string;
  /** As output names it. */
  readonly label: string;
  readonly columns: readonly string[];
  /** In the order of its columns; empty: it has none. */
  readonly key: readonly string[];
  /** Columns that a damage may set, each with an expression for a value. */
  readonly values: readonly (readonly [column: string, value: string])[];
}

export interface RandomSchema {
  readonly tables: readonly KnownTable[];
  /** For both sides. */
  readonly create: readonly string[];
  /** For the source: the rows. */
  readonly fill: readonly string[];
}

/** In any database: what columns are made of. */
export const TYPES = `
  create schema "Other.one"; create type mood as enum ('sad', 'ok', 'happy'); create domain level as numeric check (value > -1000);
  create type place as (lat float8, name text);`;

const NAMES = ['events', 'Odd "one"', "it's", 'ชลประทาน', 'select', 'a.b', 'x;y--', 'sensorctl_staged'];

/** A type, and an expression for the value of row n. */
const VALUES: readonly (readonly [type: string, value: string])[] = [
  ['integer', '(n * 7919) % 1000'],
  ['text', `repeat(chr(96 + n % 25 + 1), n % 40)`],
  ['numeric(8,2)', '(n % 977) / 4.0'],
  ['double precision', `case n % 11 when 0 then 'NaN' when 1 then '-0' else n / 3.0 end`],
  ['jsonb', `jsonb_build_object('n', n, 'list', array[n % 3, null])`],
  ['json', `json_build_object('n', n % 50)`],
  ['bytea', `decode(md5(n::text), 'hex')`],
  ['date', `date '2020-01-01' + n % 900`],
  ['boolean', 'n % 3 = 0'],
  ['mood', `(array['sad', 'ok', 'happy'])[n % 3 + 1]::mood`],
  ['mood[]', `array[(array['sad', 'ok', 'happy'])[n % 3 + 1]]::mood[]`],
  ['level', 'n % 100 + 0.5'],
  ['place', `row(n / 2.0, 'place ' || n % 9)::place`],
  ['point', 'point(n % 17, n % 5)'],
  ['xml', `('<a>' || n % 30 || '</a>')::xml`],
  ['int4range', 'int4range(n % 40, n % 40 + 3)'],
  ['interval', `n % 90 * interval '1 hour'`],
  ['inet', `'10.0.0.0'::inet + n % 250`],
];

/** A key: its columns, each with the value of row n. */
const KEYS: readonly (readonly (readonly [type: string, value: string])[])[] = [
  [['integer', 'n']],
  [['integer generated always as identity', 'n']],
  [['bigint', '(n - 50) * 40000000000000']],
  [['smallint', 'n - 100']],
  [['uuid', 'md5(n::text)::uuid']],
  [['text', `'key ' || n`]],
  [
    ['date', `case when n = 7 then 'infinity' else date '2021-12-25' + n / 4 end`],
    ['integer', 'n % 4'],
  ],
  [
    ['varchar(20)', `'Ä' || n % 13`],
    ['numeric', 'n / 13'],
  ],
  [],
];

const ROWS = [0, 1, 40, 160, 700];

export function randomSchema(dice: Dice): RandomSchema {
  const names = dice.shuffle(NAMES).slice(0, 2 + dice.below(4));
  const create: string[] = [];
  const fill: string[] = [];
  const tables: (KnownTable & { readonly count: number; readonly type: string | null })[] = [];
  for (const name of names) {
    const schema = dice.pick(['public', 'public', 'Other.one']);
    const sql = `${quote(schema)}.${quote(name)}`;
    const key = dice.pick(KEYS).map(([type, value], place) => ({ name: `k${place}`, type, value }));
    const values = dice
      .shuffle(VALUES)
      .slice(0, 1 + dice.below(5))
      .map(([type, value], place) => ({ name: `Value ${place}`, type, value }));
    const count = dice.pick(ROWS);
    const [only] = key;
    const columns = [...key, ...values];
    // A parent that was made before, or the table itself; a row in three has none.
    const parents = tables.filter((table) => table.key.length === 1);
    const parent = parents.length > 0 && dice.chance(0.6) ? dice.pick(parents) : null;
    const refersToItself = key.length === 1 && dice.chance(0.3);
    const references = [
      ...(parent === null ? [] : [{ name: 'parent', to: parent.sql, key: parent.key[0]!, type: parent.type! }]),
      ...(refersToItself ? [{ name: 'above', to: sql, key: only!.name, type: plain(only!.type) }] : []),
    ];
    const isPartitioned = key.length > 0 && !refersToItself && dice.chance(0.25) && !only!.type.includes('identity');
    const generated =
      values.length > 1 && values[0]!.type === 'integer'
        ? [`"twice" integer generated always as ("Value 0" * 2) stored`]
        : [];
    const declared = [
      ...columns.map((column) => `${quote(column.name)} ${column.type}`),
      ...references.map((each) => `${quote(each.name)} ${each.type} references ${each.to} (${quote(each.key)})`),
      ...generated,
      ...(key.length > 0 ? [`primary key (${key.map((column) => quote(column.name)).join(', ')})`] : []),
    ];
    const partitionBy = isPartitioned ? ` partition by hash (${quote(only!.name)})` : '';
    create.push(`create table ${sql} (${declared.join(', ')})${partitionBy}`);
    if (isPartitioned) {
      for (const part of [0, 1]) {
        create.push(
          `create table ${quote(schema)}.${quote(`${name} part ${part}`)} partition of ${sql} for values with (modulus 2, remainder ${part})`,
        );
      }
    }
    const written = columns.map((column) => quote(column.name)).join(', ');
    const rows = key.length === 0 ? 'n / 2 as n' : 'n';
    const overriding = key.some((column) => column.type.includes('identity')) ? 'overriding system value' : '';
    fill.push(
      `insert into ${sql} (${written}) ${overriding} select ${columns.map(({ value }) => value).join(', ')}
       from (select ${rows} from generate_series(1, ${count}) as n) as numbers`,
    );
    for (const each of references) {
      fill.push(`update ${sql} as child set ${quote(each.name)} = (
        select ${quote(each.key)} from ${each.to} as other where other is not null
        order by md5(child::text || other::text) limit 1) where length(child::text) % 3 > 0`);
    }
    tables.push({
      ...{
        sql,
        label: schema === 'public' ? name : `${schema}.${name}`,
        count,
        type: only === undefined ? null : plain(only.type),
      },
      columns: [
        ...columns.map((column) => column.name),
        ...references.map((each) => each.name),
        ...generated.map(() => 'twice'),
      ],
      key: key.map((column) => column.name),
      values: values.map((column) => [column.name, column.value] as const),
    });
  }
  // A circle: an early table comes to refer to a late one.
  const [early, late] = [tables[0]!, tables.at(-1)!];
  if (early !== late && late.key.length === 1 && dice.chance(0.4)) {
    create.push(
      `alter table ${early.sql} add column back ${late.type} references ${late.sql} (${quote(late.key[0]!)})`,
    );
    fill.push(`update ${early.sql} as child set back = (select ${quote(late.key[0]!)} from ${late.sql} as other
      order by md5(child::text || other::text) limit 1)`);
    tables[0] = { ...early, columns: [...early.columns, 'back'] };
  }
  return { tables, create, fill };
}

/** Statements for one side in replica role, in which no foreign key holds them up. */
export function randomDamage(dice: Dice, { tables }: RandomSchema): string[] {
  return tables.flatMap((table) => {
    const { sql, values, key } = table;
    const [column, value] = dice.pick(values);
    const damages = [
      `delete from ${sql} where (tableoid, ctid) in (select tableoid, ctid from ${sql} as t order by md5(t::text) limit ${dice.pick([1, 5, 60])})`,
      `update ${sql} set ${quote(column)} = (select ${value} from (values (${dice.below(1000)})) as numbers (n))
        where (tableoid, ctid) in (select tableoid, ctid from ${sql} as t order by md5(t::text || 'x') limit ${dice.pick([1, 3, 40])})`,
      `delete from ${sql}`,
      ...(key.length === 0
        ? [`insert into ${sql} (${quote(column)}) select ${value} from generate_series(5, ${dice.pick([5, 30])}) as n`]
        : []),
    ];
    return dice.shuffle(damages).slice(0, dice.below(3));
  });
}

/** Rows as texts, by column; equal numbers as equal texts. */
export async function readRows(pool: pg.Pool, { sql, columns }: KnownTable): Promise<(string | null)[][]> {
  const texts = columns.map(quote).map(
    (column) => `case when pg_typeof(${column}) = 'numeric'::regtype then trim_scale(${column}::text::numeric)::text
      else ${column}::text end`,
  );
  return (await pool.query<(string | null)[]>({ text: `select ${texts.join(', ')} from ${sql}`, rowMode: 'array' }))
    .rows;
}

function plain(type: string): string {
  return type.replace(/ generated .*$/, '');
}

function quote(name: string): string {
  return pg.escapeIdentifier(name);
}
