import { randomBytes } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import pg from 'pg';

import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { READING_TABLES } from '../../src/lib/domain/reading.js';
import type { Side } from '../../src/lib/domain/side.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { replay } from '../../src/lib/operations/replay.js';
import { Queue } from '../../src/lib/queue/queue.js';
import { keeper, makeTemporaryDirectory, removeTemporaryDirectory } from '../../src/lib/sandbox/keeper.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { startQueue, type QueueServer } from '../../src/lib/sandbox/sandbox-queue.js';
import { findPgBouncer, startPgBouncer, type PgBouncer } from '../support/pgbouncer.js';
import { QueueFront } from '../support/queue-front.js';
import { openTestSide } from '../support/backfilled.js';
import { poolOf, sideSettings, startCli, type CliSettings, type RunningCli } from '../support/cli.js';
import { disposeAtEnd } from '../support/disposal.js';
import { TcpProxy } from '../support/proxy.js';
import { findTimescaleBinDir, startOwnServer, TIMESCALE_SETTINGS, type OwnServerOptions } from '../support/servers.js';

/** Longer than any run: a test ends what it starts. */
const CONSUMER_TIMEOUT_MS = 3_600_000;
const TEMPLATE = 'chaos_template';
/** TimescaleDB's scheduler would sit in the template. */
const NO_JOBS = { 'timescaledb.max_background_workers': '0' };
const NEVER_TO_DEAD_LETTERS = 1000;

/** Servers of one's own, to be stopped, killed and frozen at will. */
export interface Servers {
  readonly local: PostgresServer;
  readonly ec2: PostgresServer;
  readonly queue: QueueServer;
  readonly timescaleDb: boolean;
  /** Holds the data of both sides. */
  readonly directory: string;
  /** Leaves the data where it is, also when this process ends. */
  readonly keepData: () => Promise<void>;
}

/** Starts two servers, each with a prepared database that others are copied from, and a queue. */
export async function startServers({
  durable,
  timescaleDb = false,
}: {
  readonly durable: boolean;
  /** With TimescaleDB, where this machine has it. */
  readonly timescaleDb?: boolean;
}): Promise<Servers> {
  const binDir = timescaleDb ? await findTimescaleBinDir() : undefined;
  const options = {
    durable,
    ...(binDir === undefined ? {} : { binDir, settings: { ...TIMESCALE_SETTINGS, ...NO_JOBS } }),
  };
  const directory = await makeTemporaryDirectory(path.join(tmpdir(), 'sensorctl-chaos-'));
  await chmod(directory, 0o755); // PostgreSQL may run under another account
  const forget = disposeAtEnd(() => removeTemporaryDirectory(directory));
  const [local, ec2, queue] = await Promise.all([
    startSide(directory, 'local', options),
    startSide(directory, 'ec2', options),
    startQueue(),
  ]);
  disposeAtEnd(() => queue.stop());
  const keepData = async (): Promise<void> => {
    forget();
    await keeper.releaseDirectory(directory);
  };
  await Promise.all([prepareTemplate('local', local), prepareTemplate('ec2', ec2)]);
  return { local, ec2, queue, directory, keepData, timescaleDb: binDir !== undefined };
}

async function startSide(directory: string, side: Side, options: OwnServerOptions): Promise<PostgresServer> {
  const dataDir = path.join(directory, side);
  await mkdir(dataDir, { mode: 0o755 });
  return await startOwnServer({ ...options, dataDir });
}

/** Stops the servers; their data stays where somebody may want to look at it. */
export async function stopServers(servers: Servers, keepData = false): Promise<void> {
  const { local, ec2, queue, directory } = servers;
  await Promise.all([local.stop('immediate'), ec2.stop('immediate'), queue.stop()]);
  await Promise.all([local.dispose(), ec2.dispose()]);
  await (keepData ? servers.keepData() : removeTemporaryDirectory(directory));
}

async function prepareTemplate(side: Side, server: PostgresServer): Promise<void> {
  await server.createDatabase(TEMPLATE);
  const { host, port, user, password } = server;
  const place = { host, port, user, password, database: TEMPLATE };
  const database = openDatabase({
    side,
    connection: { ...place, sslMode: 'disable', sslRootCert: undefined },
    poolMax: 1,
    callTimeoutMs: 60_000,
    applicationName: 'chaos',
  });
  await prepareSide(database, { addKeys: false });
  await closeDatabase(database);
}

