// Programs that write at random to tracked tables, and whether the ledger names every row that changed.
import type pg from 'pg';
import type { Database, Queryable } from '../../src/lib/db/database.js';
import { readTables } from '../../src/lib/repository/tables/read-tables.js';
import {
  assertNotRewritten,
  planRewriteCheck,
  repeatRewritten,
} from '../../src/lib/repository/tables/rewritten-tables.js';

/** What tells the rows of a table apart, as the ledger names them, and how its rows are read. */
export interface WatchedTable {
  readonly name: string;
  /** How statements name it to see its own rows alone. */
  readonly from: string;
  /** SQL for the texts of its key or of its place; none where the ledger names the whole table. */
  readonly key: readonly string[];
  readonly axis: string | null;
}

export const WATCHED: readonly WatchedTable[] = [
  { name: 'parent', from: 'parent', key: ['id::text'], axis: null },
  { name: 'child', from: 'child', key: ['id::text'], axis: null },
  { name: 'orphan', from: 'orphan', key: ['id::text'], axis: null },
  { name: 'readings', from: 'readings', key: ['sensor::text', 'time::text'], axis: 'time' },
  { name: 'keyless', from: 'keyless', key: ['time::text'], axis: 'time' },
  { name: 'parted', from: 'parted', key: ['id::text', 'region::text'], axis: null },
  { name: 'elder', from: 'only elder', key: ['id::text'], axis: null },
  { name: 'younger', from: 'younger', key: ['id::text'], axis: null },
  { name: 'bare', from: 'bare', key: [], axis: null },
];

/** With TimescaleDB `readings` is a hypertable, compressed in part, and `shrunk` one that lost a column. */
export const createWatched = (timescaleDb: boolean): string => `
  create table parent (id int primary key, note text);
  create table child (id int primary key, parent_id int references parent on delete cascade on update cascade, note text);
  create table orphan (id int primary key, parent_id int references parent on delete set null);
  create table readings (lost int, time timestamptz not null, sensor int, value int, unique (sensor, time));
  alter table readings alter column sensor set not null ${timescaleDb ? '' : ', drop column lost'};
  ${timescaleDb ? "select create_hypertable('readings', 'time', chunk_time_interval => interval '1 day'); alter table readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor');" : ''}
  create table keyless (time timestamptz not null, value int);
  create table parted (id int, region text, note text, primary key (id, region)) partition by list (region);
  create table parted_a partition of parted for values in ('a', 'b');
  create table parted_c partition of parted for values in ('c');
  create table elder (id int primary key, note text);
  create table younger (extra text, primary key (id)) inherits (elder);
  create table bare (value int)`;

type Random = () => number;

