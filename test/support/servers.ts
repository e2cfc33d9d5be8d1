// Mocha's root fixtures and hooks (.mocharc.json requires this file): servers start when a test file first asks for one,
// serve the whole run, and stop at its end.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, chmod, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import pg from 'pg';
import type { Side } from '../../src/lib/domain/side.js';
import { startPostgres, type PostgresOptions } from '../../src/lib/sandbox/postgres.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { type QueueServer, startQueue } from '../../src/lib/sandbox/sandbox-queue.js';
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../../src/lib/sandbox/keeper.js';
import { disposeAtEnd, disposeOfAll } from './disposal.js';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

/** A database of its own for a test file. */
export interface TestDatabase {
  readonly name: string;
  drop(): Promise<void>;
}

/** A server with TimescaleDB, or why this machine has none. */
export type Timescale = { readonly server: PostgresServer } | { readonly missing: string };

export const TIMESCALE_SETTINGS = { shared_preload_libraries: 'timescaledb', 'timescaledb.telemetry_level': 'off' };
const stops: (() => Promise<void>)[] = [];

export const localServer = once(() => startTestServer());
export const ec2Server = once(() => startTestServer());
export const queueServer = once(startTestQueue);

const timescaleServers = { local: once(startTimescale), ec2: once(startTimescale) };

/**
 * The server of a side from a PostgreSQL installation that has TimescaleDB: the one whose programs are in
 * SENSORCTL_TEST_TIMESCALEDB_BINDIR, else the newest below /usr/lib/postgresql.
 */
export function timescaleServer(side: Side): Promise<Timescale> {
  return timescaleServers[side]();
}

/** Creates a database named after the title: empty, or a copy of another one. */
export async function createTestDatabase(
  server: PostgresServer,
  title: string,
  template = 'template0',
): Promise<TestDatabase> {
  const words = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_');
  const name = `${words.slice(0, 50)}_${randomBytes(4).toString('hex')}`;
  const copies = (await copiesFiles(server)) ? 'strategy file_copy' : '';
  await ask(server, `create database ${pg.escapeIdentifier(name)} template ${pg.escapeIdentifier(template)} ${copies}`);
  return { name, drop: () => server.dropDatabase(name) };
}

const versions = new WeakMap<PostgresServer, Promise<number>>();

/** A server since PostgreSQL 15 logs each page of a new database unless told to copy files, which takes half as long. */
async function copiesFiles(server: PostgresServer): Promise<boolean> {
  const version =
    versions.get(server) ??
    ask(server, "select current_setting('server_version_num') as version").then(([row]) => Number(row?.version));
  versions.set(server, version);
  return (await version) >= 150_000;
}

async function ask({ host, port, user, password }: PostgresServer, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ host, port, user, password, database: 'postgres' });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/**
 * A server of a test's own, to be stopped, frozen and killed at will. Its cluster is a copy of one that this process makes
 * once: initdb takes longer than all else. It ends after the test file at the latest.
 */
export async function startOwnServer(options: OwnServerOptions = {}): Promise<PostgresServer> {
  const { dataDir = await makeDataDir('sensorctl-own-'), ...rest } = options;
  const server = await startOnCopy(dataDir, rest);
  disposeAtEnd(async () => {
    await server.dispose();
    if (options.dataDir === undefined) await removeTemporaryDirectory(dataDir);
  });
  return server;
}

/** The directory, where one is named, is empty. */
export type OwnServerOptions = Pick<PostgresOptions, 'dataDir' | 'durable' | 'binDir' | 'settings'>;

/** Mocha runs it after each file: what the file left open, whatever failed in it, is ended. */
export const mochaHooks = { afterAll: disposeOfAll };

export async function mochaGlobalTeardown(): Promise<void> {
  await Promise.all(stops.map((stop) => stop()));
}

function once<Value>(start: () => Promise<Value>): () => Promise<Value> {
  let started: Promise<Value> | undefined;
  return () => (started ??= start());
}

async function startTestServer(options: OwnServerOptions = {}): Promise<PostgresServer> {
  const dataDir = await makeDataDir('sensorctl-shared-');
  const server = await startOnCopy(dataDir, options);
  stops.push(async () => {
    await server.dispose();
    await removeTemporaryDirectory(dataDir);
  });
  return server;
}

async function startOnCopy(dataDir: string, options: OwnServerOptions): Promise<PostgresServer> {
  const model = await modelCluster(options.binDir);
  await promisify(execFile)('cp', ['-a', `${model}/.`, dataDir]);
  return await startPostgres({ durable: false, ...options, dataDir });
}

/** Data directories, by the programs that made them, of servers that were started once and stopped. */
const models = new Map<string | undefined, Promise<string>>();

function modelCluster(binDir: string | undefined): Promise<string> {
  const model = models.get(binDir) ?? makeModelCluster(binDir);
  models.set(binDir, model);
  return model;
}

async function makeModelCluster(binDir: string | undefined): Promise<string> {
  const dataDir = await makeDataDir('sensorctl-model-');
  const server = await startPostgres({ durable: false, dataDir, ...(binDir === undefined ? {} : { binDir }) });
  await server.dispose();
  return dataDir;
}

/** PostgreSQL may run under another account, which must be able to enter. */
async function makeDataDir(prefix: string): Promise<string> {
  const directory = await makeTemporaryDirectory(path.join(tmpdir(), prefix));
  await chmod(directory, 0o755);
  return directory;
}

async function startTestQueue(): Promise<QueueServer> {
  const queue = await startQueue();
  stops.push(() => queue.stop());
  return queue;
}

/** A server of a test's own with TimescaleDB and these settings; ended with the test file. */
export async function startOwnTimescale(settings: Readonly<Record<string, string>>): Promise<PostgresServer> {
  const binDir = await findTimescaleBinDir();
  if (binDir === undefined) throw new Error('no PostgreSQL with TimescaleDB found');
  return await startTestServer({ binDir, settings: { ...TIMESCALE_SETTINGS, ...settings } });
}

async function startTimescale(): Promise<Timescale> {
  const binDir = await findTimescaleBinDir();
  if (binDir === undefined) {
    return {
      missing: 'no PostgreSQL with TimescaleDB found; SENSORCTL_TEST_TIMESCALEDB_BINDIR names its bin directory',
    };
  }
  return { server: await startTestServer({ binDir, settings: TIMESCALE_SETTINGS }) };
}

/** The programs of that installation; undefined where this machine has none. */
export async function findTimescaleBinDir(): Promise<string | undefined> {
  const named = process.env.SENSORCTL_TEST_TIMESCALEDB_BINDIR;
  for (const binDir of named === undefined ? await listSystemBinDirs() : [named]) {
    if (await hasTimescale(binDir)) return binDir;
  }
  return undefined;
}

async function listSystemBinDirs(): Promise<string[]> {
  const root = '/usr/lib/postgresql';
  const versions = await readdir(root).catch(() => []);
  const newestFirst = versions.toSorted((a, b) => Number(b) - Number(a));
  return newestFirst.map((version) => path.join(root, version, 'bin'));
}

async function hasTimescale(binDir: string): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)(path.join(binDir, 'pg_config'), ['--sharedir']);
    await access(path.join(stdout.trim(), 'extension', 'timescaledb.control'));
    return true;
  } catch {
    return false;
  }
}
