// The real program, and what it works on: `bin/run.js` as a child process, two databases and a queue.
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import type { ConnectionSettings } from '../../src/lib/db/connection.js';
import type { Side, WriteMode } from '../../src/lib/domain/side.js';
import { replay } from '../../src/lib/operations/replay.js';
import { Queue } from '../../src/lib/queue/queue.js';
import type * as Library from '../../src/lib/repository/index.js';
import type { DualWriteOptions, DualWriteRepository } from '../../src/lib/repository/index.js';
import { keeper, makeTemporaryDirectory, removeTemporaryDirectory } from '../../src/lib/sandbox/keeper.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { disposeAtEnd } from './disposal.js';
import {
  createTestDatabase,
  ec2Server,
  localServer,
  queueServer,
  timescaleServer,
  type TestDatabase,
} from './servers.js';

export const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const PROGRAM = path.join(REPOSITORY, 'bin', 'run.js');
const TIMEOUT_MS = 45_000;
/** Soon at first; a condition that takes seconds is not worth the processor that looking for it fifty times a second takes. */
const POLL_MS = 20;
const POLL_LONGEST_MS = 100;
const POLL_GROWTH = 1.2;

/** Settings by variable; undefined takes one away. */
export type CliSettings = Readonly<Record<string, string | undefined>>;

export interface CliOptions {
  /** The whole environment, but for PATH and a HOME that is empty. */
  readonly settings?: CliSettings;
  /** Files in the directory in which the command runs, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** After this long, in ms, the command is killed and `wait` rejects. */
  readonly timeoutMs?: number;
  /** Program and first arguments, instead of sensorctl itself; it runs in the repository. */
  readonly program?: readonly [string, ...string[]];
}

export interface CliResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when a signal ended the command. */
  readonly code: number | null;
}