/** A statement of a random program, with small numbers, so that programs often meet. */
export function randomStatement(random: Random): string {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;
  const id = (): number => Math.floor(random() * 12);
  const region = (): string => pick(['a', 'b', 'c']);
  const time = (): string =>
    `'2025-07-01Z'::timestamptz + ${Math.floor(random() * 4)} * interval '1 day' + ${id()} * interval '1 minute'`;
  return pick([
    () => `insert into parent values (${id()}, 'p') on conflict (id) do update set note = parent.note || 'u'`,
    () => `insert into parent select n from generate_series(${id()}, 14) as n on conflict do nothing`,
    () => `insert into child select ${id()}, id from parent order by random() limit 1 on conflict do nothing`,
    () => `insert into orphan select ${id()}, id from parent order by random() limit 1 on conflict do nothing`,
    () => `update parent set id = ${20 + id()} where id = ${id()}`,
    () => `update parent set id = ${id()} where id >= 20`,
    () => `update child set note = note || 'u', id = id + ${pick([0, 0, 12])} where id = ${id()}`,
    () => `delete from parent where id = ${id()}`,
    () => `delete from child where id between ${id()} and ${id()}`,
    () =>
      `insert into readings (time, sensor, value) select ${time()}, n, 1 from generate_series(1, ${id()}) as n on conflict do nothing`,
    () =>
      `insert into readings (time, sensor, value) values (${time()}, ${id()}, 1) on conflict (sensor, time) do update set value = readings.value + 1`,
    () =>
      `insert into readings (time, sensor, value) select '2025-07-02Z'::timestamptz + n * interval '1 second', 99, 1 from generate_series(1, 5500) as n on conflict do nothing`,
    () => `update readings set value = value + 1 where sensor = ${pick([1, 2, 3, 99])}`,
    () => `update readings set time = time + interval '7 seconds' where sensor = ${id()} and time < ${time()}`,
    () => `delete from readings where sensor = ${id()} and time < ${time()}`,
    () => `delete from readings where sensor = 99 and value > ${id()}`,
    () => `insert into keyless values (${time()}, ${id()}), (${time()}, 1)`,
    () => `update keyless set value = value + 1 where time < ${time()}`,
    () => `update keyless set time = time + interval '1 minute' where value = ${id()}`,
    () => `delete from keyless where value = ${id()}`,
    () => `insert into parted values (${id()}, '${region()}') on conflict do nothing`,
    () => `update parted set region = '${region()}' where id = ${id()}`,
    () => `update parted_c set note = coalesce(note, '') || 'u' where id > ${id()}`,
    () => `delete from parted where id = ${id()}`,
    () => `insert into elder values (${id()}, 'e') on conflict do nothing`,
    () => `insert into younger values (${id()}, 'y', 'x') on conflict do nothing`,
    () => `update elder set note = note || 'u' where id = ${id()}`,
    () => `delete from elder where id = ${id()}`,
    () => `insert into bare values (${id()})`,
    () => `delete from bare where value = ${id()}`,
    ...(random() < 0.05 ? [() => 'truncate parent cascade', () => 'truncate keyless', () => 'truncate parted_c'] : []),
  ])();
}

/** Collisions of programs with each other, and with the keys and references of the tables. */
const EXPECTED = new Set(['40001', '40P01', '23505', '23503', '55P03']);

/** A transaction of some statements, some of them rolled back to a savepoint, some altogether. */
export async function runTransactionAtRandom(client: pg.ClientBase, random: Random): Promise<void> {
  const levels = ['read committed', 'repeatable read', 'serializable'];
  const ending = random() < 0.15 ? 'rollback' : 'commit';
  try {
    await client.query(`begin isolation level ${levels[Math.floor(random() * levels.length)]!}`);
    for (let left = 1 + Math.floor(random() * 3); left > 0; left -= 1) {
      const undone = random() < 0.2;
      if (undone) await client.query('savepoint here');
      await client.query(randomStatement(random));
      if (undone) await client.query('rollback to here');
    }
    await client.query(ending);
  } catch (error) {
    await client.query('rollback');
    if (!EXPECTED.has((error as pg.DatabaseError).code ?? '')) throw error;
  }
}

const MOVED_CHUNKS = [
  "select count(compress_chunk(c, if_not_compressed => true)) from show_chunks('readings', older_than => '2025-07-03Z'::timestamptz) as c",
  "select count(decompress_chunk(c, if_compressed => true)) from show_chunks('readings') as c",
];

/** Another program may hold what it wants; a snapshot across it may show an empty table. */
export async function moveChunks(client: pg.ClientBase, random: Random): Promise<void> {
  const statement = MOVED_CHUNKS[Math.floor(random() * MOVED_CHUNKS.length)]!;
  await client.query(`set lock_timeout = '200ms'; ${statement}`).catch(() => undefined);
}

/** Rows and ledger of one snapshot. */
export interface Sample {
  /** By table and key, the rows as text. */
  readonly rows: ReadonlyMap<string, string>;
  readonly places: ReadonlyMap<string, { readonly table: WatchedTable; readonly at: string | null }>;
  readonly entries: readonly SampledEntry[];
}

interface SampledEntry {
  readonly id: number;
  readonly table: string;
  readonly keys: readonly string[][];
  readonly gone: readonly string[][];
  readonly whole: boolean;
  readonly times: readonly (readonly [number, number])[];
}

