// A side whose tables are tracked, and what its ledger says of other writers.
import pg from 'pg';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { Side } from '../../src/lib/domain/side.js';
import { trackSides, type TrackedTable } from '../../src/lib/operations/track.js';
import { DualWriteRepository, type DualWriteOptions } from '../../src/lib/repository/dual-write-repository.js';
import { migrateBookkeeping } from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { createTestDatabase, type TestDatabase } from './servers.js';

/** What an entry of another writer names. */
export interface WriterEntry {
  readonly table: string;
  readonly keys: string[][] | null;
  readonly gone: string[][] | null;
  readonly whole: boolean;
  /** As text; empty where it names no times. */
  readonly times: string;
}

const READ_ENTRIES = `
  select entry_id::int as id, table_name as "table", keys, gone, whole_table as whole, times::text as times
  from sensorctl.ledger where batch_id is null order by entry_id`;

export class TrackedSide {
  private constructor(
    readonly database: Database,
    readonly pool: pg.Pool,
    private readonly created: TestDatabase,
  ) {}

  static async open(
    server: PostgresServer,
    title: string,
    { side = 'local', sql = '' }: { readonly side?: Side; readonly sql?: string } = {},
  ): Promise<TrackedSide> {
    const created = await createTestDatabase(server, title);
    const { host, port, user, password } = server;
    const connection = { host, port, user, password, database: created.name } as const;
    const pool = new pg.Pool({ ...connection, max: 8, application_name: 'another program' });
    pool.on('error', () => undefined);
    if (sql !== '') await pool.query(sql);
    const database = openDatabase({
      ...{ side, poolMax: 4, callTimeoutMs: 20_000, applicationName: 'test' },
      connection: { ...connection, sslMode: 'disable', sslRootCert: undefined },
    });
    await migrateBookkeeping(database);
    return new TrackedSide(database, pool, created);
  }

  /** Runs statements as another program. */
  async run(sql: string): Promise<void> {
    await this.pool.query(sql);
  }

  async track(...tables: string[]): Promise<readonly TrackedTable[]> {
    const [side] = await trackSides([this.database], { tables, dryRun: false });
    return side!.tables;
  }

  async entries(queryable: Pick<pg.Pool, 'query'> = this.pool): Promise<(WriterEntry & { id: number })[]> {
    const { rows } = await queryable.query<WriterEntry & { id: number }>(READ_ENTRIES);
    return rows;
  }

  /** What these statements have entered, as one text an entry: `table +keys -gone` or `table whole` or `table times`. */
  async entered(...statements: string[]): Promise<string[]> {
    const before = new Set((await this.entries()).map(({ id }) => id));
    for (const statement of statements) await this.run(statement);
    return (await this.entries()).filter(({ id }) => !before.has(id)).map(describeEntry);
  }

  async close(): Promise<void> {
    await closeDatabase(this.database);
    await this.pool.end();
    await this.created.drop();
  }
}

/** A repository beside other writers, that tries each batch once. */
export async function openRepository(
  sides: { readonly primary: Database; readonly secondary: Database },
  options: Partial<DualWriteOptions> = {},
): Promise<DualWriteRepository> {
  return await DualWriteRepository.open({
    ...{ ...sides, retry: { retries: 0, delayMs: 1 }, concurrency: 2, consumer: { host: 'test', pid: 1 } },
    ...options,
  });
}

function describeEntry({ table, keys, gone, whole, times }: WriterEntry): string {
  const list = (sign: string, given: string[][] | null): string[] =>
    given === null
      ? []
      : [
          sign +
            given
              .map((key) => key.join('/'))
              .sort()
              .join(','),
        ];
  return [
    table,
    ...list('+', keys),
    ...list('-', gone),
    ...(whole ? ['whole'] : []),
    ...(times === '{}' ? [] : ['times']),
  ].join(' ');
}
