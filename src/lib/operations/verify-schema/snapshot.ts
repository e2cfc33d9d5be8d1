import type pg from 'pg';
import type { Database, Queryable } from '../../db/database.js';
import { readSchemaRights, type SchemaRights } from '../../db/schema-rights.js';
import {
  readClock,
  readServerCatalog,
  readSessionDefaults,
  type ClockLook,
  type ServerCatalog,
  type SessionDefaults,
} from '../../repository/tables/server-catalog.js';
import { readDurability, type Durability } from '../../repository/tables/durability.js';
import { readTableCatalogs, type TableCatalog } from '../../repository/tables/table-catalog.js';
import {
  readTimescaleDbCatalog,
  type HypertableFacts,
  type TimescaleDbCatalog,
} from '../../repository/timescaledb/timescaledb-catalog.js';
import { readMayReplicate } from '../../repository/tables/server-facts.js';
import type { Table } from '../../repository/tables/table.js';
import { readTracked } from '../../repository/tables/written-tables.js';
import { readOnly } from '../../db/read-only.js';
import type { Side } from '../../domain/side.js';
import { readBookkeepingVersion } from '../../repository/ledger/bookkeeping-schema.js';
import type { Places } from './names.js';

/** Everything that the catalogs of one side say, read in one read-only transaction. */
export interface Snapshot {
  readonly side: Side;
  /** The schemas by which its statements name things. */
  readonly places: Places;
  readonly server: ServerCatalog;
  readonly defaults: SessionDefaults;
  readonly durability: Durability;
  readonly clock: ClockLook;
  readonly poolMax: number;
  readonly timescaleDb: TimescaleDbCatalog;
  readonly tables: ReadonlyMap<string, TableCatalog>;
  /** What the triggers of tracked tables do while the side is the secondary. */
  readonly triggers: ReadonlyMap<string, TriggersOfSecondary>;
  /** Rights on sensorctl's own schema; null where it is not there. */
  readonly bookkeeping: SchemaRights | null;
  /** Null where the role may not read it. */
  readonly bookkeepingVersion: number | null;
}

/** Whether they fire for what sensorctl writes. */
export type TriggersOfSecondary = 'silent' | 'firing';

/** A table that both sides have. */
export interface TablePair {
  readonly table: string;
  readonly local: TableCatalog;
  readonly ec2: TableCatalog;
  readonly hypertables: { readonly local: HypertableFacts | undefined; readonly ec2: HypertableFacts | undefined };
  /** The columns that a batch writes by their names. */
  readonly written: readonly string[];
  /** Null for a table that is not tracked, or has none. */
  readonly triggersOnEc2: TriggersOfSecondary | null;
}

/** How findings name a table, and the names under which it may be found, the best first. */
export type WantedTables = ReadonlyMap<string, readonly string[]>;

/** Reads one side. Looks only at catalogs, and changes nothing. */
export async function readSnapshot(database: Database, wanted: WantedTables): Promise<Snapshot> {
  const { side, pool } = database;
  const [defaults, read] = await Promise.all([
    readSessionDefaults(database),
    readOnly(database, async (client) => await readInSession(client, wanted)),
  ]);
  return { side, poolMax: pool.options.max, defaults, ...read };
}

async function readInSession(
  client: pg.PoolClient,
  wanted: WantedTables,
): Promise<Omit<Snapshot, 'side' | 'poolMax' | 'defaults'>> {
  const [bookkeeping, catalogs, server, durability] = await Promise.all([
    readSchemaRights(client, 'sensorctl'),
    readWanted(client, wanted),
    readServerCatalog(client),
    readDurability(client),
  ]);
  const found = new Map([...catalogs].map(([name, { table }]) => [name, table]));
  const [timescaleDb, triggers, bookkeepingVersion] = await Promise.all([
    readTimescaleDbCatalog(client, found),
    readTriggers(client, [...found.values()], bookkeeping),
    readVersion(client, bookkeeping),
  ]);
  const places = {
    schema: server.schemas[0] ?? 'public',
    tables: new Map([...found].map(([name, table]) => [name, table.name])),
    timescaledb: timescaleDb.schema,
  };
  const catalog = { bookkeeping, bookkeepingVersion, server, timescaleDb, tables: catalogs, triggers, places };
  return { ...catalog, durability, clock: await readClock(client) };
}

async function readVersion(client: Queryable, bookkeeping: SchemaRights | null): Promise<number | null> {
  const mayRead = bookkeeping === null || canRead(bookkeeping, 'schema_version');
  return mayRead ? await readBookkeepingVersion({ pool: client }) : null;
}

/** A name that finds the same table as a better one would have it read twice: each is tried where the ones before failed. */
async function readWanted(client: Queryable, wanted: WantedTables): Promise<ReadonlyMap<string, TableCatalog>> {
  const usable = await readUsableSchemas(client);
  const found = new Map<string, TableCatalog>();
  const most = Math.max(0, ...[...wanted.values()].map((names) => names.length));
  for (let turn = 0; turn < most; turn += 1) {
    const open = [...wanted].flatMap(([label, names]) => {
      const name = names[turn];
      return name === undefined || found.has(label) ? [] : [{ label, name }];
    });
    const catalogs = await readTableCatalogs(client, [...new Set(open.map(({ name }) => name))]);
    for (const { label, name } of open) {
      const catalog = catalogs.get(name);
      if (catalog !== undefined && usable.has(catalog.table.name.schema)) found.set(label, catalog);
    }
  }
  return new Map([...wanted.keys()].flatMap((label) => orNone(label, found.get(label))));
}

/** Of tracked tables with triggers. */
async function readTriggers(
  client: Queryable,
  tables: readonly Table[],
  bookkeeping: SchemaRights | null,
): Promise<ReadonlyMap<string, TriggersOfSecondary>> {
  const withTriggers = tables.filter(({ hasTriggers }) => hasTriggers);
  if (withTriggers.length === 0 || bookkeeping === null || !canRead(bookkeeping, 'tracked_table')) return new Map();
  const tracked = await readTracked(client);
  const labels = withTriggers.map(({ label }) => label).filter((label) => tracked.has(label));
  if (labels.length === 0) return new Map();
  const effect = (await readMayReplicate(client)) ? 'silent' : 'firing';
  return new Map(labels.map((label) => [label, effect]));
}

/** A table of any other schema is as good as not there. */
async function readUsableSchemas(client: Queryable): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>(
    `select nspname as name from pg_namespace where has_schema_privilege(oid, 'usage')`,
  );
  return new Set(rows.map(({ name }) => name));
}

function orNone(label: string, catalog: TableCatalog | undefined): [string, TableCatalog][] {
  return catalog === undefined ? [] : [[label, catalog]];
}

function canRead({ usage, relations }: SchemaRights, relation: string): boolean {
  return usage && relations.get(relation)?.includes('select') === true;
}
