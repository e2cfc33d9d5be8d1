// A database with TimescaleDB and sensorctl's bookkeeping, for tests of what sensorctl does with TimescaleDB itself.
import type pg from 'pg';
import type { ConnectionSettings } from '../../src/lib/db/connection.js';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { migrateBookkeeping } from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { poolOf, skipSuite } from './cli.js';
import { createTestDatabase, timescaleServer, type TestDatabase } from './servers.js';

export class TimescaleStage {
  private constructor(
    readonly target: Database,
    readonly pool: pg.Pool,
    readonly server: PostgresServer,
    private readonly database: TestDatabase,
  ) {}

  /** Skips the suite of a `before` hook, with the reason, where this machine has no TimescaleDB. */
  static async open(hook: Mocha.Context, title: string): Promise<TimescaleStage> {
    const found = await timescaleServer('ec2');
    if ('missing' in found) return skipSuite(hook, found.missing);
    return await TimescaleStage.prepare(found.server, title, 'create extension timescaledb');
  }

  static async prepare(server: PostgresServer, title: string, sql: string): Promise<TimescaleStage> {
    const database = await createTestDatabase(server, title);
    const pool = poolOf(server, database.name);
    await pool.query(sql);
    const stage = new TimescaleStage(openTarget(connectionTo(server, database.name)), pool, server, database);
    await migrateBookkeeping(stage.target);
    return stage;
  }

  get connection(): ConnectionSettings {
    return this.target.connection;
  }

  /** What one column of a query says, as text. */
  async read(sql: string, values: unknown[] = []): Promise<string[]> {
    const { rows } = await this.pool.query<string[]>({ text: sql, values, rowMode: 'array' });
    return rows.map((row) => String(row[0]));
  }

  async close(): Promise<void> {
    await closeDatabase(this.target);
    await this.pool.end();
    await this.database.drop();
  }
}

export function openTarget(connection: ConnectionSettings): Database {
  return openDatabase({ side: 'ec2', connection, poolMax: 4, callTimeoutMs: 15_000, applicationName: 'test' });
}

function connectionTo({ host, port, user, password }: PostgresServer, database: string): ConnectionSettings {
  return { host, port, user, password, database, sslMode: 'disable', sslRootCert: undefined };
}