/** Runs `sensorctl` with these arguments in an empty temporary directory, to its end. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return await (await startCli(args, options)).wait();
}

/** Starts `sensorctl` likewise; the caller ends it, or waits for its end. */
export async function startCli(args: readonly string[], options: CliOptions = {}): Promise<RunningCli> {
  const directory = await makeTemporaryDirectory(path.join(tmpdir(), 'sensorctl-cli-'));
  for (const [name, text] of Object.entries(options.files ?? {}))
    await writeFile(path.join(directory, name), text, { mode: 0o600 });
  const [program, ...first] = options.program ?? [process.execPath, PROGRAM];
  const child = spawn(program, [...first, ...args], {
    cwd: options.program === undefined ? directory : REPOSITORY,
    env: { PATH: process.env.PATH, HOME: directory, AWS_EC2_METADATA_DISABLED: 'true', ...options.settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running = new RunningCli(child, directory, options.timeoutMs ?? TIMEOUT_MS);
  if (child.pid !== undefined) await keeper.watchProcess(child.pid);
  return running;
}

/** A command that runs, and what it has printed so far. */
export class RunningCli {
  stdout = '';
  stderr = '';
  readonly #ended: Promise<unknown>;
  #timedOut = false;

  constructor(
    private readonly child: ChildProcessByStdio<null, Readable, Readable>,
    directory: string,
    timeoutMs: number,
  ) {
    const forget = disposeAtEnd(async () => {
      child.kill('SIGKILL');
      await this.#ended;
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    const timer = setTimeout(() => {
      this.#timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    this.#ended = once(child, 'close').finally(async () => {
      clearTimeout(timer);
      if (child.pid !== undefined) await keeper.releaseProcess(child.pid);
      await removeTemporaryDirectory(directory);
      forget();
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async wait(): Promise<CliResult> {
    await this.#ended;
    if (this.#timedOut) throw new Error(`the command did not end in time; it wrote:\n${this.stdout}\n${this.stderr}`);
    return { stdout: this.stdout, stderr: this.stderr, code: this.child.exitCode };
  }

  /** Resolves once stderr holds the text `times` times; rejects when the command ends before. */
  async printed(text: string, times = 1): Promise<void> {
    while (this.stderr.split(text).length <= times) {
      if (this.hasEnded) {
        throw new Error(`the command ended before it printed "${text}" ${times} times:\n${this.stderr}`);
      }
      await new Promise((resolve) => {
        this.child.stderr.once('data', resolve);
        this.child.once('exit', resolve);
      });
    }
  }
}

/** Resolves once `check` holds; rejects with `what` when it does not within the time. */
export async function eventually(what: string, check: () => Promise<boolean>, withinMs = 20_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (let pauseMs = POLL_MS; !(await check()); pauseMs = Math.min(pauseMs * POLL_GROWTH, POLL_LONGEST_MS)) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await delay(pauseMs);
  }
}

/** Names of all four tables. */
export const TABLES = ['sensor_registry', 'water_level_readings', 'moisture_readings', 'sensor_readings'] as const;

const ROW_TEXT: Readonly<Record<string, string>> = {
  sensor_registry: `row(sensor_id, sensor_type, manufacturer, model, installation_date, last_seen, location_lat, location_lng,
    metadata, is_active)`,
};

/** The rows of each table as ordered text, without what a side keeps for itself (`created_at`, `updated_at`). */
export async function readContent(pool: pg.Pool): Promise<Record<string, string[]>> {
  const entries = TABLES.map(async (table) => {
    const { rows } = await pool.query<{ content: string }>(
      `select (${ROW_TEXT[table] ?? 'stored'})::text as content from ${table} as stored`,
    );
    return [table, rows.map((row) => row.content).sort()] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** A pool of a test's own on a database, whose sessions speak UTC. */
export function poolOf({ host, port, user, password }: PostgresServer, database: string): pg.Pool {
  const pool = new pg.Pool({ host, port, user, password, database, max: 4, options: '-c TimeZone=UTC' });
  pool.on('error', () => undefined); // servers are stopped under open connections
  return pool;
}

/** The settings that lead to a database of a server. */
export function sideSettings(side: Side, server: PostgresServer, database: string): Record<string, string> {
  const [prefix, name] = side === 'local' ? ['TIMESCALE', 'DB'] : ['EC2_DB', 'NAME'];
  return {
    [`${prefix}_HOST`]: server.host,
    [`${prefix}_PORT`]: String(server.port),
    [`${prefix}_${name}`]: database,
    [`${prefix}_USER`]: server.user,
    [`${prefix}_PASSWORD`]: server.password,
    [`${prefix}_SSLMODE`]: 'disable',
  };
}

/** Both servers with TimescaleDB; skips the suite of a `before` hook, with the reason, where this machine has none. */
export async function timescaleServers(hook: Mocha.Context): Promise<{ local: PostgresServer; ec2: PostgresServer }> {
  const [local, ec2] = await Promise.all([timescaleServer('local'), timescaleServer('ec2')]);
  if ('missing' in local) return skipSuite(hook, local.missing);
  if ('missing' in ec2) return skipSuite(hook, ec2.missing);
  return { local: local.server, ec2: ec2.server };
}

/** Skips every test of the suite whose `before` hook calls it; the report names the reason. */
export function skipSuite(hook: Mocha.Context, reason: string): never {
  for (const test of hook.test?.parent?.tests ?? []) test.title += ` (skipped: ${reason})`;
  hook.skip();
}

/** The repository library as another service imports it: the package's public export, built. */
export async function loadLibrary(name = 'sensorctl'): Promise<typeof Library> {
  // By a variable: the types are those of the sources, which are there before the build is.
  return (await import(name)) as typeof Library;
}

const EMPTY_ALL = `
  truncate sensor_registry, water_level_readings, moisture_readings, sensor_readings, sensorctl.ledger, sensorctl.migration,
    sensorctl.consumer, sensorctl.healer, sensorctl.unproven, sensorctl.newest_part, sensorctl.quarantine,
    sensorctl.batch_marker, sensorctl.dead_consumer, sensorctl.comparison, sensorctl.sample, sensorctl.backfill, sensorctl.backfill_unit,
    sensorctl.state, sensorctl.state_history`;

function connectionOf({ host, port, user, password }: PostgresServer, database: string): ConnectionSettings {
  return { host, port, user, password, database, sslMode: 'disable', sslRootCert: undefined };
}

export interface StageOptions {
  readonly local?: PostgresServer;
  readonly ec2?: PostgresServer;
  readonly visibilityTimeoutSeconds?: number;
}

/** Two empty databases and a queue of their own for a test file, and the settings that lead to them. */
export class Stage {
  private constructor(
    readonly settings: CliSettings,
    readonly local: pg.Pool,
    readonly ec2: pg.Pool,
    readonly queue: Queue,
    readonly connections: Readonly<Record<Side, ConnectionSettings>>,
    private readonly databases: readonly TestDatabase[],
  ) {}

  static async open(title: string, options: StageOptions = {}): Promise<Stage> {
    const [local, ec2, queues] = await Promise.all([
      options.local ?? localServer(),
      options.ec2 ?? ec2Server(),
      queueServer(),
    ]);
    const [here, there] = await Promise.all([createTestDatabase(local, title), createTestDatabase(ec2, title)]);
    const { visibilityTimeoutSeconds = 30 } = options;
    const queueUrl = await queues.createQueue(here.name, { visibilityTimeoutSeconds });
    const { endpoint, region, accessKeyId, secretAccessKey } = queues;
    const settings = {
      ...sideSettings('local', local, here.name),
      ...sideSettings('ec2', ec2, there.name),
      SQS_QUEUE_URL: queueUrl,
      AWS_REGION: region,
      AWS_ENDPOINT_URL_SQS: endpoint,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      EC2_RETRY_DELAY: '20',
    };
    const queue = new Queue({ queueUrl, region, endpoint, credentials: { accessKeyId, secretAccessKey } });
    const connections = { local: connectionOf(local, here.name), ec2: connectionOf(ec2, there.name) };
    return new Stage(settings, poolOf(local, here.name), poolOf(ec2, there.name), queue, connections, [here, there]);
  }

  async start(args: readonly string[], settings: CliSettings = {}, timeoutMs = TIMEOUT_MS): Promise<RunningCli> {
    return await startCli(args, { settings: { ...this.settings, ...settings }, timeoutMs });
  }

  async run(args: readonly string[], settings: CliSettings = {}, files: CliOptions['files'] = {}): Promise<CliResult> {
    return await runCli(args, { settings: { ...this.settings, ...settings }, files });
  }

  /** Runs to the exit code 0 and returns what `--json` printed. */
  async runJson<Value>(args: readonly string[], settings: CliSettings = {}): Promise<Value> {
    const { stdout, stderr, code } = await this.run([...args, '--json'], settings);
    if (code !== 0) throw new Error(`sensorctl ${args.join(' ')} ended with ${String(code)}:\n${stdout}\n${stderr}`);
    return JSON.parse(stdout) as Value;
  }

  async send(bodies: Iterable<string>): Promise<void> {
    await replay({ queue: this.queue, bodies, rate: Infinity, stop: new AbortController().signal });
  }

  /** Empties every table of both sides, the bookkeeping too. */
  async empty(): Promise<void> {
    await Promise.all([this.local, this.ec2].map((pool) => pool.query(EMPTY_ALL)));
  }

  /** A repository on both sides by the package's public export; `local-only` leaves EC2 out. */
  async openRepository(
    mode: WriteMode = 'dual-write',
    options: Partial<DualWriteOptions> = {},
  ): Promise<{ repository: DualWriteRepository; close: () => Promise<void> }> {
    const { openDatabase, closeDatabase, DualWriteRepository } = await loadLibrary();
    const open = (side: Side) =>
      openDatabase({
        ...{ side, connection: this.connections[side], poolMax: 8, callTimeoutMs: 5_000 },
        applicationName: 'sensorctl test',
      });
    const [primary, secondary] = [open('local'), mode === 'dual-write' ? open('ec2') : null];
    const repository = await DualWriteRepository.open({
      declared: GUIDE_TABLES,
      primary,
      secondary,
      retry: { retries: 1, delayMs: 20 },
      concurrency: 4,
      consumer: { host: 'test', pid: process.pid },
      ...options,
    });
    const close = async (): Promise<void> => {
      await repository.close();
      await Promise.all([primary, ...(secondary === null ? [] : [secondary])].map((each) => closeDatabase(each)));
    };
    return { repository, close };
  }

  /** Resolves once so many sessions of local wait for a lock, with a statement that holds this text. */
  async eventuallyBlocked(sessions = 1, statement = ''): Promise<void> {
    await eventually(`${sessions} sessions wait for a lock`, async () => {
      const { rowCount } = await this.local.query(
        `select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and strpos(query, $1) > 0`,
        [statement],
      );
      return (rowCount ?? 0) >= sessions;
    });
  }

  /** Rows that local holds, EC2 lacks, and no ledger entry covers: what the third promise rules out. */
  async findUncoveredGaps(): Promise<string[]> {
    const there = await readContent(this.ec2);
    const gaps = TABLES.slice(1).map(async (table) => {
      const { rows } = await this.local.query<{ content: string }>(
        `select stored::text as content from ${table} as stored
         where not exists (select from sensorctl.ledger where table_name = $1 and times @> stored.time)`,
        [table],
      );
      const known = new Set(there[table]);
      return rows.filter((row) => !known.has(row.content)).map((row) => `${table} ${row.content}`);
    });
    return (await Promise.all(gaps)).flat();
  }

  async close(): Promise<void> {
    this.queue.close();
    await Promise.all([this.local.end(), this.ec2.end()]);
    await Promise.all(this.databases.map((database) => database.drop()));
  }
}
