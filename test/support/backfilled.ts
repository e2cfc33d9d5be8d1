// Two prepared databases, and the operation `backfill` on them, called directly.
import type { Socket } from 'node:net';
import type pg from 'pg';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { KEEP_OWN_PATH } from '../../src/lib/db/search-path.js';
import type { Side, WriteMode } from '../../src/lib/domain/side.js';
import { silentLogger, type Logger } from '../../src/lib/logger.js';
import { backfill, planBackfill } from '../../src/lib/operations/backfill/backfill.js';
import type {
  BackfillHooks,
  BackfillPlan,
  BackfillReport,
  BackfillRequest,
} from '../../src/lib/operations/backfill/backfill-report.js';
import { compare, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { poolOf, readContent, sideSettings, type CliSettings } from './cli.js';
import { createTestDatabase, ec2Server, localServer, type TestDatabase } from './servers.js';

const REQUEST: BackfillRequest = {
  ...{ mode: 'differences', from: null, to: null, windowMicros: null, tables: [] },
  ...{ jobs: 2, maxRate: null, prune: false, target: 'ec2', primary: 'local' },
};

export interface PairOptions {
  /** A call is given up after so many ms. */
  readonly callTimeoutMs?: number;
  /** Others than those that have no TimescaleDB. */
  readonly servers?: Readonly<Record<Side, PostgresServer>>;
}

/** Names of prepared databases that others are copied from; they go with their servers. */
let templates: Promise<[string, string]> | undefined;

async function prepareTemplate(side: Side, server: PostgresServer): Promise<string> {
  const { name } = await createTestDatabase(server, `prepared ${side}`);
  const database = openTestSide(side, server, { database: name, callTimeoutMs: 20_000 });
  await prepareSide(database, { addKeys: false });
  await closeDatabase(database);
  return name;
}

/** Two databases as `init` prepares them; `here` and `there` are a test's own ways in. */
export class PreparedPair {
  readonly #sessions: Session[] = [];

  private constructor(
    readonly local: Database,
    readonly ec2: Database,
    readonly here: pg.Pool,
    readonly there: pg.Pool,
    private readonly databases: readonly TestDatabase[],
    /** The settings that lead a command to both. */
    readonly settings: CliSettings,
    private readonly servers: Readonly<Record<Side, PostgresServer>>,
  ) {}

  /** A side as another role opens it; whoever asked closes it. */
  openSide(side: Side, role: { readonly user: string; readonly password: string }): Database {
    const { host, port } = this.servers[side];
    const database = this.databases[side === 'local' ? 0 : 1]?.name ?? '';
    return openTestSide(side, { host, port, ...role }, { database, callTimeoutMs: 20_000 });
  }

  static async open(title: string, options: PairOptions = {}): Promise<PreparedPair> {
    if (options.servers !== undefined) return await PreparedPair.#prepare(title, options.servers, options);
    const servers = { local: await localServer(), ec2: await ec2Server() };
    templates ??= Promise.all([prepareTemplate('local', servers.local), prepareTemplate('ec2', servers.ec2)]);
    const [localTemplate, ec2Template] = await templates;
    const [here, there] = await Promise.all([
      createTestDatabase(servers.local, `${title} local`, localTemplate),
      createTestDatabase(servers.ec2, `${title} ec2`, ec2Template),
    ]);
    return PreparedPair.#of(servers, [here, there], options);
  }

  static async #prepare(
    title: string,
    servers: Readonly<Record<Side, PostgresServer>>,
    options: PairOptions,
  ): Promise<PreparedPair> {
    const [here, there] = await Promise.all([
      createTestDatabase(servers.local, `${title} local`),
      createTestDatabase(servers.ec2, `${title} ec2`),
    ]);
    const pair = PreparedPair.#of(servers, [here, there], options);
    await Promise.all([pair.local, pair.ec2].map((side) => prepareSide(side, { addKeys: false })));
    return pair;
  }

  static #of(
    servers: Readonly<Record<Side, PostgresServer>>,
    [here, there]: readonly [TestDatabase, TestDatabase],
    { callTimeoutMs = 20_000 }: PairOptions,
  ): PreparedPair {
    return new PreparedPair(
      openTestSide('local', servers.local, { database: here.name, callTimeoutMs }),
      openTestSide('ec2', servers.ec2, { database: there.name, callTimeoutMs }),
      poolOf(servers.local, here.name),
      poolOf(servers.ec2, there.name),
      [here, there],
      { ...sideSettings('local', servers.local, here.name), ...sideSettings('ec2', servers.ec2, there.name) },
      servers,
    );
  }

  async backfill(request: Partial<BackfillRequest> = {}, hooks: Partial<BackfillHooks> = {}): Promise<BackfillReport> {
    return await backfillSides({ local: this.local, ec2: this.ec2 }, request, hooks);
  }

  async plan(request: Partial<BackfillRequest> = {}): Promise<BackfillPlan> {
    return await planBackfill({ local: this.local, ec2: this.ec2 }, { ...REQUEST, ...request }, hooksOf({}));
  }

  async compare(request: Partial<CompareRequest> = {}): Promise<CompareReport> {
    const { report } = await compare(
      { primary: this.local, secondary: this.ec2 },
      {
        ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null, settleMs: 0 },
        ...{ jobs: 1, limit: 20, resume: false },
        ...request,
      },
      { stop: new AbortController().signal, onDifference: () => Promise.resolve(), onProgress: () => undefined },
    );
    return report;
  }

  /** The rows of all tables, as texts: what `compare` says is never the only opinion. */
  async contents(): Promise<{ local: Record<string, string[]>; ec2: Record<string, string[]> }> {
    const [local, ec2] = await Promise.all([readContent(this.here), readContent(this.there)]);
    return { local, ec2 };
  }

  async openRepository(mode: WriteMode = 'dual-write'): Promise<DualWriteRepository> {
    return await DualWriteRepository.open({
      declared: GUIDE_TABLES,
      primary: this.local,
      secondary: mode === 'dual-write' ? this.ec2 : null,
      retry: { retries: 1, delayMs: 20 },
      concurrency: 2,
      consumer: { host: 'test', pid: process.pid },
    });
  }

  /** A connection of a test's own, as another process has it; cut at the latest when the pair is closed. */
  async openSession(side: Side): Promise<Session> {
    const client = await this[side].openSession();
    await client.query(KEEP_OWN_PATH);
    const session = {
      client,
      cut: () => (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy(),
    };
    this.#sessions.push(session);
    return session;
  }

  /** Runs the same statements on both sides. */
  async query(sql: string): Promise<void> {
    await Promise.all([this.here, this.there].map((pool) => pool.query(sql)));
  }

  /** Makes EC2 what many installations are: reading tables without a unique key. */
  async dropKeys(pool: pg.Pool = this.there): Promise<void> {
    await pool.query(TABLES_WITH_KEYS.map((table) => `alter table ${table} drop constraint ${table}_key`).join(';'));
  }

  /** The open and the refused entries of the ledger, oldest first. */
  async ledger(): Promise<LedgerRow[]> {
    const { rows } = await this.here.query<LedgerRow>(
      'select table_name as "table", state, sensor_id as "sensorId", reason from sensorctl.ledger order by entry_id',
    );
    return rows;
  }

  /** Enters a range of a table as missed, as a consumer that is gone has left it. */
  async miss(table: string, from: string, to: string): Promise<void> {
    await this.here.query(
      `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state, reason)
       values (gen_random_uuid(), gen_random_uuid(), $1, tstzmultirange(tstzrange($2, $3)), 1, 'missed', 'by the test')`,
      [table, from, to],
    );
  }

  /** Enters rows of a table by their keys, likewise. */
  async missKeys(table: string, keys: readonly string[][]): Promise<void> {
    await this.here.query(
      `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, keys, readings, state, reason)
       values (gen_random_uuid(), gen_random_uuid(), $1, '{}', $2, $3, 'missed', 'by the test')`,
      [table, JSON.stringify(keys), keys.length],
    );
  }

  async close(): Promise<void> {
    for (const { cut } of this.#sessions) cut();
    await Promise.all([closeDatabase(this.local), closeDatabase(this.ec2)]);
    await Promise.all([this.here.end(), this.there.end()]);
    await Promise.all(this.databases.map((database) => database.drop()));
  }
}

export interface Session {
  readonly client: pg.Client;
  /** Ends it as a process that dies does. */
  readonly cut: () => void;
}

export interface LedgerRow {
  readonly table: string;
  readonly state: string;
  readonly sensorId: string | null;
  readonly reason: string | null;
}

const TABLES_WITH_KEYS = ['water_level_readings', 'moisture_readings', 'sensor_readings'];

/** The sensors of `waterRows`, as sensor_registry names them. */
export const WATER_SENSORS = `
  insert into sensor_registry (sensor_id, sensor_type, last_seen, location_lat)
  select 'AWD-' || n, 'water-level', '2025-07-02', 13.5 + n from generate_series(0, 6) as n`;

/** Readings of seven sensors, one every ten seconds and a microsecond from 2025-07-01 on, numbered from..to. */
export function waterRows(from: number, to: number): string {
  return `insert into water_level_readings
      (time, sensor_id, location_lat, location_lng, level_cm, voltage, rssi, temperature, quality_score)
    select timestamptz '2025-07-01T00:00:00Z' + n * interval '10.000001 seconds', 'AWD-' || n % 7, 13.5, null,
      n % 5000 / 10.0 - 3, 3.85, -60 - n % 40, null, 0.7
    from generate_series(${from}, ${to}) as n`;
}

/** A logger that keeps what is logged. */
export function keepingLogger(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const keep = (message: string, fields?: object): void => {
    lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
  };
  return { logger: { debug: keep, info: keep, warn: keep, error: keep }, lines };
}

/** A backfill of two sides that a test opened itself. */
export async function backfillSides(
  sides: Readonly<Record<Side, Database>>,
  request: Partial<BackfillRequest> = {},
  hooks: Partial<BackfillHooks> = {},
): Promise<BackfillReport> {
  return await backfill(sides, { ...REQUEST, ...request }, hooksOf(hooks));
}

function hooksOf(hooks: Partial<BackfillHooks>): BackfillHooks {
  return {
    ...{ stop: new AbortController().signal, logger: silentLogger },
    ...{ onPlan: () => undefined, onProgress: () => undefined },
    ...hooks,
  };
}

/** A side of a test, as a command opens it. */
export function openTestSide(
  side: Side,
  { host, port, user, password }: Pick<PostgresServer, 'host' | 'port' | 'user' | 'password'>,
  { database, callTimeoutMs }: { database: string; callTimeoutMs: number },
): Database {
  return openDatabase({
    side,
    connection: { host, port, user, password, database, sslMode: 'disable', sslRootCert: undefined },
    poolMax: 6,
    callTimeoutMs,
    applicationName: 'sensorctl test',
  });
}
