import { createHash } from 'node:crypto';
import type { Database, Queryable } from '../../db/database.js';
import { readTables } from './read-tables.js';
import { ALL_TABLES, KNOWN_AXES } from './reading-tables.js';
import { readOwnSchema } from './server-facts.js';
import { tableSql, type Table } from './table.js';

/** The tables that a batch writes, on one side. */
export class SideTables {
  constructor(
    private readonly tables: ReadonlyMap<string, Table>,
    private readonly ownSchema: string,
    private readonly tracked: ReadonlySet<string>,
  ) {}

  /** Other programs may delete its rows on the primary, and a repair takes them off the secondary. */
  isTracked(name: string): boolean {
    return this.tracked.has(name);
  }

  get(name: string): Table | undefined {
    return this.tables.get(name);
  }

  get isComplete(): boolean {
    return ALL_TABLES.every((name) => this.tables.has(name));
  }

  /** The table in a statement; one that is not there is looked for where a new one would be, and the server says so. */
  sql(name: string): string {
    return tableSql(this.tables.get(name) ?? { name: { schema: this.ownSchema, name } });
  }

  /** Tells statements apart that name these tables, in 16 characters. */
  id(names: readonly string[]): string {
    const tables = names.map((name) => `${this.sql(name)} ${this.tables.get(name)?.oid ?? 0}`);
    return createHash('sha256').update(tables.join()).digest('base64url').slice(0, 16);
  }
}

const FIND_TRACKED = `
  select exists (
    select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = 'sensorctl' and relname = 'tracked_table'
  ) as exists`;

/** The names of the tables that are tracked on this side; none where its bookkeeping is older. */
export async function readTracked(pool: Queryable): Promise<ReadonlySet<string>> {
  const { rows } = await pool.query<{ exists: boolean }>(FIND_TRACKED);
  if (rows[0]?.exists !== true) return new Set();
  const tracked = await pool.query<{ name: string }>('select table_name as name from sensorctl.tracked_table');
  return new Set(tracked.rows.map(({ name }) => name));
}

/** Keeps what the catalogs of a side last said of the tables that a batch writes. */
export class WrittenTables {
  #reading: Promise<SideTables> | null = null;

  constructor(private readonly database: Database) {}

  async read(): Promise<SideTables> {
    this.#reading ??= this.#readOnce();
    return await this.#reading;
  }

  /** After an error that a changed table can explain, and now and then: the next batch has the catalogs read again. */
  forget(): void {
    this.#reading = null;
  }

  async #readOnce(): Promise<SideTables> {
    try {
      const { pool } = this.database;
      const [tables, ownSchema, tracked] = await Promise.all([
        readTables(pool, ALL_TABLES, KNOWN_AXES),
        readOwnSchema(pool),
        readTracked(pool),
      ]);
      const found = new SideTables(tables, ownSchema, tracked);
      if (!found.isComplete) this.forget();
      return found;
    } catch (error) {
      this.forget();
      throw error;
    }
  }
}
