import path from 'node:path';
import type { PostgresServer } from './postgres-server.js';
import { type PostgresOptions, startPostgres } from './postgres.js';
import { type QueueServer, startQueue } from './sandbox-queue.js';

export interface SandboxOptions extends Pick<PostgresOptions, 'durable' | 'settings' | 'binDir'> {
  /** Keeps the data of both servers here. Absent: it is removed when the sandbox stops. Queues are never kept. */
  dataDir?: string;
  visibilityTimeoutSeconds?: number;
}

const DATABASE = 'sensor_data';
const QUEUE = 'sensor-telemetry';

/** Two PostgreSQL servers and a queue on this machine. */
export interface Sandbox {
  readonly local: PostgresServer;
  readonly ec2: PostgresServer;
  readonly queue: QueueServer;
  readonly queueUrl: string;
  /** The settings, by their names in the environment, that lead sensorctl to this sandbox. */
  settings(): Readonly<Record<string, string>>;
  /** Stops everything, and removes the data unless a directory was named. A second call does nothing. */
  stop(): Promise<void>;
}

/** Starts both servers, with an empty database `sensor_data` each, and the queue. Throws what `startPostgres` throws. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const starting = [startSide('local', options), startSide('ec2', options), startQueue()] as const;
  try {
    const [local, ec2, queue] = await Promise.all(starting);
    const queueUrl = await queue.createQueue(QUEUE, options);
    const settings = { ...sideSettings(local, ec2), ...queueSettings(queue, queueUrl), ENABLE_DUAL_WRITE: 'true' };
    return { local, ec2, queue, queueUrl, settings: () => settings, stop: () => stopStarted(starting) };
  } catch (error) {
    await stopStarted(starting);
    throw error;
  }
}

async function startSide(side: 'local' | 'ec2', options: SandboxOptions): Promise<PostgresServer> {
  const { dataDir, ...rest } = options;
  const server = await startPostgres(dataDir === undefined ? rest : { ...rest, dataDir: path.resolve(dataDir, side) });
  try {
    await server.createDatabase(DATABASE);
    return server;
  } catch (error) {
    await server.dispose();
    throw error;
  }
}

/** Also after a start that failed in part. */
async function stopStarted(
  starting: readonly [Promise<PostgresServer>, Promise<PostgresServer>, Promise<QueueServer>],
): Promise<void> {
  const [local, ec2, queue] = await Promise.allSettled(starting);
  await Promise.all([
    local.status === 'fulfilled' ? local.value.dispose() : undefined,
    ec2.status === 'fulfilled' ? ec2.value.dispose() : undefined,
    queue.status === 'fulfilled' ? queue.value.stop() : undefined,
  ]);
}

function sideSettings(local: PostgresServer, ec2: PostgresServer): Record<string, string> {
  return {
    TIMESCALE_HOST: local.host,
    TIMESCALE_PORT: String(local.port),
    TIMESCALE_DB: DATABASE,
    TIMESCALE_USER: local.user,
    TIMESCALE_PASSWORD: local.password,
    TIMESCALE_SSLMODE: 'disable',
    EC2_DB_HOST: ec2.host,
    EC2_DB_PORT: String(ec2.port),
    EC2_DB_NAME: DATABASE,
    EC2_DB_USER: ec2.user,
    EC2_DB_PASSWORD: ec2.password,
    EC2_DB_SSLMODE: 'disable',
  };
}

function queueSettings(queue: QueueServer, queueUrl: string): Record<string, string> {
  return {
    SQS_QUEUE_URL: queueUrl,
    AWS_REGION: queue.region,
    AWS_ENDPOINT_URL_SQS: queue.endpoint,
    AWS_ACCESS_KEY_ID: queue.accessKeyId,
    AWS_SECRET_ACCESS_KEY: queue.secretAccessKey,
  };
}
