import type { Table } from '../../repository/tables/table.js';
import { namingSide, type Database, type Queryable } from '../../db/database.js';
import { readDistinctKeys, readRowsByKey } from '../../repository/tables/foreign-keys.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { readOnly } from '../../db/read-only.js';
import { readTableCatalogs, type ConstraintFacts, type TableCatalog } from '../../repository/tables/table-catalog.js';
import { counted } from '../../domain/words.js';
import { chunksOf } from '../../domain/chunks.js';
import { blocks, STEP, warns, type Diagnosis } from './finding.js';
import type { Snapshot } from './snapshot.js';
import { tableSql } from './names.js';

/** A foreign key that EC2 has, and the rows that EC2 lacks for local's rows to refer to. */
export interface MissingParents {
  readonly table: string;
  readonly constraint: string;
  readonly parent: string;
  readonly columns: readonly string[];
  /** Null where the role may not read what has to be looked at. */
  readonly rows: readonly (readonly (string | null)[])[] | null;
}

interface Sides<Each> {
  readonly local: Each;
  readonly ec2: Each;
}

type ForeignKey = ConstraintFacts & { readonly table: string; readonly parent: string };

const ROWS_A_STATEMENT = 500;
/** Statements longer than this stand in the script alone. */
const ROWS_SHOWN = 3;

/** Looks, for each foreign key that EC2 has, what it refers to there; reads the tables, local first. */
export async function readMissingParents(
  databases: Sides<Database>,
  snapshots: Sides<Snapshot>,
  tables: readonly string[],
): Promise<MissingParents[]> {
  const found: MissingParents[] = [];
  for (const foreignKey of foreignKeysOf(snapshots, tables)) {
    const missing = await readMissing(databases, snapshots, foreignKey);
    if (missing.rows === null || missing.rows.length > 0) found.push(missing);
  }
  return found;
}

/** Returns missing parents as findings; a parent is filled once, however many tables refer to it. */
export function diagnoseMissingParents(missing: readonly MissingParents[]): Diagnosis[] {
  return missing.map(({ table, constraint, parent, columns, rows }) => {
    const subject = `rows of ${parent} for ${constraint}`;
    if (rows === null) {
      const reason = `the role may not read ${table} or ${parent} on one side: a missing row refuses the readings that refer to it`;
      return warns({ table, subject, local: 'not readable', ec2: 'not readable', reason });
    }
    const about = { table, subject, local: 'exist', ec2: `lacks ${rows.length}` };
    const reason = 'EC2 refuses the readings that refer to them, those that a backfill copies above all';
    const sql = insertSql(parent, columns, rows);
    const count = `insert the ${counted(rows.length, 'row')}: sensorctl verify-schema --sql holds the statements`;
    const command = rows.length > ROWS_SHOWN ? { command: count } : {};
    return blocks({ ...about, reason }, { step: STEP.parents, sql, changes: parent, ...command });
  });
}

function foreignKeysOf({ local, ec2 }: Sides<Snapshot>, tables: readonly string[]): ForeignKey[] {
  return tables.flatMap(
    (table) =>
      ec2.tables
        .get(table)
        ?.constraints.flatMap((each) =>
          each.parent === null || !local.tables.has(table) ? [] : [{ ...each, table, parent: each.parent }],
        ) ?? [],
  );
}

/** One look after the other: no transaction waits for the other side. */
async function readMissing(
  { local, ec2 }: Sides<Database>,
  snapshots: Sides<Snapshot>,
  { table, name: constraint, parent, columns, parentColumns }: ForeignKey,
): Promise<MissingParents> {
  const about = { table, constraint, parent };
  const [source, target] = await Promise.all([readCatalog(local, parent), readCatalog(ec2, parent)]);
  if (![source, snapshots.local.tables.get(table), target].every(isReadable)) {
    return { ...about, columns: [], rows: null };
  }
  const child = snapshots.local.tables.get(table);
  const wanted = [
    ...(child === undefined ? [] : await readKeys(local, child.table, columns)),
    ...(source === undefined ? [] : await readKeys(local, source.table, parentColumns)),
  ];
  const held = target === undefined ? new Set() : await readKeys(ec2, target.table, parentColumns);
  const keys = [...new Set(wanted)].filter((key) => !held.has(key)).sort();
  if (keys.length === 0) return { ...about, columns: [], rows: [] };
  const shared = source === undefined ? parentColumns : sharedColumns(source, target ?? source);
  const options = { key: parentColumns, keys, columns: shared };
  const rows = source === undefined ? [] : await look(local, (client) => readRowsByKey(client, source.table, options));
  return { ...about, columns: shared, rows: [...rows, ...bareRows(keys, rows, options)] };
}

async function readCatalog(database: Database, table: string): Promise<TableCatalog | undefined> {
  return (await look(database, (client) => readTableCatalogs(client, [table]))).get(table);
}

async function readKeys(database: Database, table: Table, columns: readonly string[]): Promise<ReadonlySet<string>> {
  return await look(database, (client) => readDistinctKeys(client, table, columns));
}

async function look<Result>(database: Database, work: (client: Queryable) => Promise<Result>): Promise<Result> {
  return await namingSide(database, () => readOnly(database, work));
}

/** A table that is not there cannot hide anything. */
function isReadable(table: TableCatalog | undefined): boolean {
  return table === undefined || table.rights.includes('select');
}

/** Those that local itself lacks in the parent table, where no foreign key holds: the key alone. */
function bareRows(
  missing: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  { key, columns }: { key: readonly string[]; columns: readonly string[] },
): (string | null)[][] {
  const places = key.map((column) => columns.indexOf(column));
  const found = new Set(rows.map((row) => JSON.stringify(places.map((place) => row[place]))));
  return missing
    .map((text) => JSON.parse(text) as string[])
    .filter((values) => !found.has(JSON.stringify(values)))
    .map((values) => columns.map((column) => values[key.indexOf(column)] ?? null));
}

function sharedColumns(source: TableCatalog, target: TableCatalog): string[] {
  const writable = target.columns.filter(({ generated, identity }) => generated === null && identity !== 'always');
  const names = new Set(writable.map(({ name }) => name));
  return source.columns.map(({ name }) => name).filter((name) => names.has(name));
}

function insertSql(table: string, columns: readonly string[], rows: readonly (readonly (string | null)[])[]): string {
  const names = columns.map(quoteIdentifier).join(', ');
  const literal = (value: string | null): string => (value === null ? 'null' : quoteLiteral(value));
  return chunksOf(rows, ROWS_A_STATEMENT)
    .map((chunk) => chunk.map((row) => `  (${row.map(literal).join(', ')})`).join(',\n'))
    .map((values) => `insert into ${tableSql(table)} (${names}) values\n${values}\non conflict do nothing;`)
    .join('\n');
}
