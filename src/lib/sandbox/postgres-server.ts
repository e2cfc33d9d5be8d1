import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import { ConflictError, UnreachableError } from '../errors.js';
import type { Account } from './account.js';
import { type Cluster, identityOf, pgDataOf } from './cluster.js';
import { keeper, removeTemporaryDirectory } from './keeper.js';
import { isPortFree, releasePort } from './ports.js';
import { freezeFamily, listFamily, signalAll, thawFamily, waitUntilGone } from './processes.js';

/** PostgreSQL's own words: smart waits for clients, fast ends their transactions, immediate leaves recovery to the next start. */
export type StopMode = 'smart' | 'fast' | 'immediate';

export interface ServerPlace {
  readonly binDir: string;
  readonly dataDir: string;
  readonly account: Account | undefined;
  readonly cluster: Cluster;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  /** Whether `dispose` removes the data. */
  readonly isDiscarded: boolean;
}

const STOP_SIGNAL = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const READY_TIMEOUT_MS = 60_000;
const FREEZE_TIMEOUT_MS = 5_000;
const KILL_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
const POLL_MS = 20;
const ENDED = Symbol('ended');
const LOG_TAIL_LINES = 15;

const DUPLICATE_DATABASE = '42P04';
const CANNOT_CONNECT_NOW = '57P03';

const BASE_SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '64MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/** One PostgreSQL server of the sandbox. It keeps port and data through stop and start. */
export class PostgresServer {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly dataDir: string;
  readonly logFile: string;
  private child: ChildProcess | undefined;
  private exited: Promise<void> = Promise.resolve();

  constructor(private readonly place: ServerPlace) {
    this.port = place.port;
    this.user = place.cluster.user;
    this.password = place.cluster.password;
    this.dataDir = place.dataDir;
    this.logFile = path.join(place.dataDir, 'server.log');
  }

  /** The postmaster, or undefined while the server is down. */
  get pid(): number | undefined {
    return isRunning(this.child) ? this.child?.pid : undefined;
  }

  /** Resolves once the server answers. Throws ConflictError if the port is taken, UnreachableError with the log's tail. */
  async start(): Promise<void> {
    if (this.pid !== undefined) return;
    const log = await open(this.logFile, 'a');
    try {
      const { size } = await log.stat();
      const child = await this.spawnPostmaster(log.fd);
      await this.waitUntilReady(child, size);
    } finally {
      await log.close();
    }
  }

  /** Stops the server, and wakes it first if it is frozen. Does nothing if it is down. */
  async stop(mode: StopMode = 'fast'): Promise<void> {
    if (this.pid === undefined) return;
    thawFamily(this.pid);
    signalAll([this.pid], STOP_SIGNAL[mode]);
    await this.exited;
  }

  /** Kills the server with all its backends, as a power cut would. `start` recovers from it. */
  async kill(): Promise<void> {
    if (this.pid === undefined) return;
    const family = listFamily(this.pid);
    signalAll(family, 'SIGKILL');
    await this.exited;
    if (!(await waitUntilGone(family, KILL_TIMEOUT_MS))) {
      throw new UnreachableError(`Processes of the server on port ${this.port} could not be killed.`, {
        code: 'processes-not-killed',
      });
    }
  }

  /** Halts the server and every backend: connections stay open, and nothing answers. */
  async freeze(): Promise<void> {
    if (this.pid === undefined || (await freezeFamily(this.pid, FREEZE_TIMEOUT_MS))) return;
    throw new UnreachableError(`The server on port ${this.port} could not be frozen.`, {
      code: 'server-not-frozen',
    });
  }

  /** Lets a frozen server go on where it was. */
  thaw(): void {
    if (this.pid !== undefined) thawFamily(this.pid);
  }

