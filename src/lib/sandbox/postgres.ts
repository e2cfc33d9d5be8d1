import { mkdir } from 'node:fs/promises';
import path from 'node:path';

import { withRetries } from '../domain/retry.js';
import { type Account, type AccountOptions, findAccount } from './account.js';
import { findPackagedBinaries, findRuntimeRoot, stageBinaries } from './postgres-binaries.js';
import { findClusterOwner, handOver, openCluster, writeCluster } from './cluster.js';
import { keeper, makeTemporaryDirectory, removeTemporaryDirectory } from './keeper.js';
import { findFreePort, isPortFree, reservePort } from './ports.js';
import { type ServerPlace, PostgresServer } from './postgres-server.js';

export interface PostgresOptions {
  /** Keeps its data here, and starts again from it. Absent: a new temporary directory, removed by `dispose`. */
  dataDir?: string;
  /** Absent: the port of the kept data if it is free, else a free one. */
  port?: number;
  /** False turns fsync off, and says so (`sensorctl.disposable`): for data that nobody needs after a power cut. Default true. */
  durable?: boolean;
  /** Server settings on top of the sandbox's own, such as shared_preload_libraries. */
  settings?: Readonly<Record<string, string>>;
  /** The programs of another PostgreSQL installation instead of the packaged ones. */
  binDir?: string;
  /** Which accounts root may turn into. */
  accounts?: AccountOptions;
}

const PORT_ATTEMPTS = 5;

/**
 * Starts a PostgreSQL server on 127.0.0.1 and resolves once it answers. It ends with this process at the latest, even
 * one that was killed. Throws UsageError (packages, directory), ConflictError (port), UnreachableError (the rest).
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const ownerUid = options.dataDir === undefined ? undefined : await findClusterOwner(options.dataDir);
  const account = await findAccount({ ...options.accounts, ownerUid });
  const runtimeRoot = await findRuntimeRoot(account);
  const [binDir] = await Promise.all([
    options.binDir ?? findPackagedBinaries().then((packaged) => stageBinaries(packaged, runtimeRoot)),
    keeper.start(),
  ]);
  const dataDir = options.dataDir ?? (await createDataDir(runtimeRoot, account));
  const place = { binDir, dataDir, account, runtimeRoot, isDiscarded: options.dataDir === undefined };
  try {
    return await startInPlace(place, options);
  } catch (error) {
    if (place.isDiscarded) await removeTemporaryDirectory(dataDir);
    throw error;
  }
}

async function createDataDir(runtimeRoot: string, account: Account | undefined): Promise<string> {
  const dataDir = await makeTemporaryDirectory(path.join(runtimeRoot, 'sensorctl-data-'));
  await handOver(dataDir, account);
  return dataDir;
}

type Place = Omit<ServerPlace, 'port' | 'cluster' | 'settings'> & { runtimeRoot: string };

/** A program that asks nobody may take a port before PostgreSQL listens on it: then another is tried, unless chosen. */
async function startInPlace(place: Place, options: PostgresOptions): Promise<PostgresServer> {
  await mkdir(place.dataDir, { recursive: true });
  const cluster = await openCluster(place);
  const settings = { ...durabilitySettings(options.durable ?? true), ...options.settings };
  let wasTaken = false;
  const startOnce = async (): Promise<PostgresServer> => {
    const port = options.port ?? (await choosePort(cluster.port));
    const server = new PostgresServer({ ...place, cluster, settings, port });
    try {
      await server.start();
      await writeCluster(place.dataDir, { ...cluster, port });
      return server;
    } catch (error) {
      wasTaken = options.port === undefined && !(await isPortFree(port));
      throw error;
    }
  };
  return await withRetries(startOnce, { attempts: PORT_ATTEMPTS, pauseMs: 0, retryIf: () => wasTaken });
}

async function choosePort(kept: number | undefined): Promise<number> {
  return kept !== undefined && (await reservePort(kept)) ? kept : findFreePort();
}

function durabilitySettings(durable: boolean): Record<string, string> {
  return durable ? {} : { fsync: 'off', full_page_writes: 'off', 'sensorctl.disposable': 'on' };
}