/** A snapshot across a TRUNCATE, or a chunk that is decompressed, shows an empty table: it is thrown away. */
export async function takeSample(client: pg.PoolClient, database: Database, tables = WATCHED): Promise<Sample> {
  const names = tables.map(({ name }) => name);
  const check = await planRewriteCheck(database, [...(await readTables(database.pool, names)).values()]);
  return await repeatRewritten(client, async () => {
    await client.query("begin isolation level repeatable read; set local timezone = 'UTC'");
    const found = await readRowsOf(client, tables);
    const { rows: entries } = await client.query<SampledEntry>(READ_ENTRIES);
    await assertNotRewritten(client, database, check);
    await client.query('commit');
    return { ...found, entries };
  });
}

const READ_ENTRIES = `
  select entry_id::int as id, table_name as "table", coalesce(keys, '[]') as keys, coalesce(gone, '[]') as gone, whole_table as whole,
    (select coalesce(json_agg(json_build_array(extract(epoch from lower(range)), extract(epoch from upper(range)))), '[]')
      from unnest(times) as range) as times
  from sensorctl.ledger order by entry_id`;

/** The rows of a side by table and key. */
export async function readRowsOf(queryable: Queryable, tables = WATCHED): Promise<Pick<Sample, 'rows' | 'places'>> {
  const rows = new Map<string, string>();
  const places = new Map<string, { table: WatchedTable; at: string | null }>();
  for (const table of tables) {
    const key = table.key.length === 0 ? "''" : `json_build_array(${table.key.join(', ')})::text`;
    const at = table.axis === null ? 'null' : `extract(epoch from min(${table.axis}))::text`;
    const from = table.from.replace(table.name, `public.${table.name}`);
    const found = await queryable.query<{ key: string; content: string; at: string | null }>(
      `select ${key} as key, string_agg(row::text, ';' order by row::text) as content, ${at} as at from ${from} as row group by 1`,
    );
    for (const { key: name, content, at: place } of found.rows) {
      const id = `${table.name} ${normal(name)}`;
      rows.set(id, content);
      places.set(id, { table, at: place });
    }
  }
  return { rows, places };
}

function normal(key: string): string {
  return key === '' ? '' : JSON.stringify(JSON.parse(key));
}

/** What changed from one sample to the next though no entry that came in between names it. */
export function findUncovered(before: Sample, after: Sample): string[] {
  const known = new Set(before.entries.map(({ id }) => id));
  const entries = after.entries.filter(({ id }) => !known.has(id));
  const changed = [...new Set([...before.rows.keys(), ...after.rows.keys()])].filter(
    (id) => before.rows.get(id) !== after.rows.get(id),
  );
  return changed.filter((id) => {
    const place = (after.places.get(id) ?? before.places.get(id))!;
    return !isCovered({ ...after, entries }, id, place);
  });
}

/** Whether an entry of a sample names the row that has changed, or that is no more. */
export function isCovered(
  { entries, rows }: Sample,
  id: string,
  { table, at }: { readonly table: WatchedTable; readonly at: string | null },
): boolean {
  const needsGone = !rows.has(id);
  return entries.some((entry) => entry.table === table.name && covers(entry, id, { at, needsGone }));
}

function covers(
  { table, keys, gone, whole, times }: SampledEntry,
  id: string,
  { at, needsGone }: { at: string | null; needsGone: boolean },
): boolean {
  if (whole) return true;
  const names = (list: readonly string[][]): boolean => list.some((key) => `${table} ${JSON.stringify(key)}` === id);
  if (names(gone)) return true;
  if (needsGone) return false;
  return names(keys) || (at !== null && times.some(([from, to]) => Number(at) >= from && Number(at) < to));
}

/** The rows of every watched table, as texts. */
export async function contentOf(
  { database }: { readonly database: Pick<Database, 'pool'> },
  tables = WATCHED,
): Promise<Record<string, string[]>> {
  const content: Record<string, string[]> = {};
  for (const { name, from } of tables) {
    const { rows } = await database.pool.query<{ item: string }>(
      `select to_jsonb(item)::text as item from ${from.replace(name, `public.${name}`)} as item order by 1`,
    );
    content[name] = rows.map(({ item }) => item);
  }
  return content;
}
