import type pg from 'pg';
import type { Database } from '../../db/database.js';
import type { TableCatalog } from '../../repository/tables/table-catalog.js';
import { tableSql } from '../../repository/tables/table.js';
import { idOf, type ObjectKind, type SchemaCatalog, type SchemaObject } from '../../repository/schema/schema-object.js';
import type { Snapshot } from './snapshot.js';

/** A check or an index: what a catalog prints of it, and the statement that makes it again on a table. */
interface Definition {
  readonly text: string;
  readonly add: (table: string, text: string) => string;
  readonly read: string;
}

const COPY = 'pg_temp.sensorctl_copy';
const ROUNDS = 3;
const READ_CHECK = `select pg_get_constraintdef(oid) as text from pg_constraint where conrelid = '${COPY}'::regclass and contype = 'c'`;
const READ_INDEX = `select substring(pg_get_indexdef(indexrelid) from ' USING .*') as text from pg_index where indrelid = '${COPY}'::regclass`;

/**
 * Two servers may print what means the same in two ways, and one of them prints it otherwise once it has read its own
 * text. So EC2 is asked what it makes of both: local's definitions that come out as EC2's own are given EC2's words. Asked
 * in a transaction that is rolled back, on an empty copy of the table; where the role may make none, texts are compared.
 */
export async function alignDefinitions(
  ec2: Database,
  snapshots: { readonly local: Snapshot; readonly ec2: Snapshot },
): Promise<Snapshot> {
  const aligned = new Map<string, TableCatalog>();
  for (const [name, here] of snapshots.local.tables) {
    const there = snapshots.ec2.tables.get(name);
    aligned.set(name, there === undefined ? here : await alignTable(ec2, here, there));
  }
  return { ...snapshots.local, tables: aligned };
}

async function alignTable(ec2: Database, here: TableCatalog, there: TableCatalog): Promise<TableCatalog> {
  const [ours, theirs] = [definitionsOf(here), definitionsOf(there)];
  const unknown = (list: readonly Definition[], other: readonly Definition[]): Definition[] =>
    list.filter(({ text }) => !other.some((each) => each.text === text));
  const [lacking, extra] = [unknown(ours, theirs), unknown(theirs, ours)];
  if (lacking.length === 0 || extra.length === 0) return here;
  const words = await findSame(ec2, there, lacking, extra);
  return {
    ...here,
    constraints: here.constraints.map((each) => ({
      ...each,
      definition: words.get(withoutValidity(each.definition)) ?? each.definition,
    })),
    indexes: here.indexes.map((each) => ({ ...each, definition: words.get(each.definition) ?? each.definition })),
  };
}

const VIEWS: ReadonlySet<ObjectKind> = new Set<ObjectKind>(['view', 'materialized view', 'continuous aggregate']);

/** The same for what views say: EC2 makes temporary ones of both texts, and prints them. */
export async function alignViews(
  { pool }: Database,
  { local, ec2 }: { readonly local: SchemaCatalog; readonly ec2: SchemaCatalog },
): Promise<SchemaCatalog> {
  const there = new Map(ec2.objects.map((object) => [idOf(object), object.meaning]));
  const isUnlike = (object: SchemaObject): boolean => {
    const other = there.get(idOf(object));
    return VIEWS.has(object.kind) && other != null && other !== object.meaning;
  };
  if (!local.objects.some(isUnlike)) return local;
  const client = await pool.connect();
  const aligned: SchemaObject[] = [];
  const begun = await client.query('begin read write').then(
    () => true,
    () => false,
  );
  for (const object of local.objects) {
    const other = there.get(idOf(object)) ?? '';
    const isSame = begun && isUnlike(object) && (await printsAlike(client, object.meaning ?? '', other));
    aligned.push(isSame ? { ...object, meaning: other } : object);
  }
  const isOver = await client.query('rollback').then(
    () => true,
    () => false,
  );
  client.release(!isOver);
  return { ...local, objects: aligned };
}

async function printsAlike(client: pg.PoolClient, local: string, ec2: string): Promise<boolean> {
  const [one, other] = [await printView(client, local), await printView(client, ec2)];
  return one !== null && one === other;
}

/** Null where EC2 can make no view of it, or the role may not. */
async function printView(client: pg.PoolClient, text: string): Promise<string | null> {
  await client.query('savepoint again');
  const printed = await client
    .query(`create temporary view sensorctl_again as ${text}`)
    .then(() => client.query<{ text: string }>(`select pg_get_viewdef('pg_temp.sensorctl_again'::regclass) as text`))
    .then(
      ({ rows }) => rows[0]?.text ?? null,
      () => null,
    );
  await client.query('rollback to savepoint again');
  return printed;
}

/** Checks and indexes alone hold expressions. */
function definitionsOf({ constraints, indexes }: TableCatalog): Definition[] {
  return [
    ...constraints
      .filter(({ kind }) => kind === 'check')
      .map(({ definition }) => ({
        text: withoutValidity(definition),
        add: (table: string, text: string) => `alter table ${table} add constraint again ${text}`,
        read: READ_CHECK,
      })),
    ...indexes
      .filter(({ columns }) => columns === null)
      .map(({ definition, unique }) => ({
        text: definition,
        add: (table: string, text: string) => `create ${unique ? 'unique ' : ''}index on ${table} ${text}`,
        read: READ_INDEX,
      })),
  ];
}

/** Local's words → EC2's, of what EC2 reads as the same. */
async function findSame(
  { pool }: Database,
  { table }: TableCatalog,
  local: readonly Definition[],
  ec2: readonly Definition[],
): Promise<ReadonlyMap<string, string>> {
  const client = await pool.connect();
  const same = new Map<string, string>();
  try {
    await client.query('begin read write');
    await client.query(`create temporary table sensorctl_copy (like ${tableSql(table)})`);
    const theirs: { text: string; again: string | null }[] = [];
    for (const each of ec2) theirs.push({ text: each.text, again: await printAgain(client, each) });
    for (const each of local) {
      const again = await printAgain(client, each);
      const found = again === null ? undefined : theirs.find((other) => other.again === again);
      if (found !== undefined) same.set(each.text, found.text);
    }
  } catch {
    // The role may make no copy of it: two texts are all there is.
  }
  const isOver = await client.query('rollback').then(
    () => true,
    () => false,
  );
  client.release(!isOver);
  return same;
}

/** Returns the definition as the server prints it after reading it; null where it cannot be made of these columns. */
async function printAgain(client: pg.PoolClient, { text, add, read }: Definition): Promise<string | null> {
  let printed = text;
  for (let round = 0; round < ROUNDS; round += 1) {
    await client.query('savepoint again');
    const outcome = await client
      .query(add(COPY, printed))
      .then(() => client.query<{ text: string }>(read))
      .then(
        ({ rows }) => rows[0]?.text ?? null,
        () => null,
      );
    await client.query('rollback to savepoint again');
    if (outcome === null || outcome === printed) return outcome;
    printed = outcome;
  }
  return printed;
}

function withoutValidity(definition: string): string {
  return definition.replace(/ NOT VALID$/, '');
}
