import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';

import { UnreachableError, UsageError } from '../errors.js';
import { type Account, canEnter } from './account.js';
import { HELPER_ENVIRONMENT } from './helper-process.js';
import { keeper, makeTemporaryDirectory, removeTemporaryDirectory } from './keeper.js';

/** The settings that a data directory keeps, so that a second start of its server serves the same clients. */
export interface Cluster {
  readonly user: string;
  readonly password: string;
  readonly port?: number;
}

export interface ClusterPlace {
  readonly binDir: string;
  readonly dataDir: string;
  readonly account: Account | undefined;
  readonly runtimeRoot: string;
}

const CLUSTER_FILE = 'sensorctl.json';

/** PostgreSQL's own directory below the data directory. */
export function pgDataOf(dataDir: string): string {
  return path.join(dataDir, 'pgdata');
}

/** The uid that owns the cluster of the data directory, or undefined where there is none yet. */
export async function findClusterOwner(dataDir: string): Promise<number | undefined> {
  return stat(pgDataOf(dataDir)).then(
    (stats) => stats.uid,
    () => undefined,
  );
}

/** Opens the cluster of the data directory, or creates one. Throws UsageError on a directory that cannot hold one. */
export async function openCluster(place: ClusterPlace): Promise<Cluster> {
  await assertUsable(place);
  return (await readCluster(place.dataDir)) ?? createCluster(place);
}

export async function writeCluster(dataDir: string, cluster: Cluster): Promise<void> {
  await writeFile(path.join(pgDataOf(dataDir), CLUSTER_FILE), JSON.stringify(cluster), { mode: 0o600 });
}

async function readCluster(dataDir: string): Promise<Cluster | undefined> {
  const json = await readFile(path.join(pgDataOf(dataDir), CLUSTER_FILE), 'utf8').catch(() => undefined);
  return json === undefined ? undefined : (JSON.parse(json) as Cluster);
}

async function assertUsable({ dataDir, account }: ClusterPlace): Promise<void> {
  if (!(await canEnter(dataDir, account))) {
    throw new UsageError(`PostgreSQL runs as ${account?.name ?? 'this user'}, who may not enter ${dataDir}.`, {
      code: 'data-directory-closed',
    });
  }
  const foreign = (await readdir(dataDir)).filter((name) => !/^(pgdata|server\.log)/.test(name));
  if (foreign.length > 0) {
    throw new UsageError(`${dataDir} holds other things than a sandbox server: ${foreign.slice(0, 3).join(', ')}.`, {
      code: 'data-directory-foreign',
    });
  }
}

/** Built aside and moved into place when complete: a start that was cut off leaves nothing half made. */
async function createCluster({ binDir, dataDir, account, runtimeRoot }: ClusterPlace): Promise<Cluster> {
  const cluster: Cluster = { user: 'postgres', password: randomBytes(16).toString('hex') };
  const secrets = await makeTemporaryDirectory(path.join(runtimeRoot, 'sensorctl-initdb-'));
  const building = await makeTemporaryDirectory(`${pgDataOf(dataDir)}.`);
  try {
    const passwordFile = path.join(secrets, 'password');
    await writeFile(passwordFile, cluster.password, { mode: 0o600 });
    for (const file of [secrets, passwordFile, building]) await handOver(file, account);
    await runInitdb(path.join(binDir, 'initdb'), { directory: building, user: cluster.user, passwordFile }, account);
    await writeFile(path.join(building, CLUSTER_FILE), JSON.stringify(cluster), { mode: 0o600 });
    await rename(building, pgDataOf(dataDir));
    return cluster;
  } finally {
    await Promise.all([secrets, building].map(removeTemporaryDirectory));
  }
}

/** Gives the file to the account that PostgreSQL runs under, if it is another than this process's. */
export async function handOver(file: string, account: Account | undefined): Promise<void> {
  if (account !== undefined) await chown(file, account.uid, account.gid);
}

async function runInitdb(
  initdb: string,
  { directory, user, passwordFile }: { directory: string; user: string; passwordFile: string },
  account: Account | undefined,
): Promise<void> {
  const encoding = ['--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'];
  const access = ['--auth=scram-sha-256', `--username=${user}`, `--pwfile=${passwordFile}`];
  const child = spawn(initdb, [`--pgdata=${directory}`, ...encoding, ...access], {
    ...identityOf(account),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const [errors, [code]] = await Promise.all([
    text(child.stderr),
    ended,
    child.pid && keeper.watchServer(child.pid),
  ]).catch((error: unknown) => {
    throw new UnreachableError(`${initdb} could not be run: ${(error as Error).message}.`, {
      code: 'programs-broken',
      cause: error,
    });
  });
  if (child.pid) await keeper.releaseServer(child.pid);
  if (code !== 0) {
    throw new UnreachableError(`initdb failed for ${directory}: ${errors.trim()}`, {
      code: 'cluster-not-made',
    });
  }
}

/** How a PostgreSQL program is run: under the account, and with nothing of this process's environment. */
export function identityOf(account: Account | undefined): {
  uid?: number;
  gid?: number;
  detached: true;
  env: NodeJS.ProcessEnv;
} {
  const identity = account && { uid: account.uid, gid: account.gid };
  return { ...identity, detached: true, env: HELPER_ENVIRONMENT };
}