  /**
   * Creates the database, as a copy of the template if one is named. One that exists already stays as it is.
   * Not of `template1`, which cannot be copied while a session uses it, such as TimescaleDB's launcher at its start.
   */
  async createDatabase(name: string, template = 'template0'): Promise<void> {
    const identifiers = [name, template].map((identifier) => pg.escapeIdentifier(identifier));
    try {
      await this.execute(`create database ${identifiers.join(' template ')}`);
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || error.code !== DUPLICATE_DATABASE) throw error;
    }
  }

  /** Drops the database, and ends the sessions that still use it. */
  async dropDatabase(name: string): Promise<void> {
    await this.execute(`drop database if exists ${pg.escapeIdentifier(name)} with (force)`);
  }

  /** Stops the server, lets go of its port, and removes its data, unless a data directory was named. */
  async dispose(): Promise<void> {
    await this.stop('fast');
    releasePort(this.port);
    if (this.place.isDiscarded) await removeTemporaryDirectory(this.dataDir);
  }

  private async spawnPostmaster(logFd: number): Promise<ChildProcess> {
    const { binDir, account, dataDir, settings } = this.place;
    const program = path.join(binDir, 'postgres');
    const flags = Object.entries({ ...BASE_SETTINGS, ...settings, port: String(this.port) });
    const child = spawn(
      program,
      ['-D', pgDataOf(dataDir), ...flags.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      {
        ...identityOf(account),
        stdio: ['ignore', logFd, logFd],
      },
    );
    await once(child, 'spawn').catch((error: unknown) => {
      throw new UnreachableError(`${program} could not be run: ${(error as Error).message}.`, {
        code: 'programs-broken',
        cause: error,
      });
    });
    this.child = child;
    this.exited = releaseOnExit(child);
    if (child.pid !== undefined) await keeper.watchServer(child.pid);
    return child;
  }

  private async waitUntilReady(child: ChildProcess, logOffset: number): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      if (!isRunning(child)) throw await this.explainExit(logOffset);
      // Another program may hold the port and never answer: the exit of our own server ends the attempt.
      const attempt = this.execute('select').catch((error: unknown) => error);
      const failure = await Promise.race([attempt, this.exited.then(() => ENDED)]);
      if (failure === ENDED) continue;
      if (failure === undefined) return;
      if (performance.now() > deadline || !isStillStarting(failure)) {
        await this.stop('immediate');
        const tail = await this.readLogTail(logOffset);
        throw new UnreachableError(`The server on port ${this.port} does not answer:\n${tail}`, {
          code: 'sandbox-server-failed',
          cause: failure,
        });
      }
      await sleep(POLL_MS);
    }
  }

  private async explainExit(logOffset: number): Promise<Error> {
    if (!(await isPortFree(this.port))) {
      return new ConflictError(`Port ${this.port} of ${this.host} is taken by another program.`, {
        code: 'sandbox-port-taken',
      });
    }
    const tail = await this.readLogTail(logOffset);
    return new UnreachableError(`PostgreSQL in ${this.dataDir} ended while it started:\n${tail}`, {
      code: 'sandbox-server-failed',
    });
  }

  private async readLogTail(offset: number): Promise<string> {
    const log = await readFile(this.logFile);
    return log.subarray(offset).toString('utf8').trim().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  }

  private async execute(sql: string): Promise<void> {
    const { host, port, user, password } = this;
    const client = new pg.Client({
      host,
      port,
      user,
      password,
      database: 'postgres',
      ssl: false,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    client.on('error', () => undefined); // the query rejects too
    try {
      await client.connect();
      await client.query(sql);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

async function releaseOnExit(child: ChildProcess): Promise<void> {
  await once(child, 'exit');
  if (child.pid !== undefined) await keeper.releaseServer(child.pid);
}

function isRunning(child: ChildProcess | undefined): boolean {
  return child?.exitCode === null && child.signalCode === null;
}

/** Refused or cut connections, and PostgreSQL's "the database system is starting up"; anything else will not go away. */
function isStillStarting(error: unknown): boolean {
  return !(error instanceof pg.DatabaseError) || error.code === CANNOT_CONNECT_NOW;
}