interface StageOptions {
  readonly seed?: number;
  readonly visibilityTimeoutSeconds?: number;
  /** Over those of the stage. */
  readonly settings?: CliSettings;
  /** PgBouncer in session mode stands before EC2; throws where this machine has none. */
  readonly pooler?: boolean;
}

/** One client more than a session holds up nobody, and a server that is back is found at once. */
const POOLER_SETTINGS = {
  pool_mode: 'session',
  default_pool_size: '80',
  max_client_conn: '500',
  server_login_retry: '1',
  ignore_startup_parameters: 'extra_float_digits',
};

/** Whether the queue takes the token that consumers show. */
interface Token {
  expired: boolean;
}

/** Two prepared databases and a queue of one's own on running servers, and a network in front of each. */
export class ChaosStage {
  readonly #consumers: RunningCli[] = [];

  private constructor(
    readonly servers: Servers,
    /** Straight to each side, past the network. */
    readonly local: pg.Pool,
    readonly ec2: pg.Pool,
    readonly queue: Queue,
    readonly network: { readonly local: TcpProxy; readonly ec2: TcpProxy; readonly queue: TcpProxy },
    readonly settings: CliSettings,
    readonly token: Token,
    private readonly front: QueueFront,
    private pooler: PgBouncer | null,
  ) {}

  static async open(
    servers: Servers,
    { seed = 1, visibilityTimeoutSeconds = 3, settings = {}, pooler = false }: StageOptions = {},
  ) {
    const name = `chaos_${randomBytes(6).toString('hex')}`;
    const { local, ec2, queue } = servers;
    const [queueUrl] = await Promise.all([
      queue.createQueue(name, { visibilityTimeoutSeconds, maxReceiveCount: NEVER_TO_DEAD_LETTERS }),
      local.createDatabase(name, TEMPLATE),
      ec2.createDatabase(name, TEMPLATE),
    ]);
    const token: Token = { expired: false };
    const front = await QueueFront.open({ AWS_ENDPOINT_URL_SQS: queue.endpoint, SQS_QUEUE_URL: queueUrl }, (call) =>
      token.expired ? call.refuse('ExpiredTokenException') : call.forward(),
    );
    const endpoint = new URL(front.settings.AWS_ENDPOINT_URL_SQS ?? '');
    const between = pooler ? await openPooler(ec2) : null;
    const network = {
      local: await TcpProxy.open(local, seed),
      ec2: await TcpProxy.open(between ?? ec2, seed + 1),
      queue: await TcpProxy.open({ host: endpoint.hostname, port: Number(endpoint.port) }, seed + 2),
    };
    const { region, accessKeyId, secretAccessKey } = queue;
    const connection = { queueUrl, region, endpoint: queue.endpoint, credentials: { accessKeyId, secretAccessKey } };
    const behind = `http://${network.queue.host}:${network.queue.port}`;
    return new ChaosStage(
      servers,
      poolOf(local, name),
      poolOf(ec2, name),
      new Queue(connection),
      network,
      {
        ...sideSettings('local', local, name),
        ...sideSettings('ec2', ec2, name),
        TIMESCALE_PORT: String(network.local.port),
        EC2_DB_PORT: String(network.ec2.port),
        TIMESCALE_POOL_MAX: '5',
        EC2_POOL_MAX: '4',
        EC2_WRITE_TIMEOUT: '1000',
        EC2_RETRY_DELAY: '50',
        SQS_QUEUE_URL: queueUrl.replace(queue.endpoint, behind),
        AWS_ENDPOINT_URL_SQS: behind,
        AWS_REGION: region,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        ...settings,
      },
      token,
      front,
      between,
    );
  }

  get timescaleDb(): boolean {
    return this.servers.timescaleDb;
  }

  /** Past the network; the caller closes it. */
  openSide(side: Side): Database {
    const { host, port, user, password } = this.servers[side];
    const database = this.settings[side === 'local' ? 'TIMESCALE_DB' : 'EC2_DB_NAME'] ?? '';
    return openTestSide(side, { host, port, user, password }, { database, callTimeoutMs: 60_000 });
  }

