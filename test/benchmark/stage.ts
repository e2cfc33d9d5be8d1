import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import pg from 'pg';

import { replay } from '../../src/lib/operations/replay.js';
import { Queue, type QueueState } from '../../src/lib/queue/queue.js';
import { startSandbox, type Sandbox, type SandboxOptions } from '../../src/lib/sandbox/start-sandbox.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';

/** The program as it is installed. */
export const SENSORCTL = fileURLToPath(new URL('../../bin/run.js', import.meta.url));

const LIST_TABLES = `
  select format('%I.%I', schemaname, tablename) as name from pg_tables
  where schemaname in ('public', 'sensorctl') and tablename <> 'schema_version'`;
const COUNT_READINGS = `
  select (select count(*) from water_level_readings) + (select count(*) from moisture_readings)
    + (select count(*) from sensor_readings) as readings`;
const COUNT_PENDING = "select count(*) as entries from sensorctl.ledger where state = 'pending'";
const SEED = 20250701;

/** Two sides and a queue, prepared as an operator prepares them: by `sensorctl init`. */
export class Stage {
  readonly environment: NodeJS.ProcessEnv;
  readonly #queue: Queue;
  readonly #local: pg.Pool;
  readonly #ec2: pg.Pool;

  private constructor(
    private readonly sandbox: Sandbox,
    /** An empty directory, so that no `.env.local` has a say. */
    readonly directory: string,
  ) {
    const { AWS_REGION: region, AWS_ENDPOINT_URL_SQS: endpoint, ...settings } = sandbox.settings();
    this.environment = {
      PATH: process.env.PATH,
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
      ...sandbox.settings(),
    };
    const credentials = {
      accessKeyId: settings.AWS_ACCESS_KEY_ID!,
      secretAccessKey: settings.AWS_SECRET_ACCESS_KEY!,
    };
    this.#queue = new Queue({ queueUrl: sandbox.queueUrl, region, endpoint, credentials });
    this.#local = poolOf(sandbox.local);
    this.#ec2 = poolOf(sandbox.ec2);
  }

  static async open(options: Pick<SandboxOptions, 'durable' | 'binDir' | 'settings'>): Promise<Stage> {
    const directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-bench-'));
    const stage = new Stage(await startSandbox(options), directory);
    await promisify(execFile)(process.execPath, [SENSORCTL, 'init'], { cwd: directory, env: stage.environment });
    return stage;
  }

  get servers(): Pick<Sandbox, 'local' | 'ec2'> {
    return this.sandbox;
  }

  get queuePid(): number | undefined {
    return this.sandbox.queue.pid;
  }

  /** Empties both sides, and fills the queue with the first `messages` of one and the same stream. */
  async reset(messages: number): Promise<void> {
    await Promise.all([this.#local, this.#ec2].map((pool) => emptyTables(pool)));
    const bodies = generateTelemetry({ seed: SEED, count: messages });
    await replay({ queue: this.#queue, bodies, rate: Infinity, stop: new AbortController().signal });
  }

  /** Sends telemetry to the queue, so many messages a second, until told to stop. */
  load(rate: number): { stop(): Promise<void> } {
    const stop = new AbortController();
    const bodies = generateTelemetry({ seed: SEED, count: Infinity });
    const sending = replay({ queue: this.#queue, bodies, rate, stop: stop.signal });
    return {
      stop: async () => {
        stop.abort();
        await sending;
      },
    };
  }

  async readQueue(): Promise<QueueState> {
    return await this.#queue.readState();
  }

  /** Ledger entries whose batch is still on its way to EC2. */
  async countPending(): Promise<number> {
    return await countOf(this.#local, COUNT_PENDING);
  }

  /** Takes so many readings off EC2, as nobody should. */
  async loseOnEc2(count: number): Promise<void> {
    await this.#ec2.query(
      'delete from water_level_readings where (sensor_id, time) in (select sensor_id, time from water_level_readings order by time limit $1)',
      [count],
    );
  }

  async countReadings(): Promise<{ local: number; ec2: number }> {
    const [local, ec2] = await Promise.all([countOf(this.#local, COUNT_READINGS), countOf(this.#ec2, COUNT_READINGS)]);
    return { local, ec2 };
  }

  async close(): Promise<void> {
    this.#queue.close();
    await Promise.all([this.#local.end(), this.#ec2.end()]);
    await this.sandbox.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

function poolOf({ host, port, user, password }: Sandbox['local']): pg.Pool {
  const pool = new pg.Pool({ host, port, user, password, database: 'sensor_data', max: 1 });
  // The server may be stopped before its last connection is gone.
  pool.on('error', () => undefined);
  return pool;
}

/** The checkpoint pays for what the run before has written. */
async function emptyTables(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ name: string }>(LIST_TABLES);
  await pool.query(`truncate ${rows.map(({ name }) => name).join(', ')}`);
  await pool.query('checkpoint');
}

async function countOf(pool: pg.Pool, sql: string): Promise<number> {
  const { rows } = await pool.query<Record<string, string>>(sql);
  return Number(Object.values(rows[0] ?? {})[0]);
}
