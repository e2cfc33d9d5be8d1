import type { Database, Queryable } from '../../db/database.js';
import { EVERY_TABLE, type TableSelection } from '../../domain/table-patterns.js';
import { readTables } from './read-tables.js';
import { KNOWN_AXES } from './reading-tables.js';
import { readMayReplicate, readOwnSchema } from './server-facts.js';
import { withExcepted } from './select-tables.js';
import { tableSql, type Table } from './table.js';

/** What the catalogs of a side say of the tables that rows are for. */
export class SideTables {
  /** By the names that were asked for, and by those that the ledger has. */
  readonly #byName: ReadonlyMap<string, Table>;

  constructor(
    /** By the names that were asked for. */
    readonly asked: ReadonlyMap<string, Table>,
    private readonly ownSchema: string,
    private readonly tracked: ReadonlySet<string>,
    private readonly mayReplicate: boolean,
  ) {
    this.#byName = new Map([...[...asked.values()].map((table) => [table.label, table] as const), ...asked]);
  }

  /** Other programs may delete its rows on the primary, and a repair takes them off the secondary. */
  isTracked(name: string): boolean {
    return this.tracked.has(name);
  }

  /** The operator's triggers fired for its rows on the primary, and what they wrote is brought like other rows: not here. */
  isSilent(name: string): boolean {
    return this.mayReplicate && this.isTracked(name) && this.get(name)?.hasTriggers === true;
  }

  /** Other programs write what its foreign keys refer to, and a repair brings that: a row may come before its parent. */
  hasTrackedParent(name: string): boolean {
    const parents = this.get(name)?.parents ?? [];
    return parents.some(({ table }) => this.isTracked(table.name) || this.isTracked(`${table.schema}.${table.name}`));
  }

  get(name: string): Table | undefined {
    return this.#byName.get(name);
  }

  /** The table in a statement; one that is not there is looked for where a new one would be, and the server says so. */
  sql(name: string): string {
    return tableSql(this.get(name) ?? { name: { schema: this.ownSchema, name } });
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

/** Names of tables come from messages: more of them than any decoder means are asked for anew each time. */
const MOST_NAMES = 1_000;
/** What was not there may have been made since. */
const ABSENT_FOR_MS = 5_000;

/** Keeps what the catalogs of a side last said of the tables that rows are for. */
export class WrittenTables {
  #names = new Set<string>();
  #reading: Promise<SideTables> | null = null;
  #readAt = 0;

  /** `always` are read with any others; `selection` says which columns each side keeps for itself. */
  constructor(
    private readonly database: Database,
    private readonly always: readonly string[],
    private readonly selection: TableSelection = EVERY_TABLE,
  ) {}

  /** The tables of these names among others; those that do not exist are absent. */
  async read(names: Iterable<string> = []): Promise<SideTables> {
    const missing = [...names].filter((name) => !this.#names.has(name) && !this.always.includes(name));
    if (missing.length > 0) {
      if (this.#names.size + missing.length > MOST_NAMES) this.#names = new Set();
      for (const name of missing) this.#names.add(name);
      this.forget();
    }
    this.#reading ??= this.#readOnce([...this.always, ...this.#names]);
    return await this.#reading;
  }

  /** After an error that a changed table can explain, and now and then: the next batch has the catalogs read again. */
  forget(): void {
    this.#reading = null;
  }

  /** The same after something was not as rows want it, where the catalogs were not read a moment ago; false where they were. */
  forgetOld(): boolean {
    if (performance.now() - this.#readAt < ABSENT_FOR_MS) return false;
    this.forget();
    return true;
  }

  async #readOnce(names: readonly string[]): Promise<SideTables> {
    try {
      this.#readAt = performance.now();
      const { pool } = this.database;
      const [tables, ownSchema, tracked] = await Promise.all([
        readTables(pool, names, KNOWN_AXES),
        readOwnSchema(pool),
        readTracked(pool),
      ]);
      const excepted = [...tables].map(([name, table]) => [name, withExcepted(table, this.selection)] as const);
      const asksFor = [...tables.values()].some(({ label, hasTriggers }) => hasTriggers && tracked.has(label));
      const mayReplicate = asksFor && (await readMayReplicate(pool));
      return new SideTables(new Map(excepted), ownSchema, tracked, mayReplicate);
    } catch (error) {
      this.forget();
      throw error;
    }
  }
}