  /** Another program's session, past the network, not yet connected. */
  newSession(applicationName: string, side: Side = 'local'): pg.Client {
    const { host, port, user, password } = this.servers[side];
    const database = this.settings[side === 'local' ? 'TIMESCALE_DB' : 'EC2_DB_NAME'] ?? '';
    return new pg.Client({ host, port, user, password, database, application_name: applicationName });
  }

  get hasPooler(): boolean {
    return this.pooler !== null;
  }

  /** The pooler dies, and is there again after `meanwhile`. */
  async restartPooler(meanwhile: () => Promise<void>): Promise<void> {
    const { port } = this.pooler ?? { port: undefined };
    await this.pooler?.stop();
    await meanwhile();
    this.pooler = await openPooler(this.servers.ec2, port);
  }

  /** Starts `sensorctl consume` with small batches, so that many of them are cut off; `close` kills what still runs. */
  async consume(args: readonly string[] = ['--dual-write'], settings: CliSettings = {}): Promise<RunningCli> {
    return await this.consumeAsIs(
      [...args, '--batch-linger', '50', '--batch-messages', '50', '--pollers', '4'],
      settings,
    );
  }

  /** The same with the batches that an installation has. */
  async consumeAsIs(args: readonly string[], settings: CliSettings = {}): Promise<RunningCli> {
    const options = { settings: { ...this.settings, ...settings }, timeoutMs: CONSUMER_TIMEOUT_MS };
    const consumer = await startCli(['consume', ...args], options);
    this.#consumers.push(consumer);
    return consumer;
  }

  /** The last lines of each consumer's log, for a test that failed. */
  readLogs(lines = 15): string {
    return this.#consumers.map(({ pid, stderr }) => [pid, ...stderr.split('\n').slice(-lines)].join('\n')).join('\n');
  }

  /** Consumes until the queue is empty and every write has settled; returns what `--json` printed. */
  async drain(args: readonly string[] = ['--dual-write'], settings: CliSettings = {}): Promise<Drained> {
    const consumer = await this.consume([...args, '--drain', '--json'], settings);
    const { code, stdout, stderr } = await consumer.wait();
    if (code !== 0) throw new Error(`consume --drain ended with ${String(code)}:\n${stdout}\n${stderr}`);
    return { ...(JSON.parse(stdout) as Omit<Drained, 'stderr'>), stderr };
  }

  /** Past the network. */
  async send(bodies: Iterable<string>, rate = Infinity): Promise<void> {
    await replay({ queue: this.queue, bodies, rate, stop: new AbortController().signal });
  }

  async isQueueEmpty(): Promise<boolean> {
    const { visible, inFlight, delayed } = await this.queue.readState();
    return visible + inFlight + delayed === 0;
  }

  /** Makes EC2 what many installations are: tables of readings without a unique key. */
  async dropKeysOfEc2(): Promise<void> {
    const drops = READING_TABLES.map((table) => `alter table ${table} drop constraint ${table}_key`);
    await this.ec2.query(drops.join(';'));
  }

  /** Lets the leases of dead consumers run out now. */
  async expireLeases(pids: readonly (number | undefined)[]): Promise<void> {
    const sql =
      'update sensorctl.consumer set lease_until = clock_timestamp() where pid = any ($1) and ended_at is null';
    await this.local.query(sql, [pids]);
  }

  async close(): Promise<void> {
    for (const consumer of this.#consumers) consumer.kill('SIGKILL');
    await Promise.all(this.#consumers.map((consumer) => consumer.wait()));
    this.queue.close();
    for (const proxy of Object.values(this.network)) proxy.close();
    this.front.close();
    await this.pooler?.stop();
    await Promise.all([this.local.end(), this.ec2.end()]);
  }
}

async function openPooler(server: PostgresServer, port?: number): Promise<PgBouncer> {
  const program = await findPgBouncer();
  if (program === undefined) throw new Error('a pooler was asked for, and no pgbouncer is installed');
  return await startPgBouncer(program, server, POOLER_SETTINGS, port);
}

/** What `consume --drain --json` prints, as far as these tests ask. */
export interface Drained {
  readonly accepted: number;
  readonly refused: number;
  readonly quarantined: number;
  readonly confirmed: number;
  readonly missed: number;
  readonly refusedBySecondary: number;
  readonly gaps: readonly { readonly table: string; readonly from: string; readonly to: string }[];
  readonly stderr: string;
}
