import type { Database } from '../../db/database.js';
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
  /** Rights on sensorctl's own schema; null where it is not there. */
  readonly bookkeeping: SchemaRights | null;
  /** Null where the role may not read it. */
  readonly bookkeepingVersion: number | null;
}

/** A table that both sides have. */
export interface TablePair {
  readonly table: string;
  readonly local: TableCatalog;
  readonly ec2: TableCatalog;
  readonly hypertables: { readonly local: HypertableFacts | undefined; readonly ec2: HypertableFacts | undefined };
  /** The columns that a batch writes by their names. */
  readonly written: readonly string[];
}

/** Reads one side. Looks only at catalogs, and changes nothing. */
export async function readSnapshot(database: Database, tables: readonly string[]): Promise<Snapshot> {
  const { side, pool } = database;
  const poolMax = pool.options.max;
  const defaults = await readSessionDefaults(database);
  return await readOnly(database, async (client) => {
    const bookkeeping = await readSchemaRights(client, 'sensorctl');
    const mayReadVersion = bookkeeping === null || canRead(bookkeeping, 'schema_version');
    const catalogs = await readTableCatalogs(client, tables);
    const found = new Map([...catalogs].map(([name, { table }]) => [name, table]));
    const [server, timescaleDb] = [await readServerCatalog(client), await readTimescaleDbCatalog(client, found)];
    return {
      ...{ side, poolMax, defaults, bookkeeping, server, timescaleDb, tables: catalogs },
      places: {
        schema: server.schemas[0] ?? 'public',
        tables: new Map([...found].map(([name, table]) => [name, table.name.schema])),
        timescaledb: timescaleDb.schema,
      },
      durability: await readDurability(client),
      clock: await readClock(client),
      bookkeepingVersion: mayReadVersion ? await readBookkeepingVersion({ pool: client }) : null,
    };
  });
}

function canRead({ usage, relations }: SchemaRights, relation: string): boolean {
  return usage && relations.get(relation)?.includes('select') === true;
}
