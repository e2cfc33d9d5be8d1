import { closeDatabase, type Database, openDatabase } from '../../db/database.js';
import { readTables } from '../../repository/tables/read-tables.js';
import { tableSql } from '../../repository/tables/table.js';
import { READING_TABLES } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import { InterruptedError } from '../../errors.js';
import { type CommandRunner, wait } from './run-command.js';
import { type Consumed, Story } from './story.js';
import { type TelemetryFiles, type TelemetrySource, withTelemetryFiles } from './telemetry-files.js';
import { Queue } from '../../queue/queue.js';
import { summarizeLedger } from '../../repository/ledger/ledger.js';
import type { PostgresServer } from '../../sandbox/postgres-server.js';
import { type Sandbox, startSandbox } from '../../sandbox/start-sandbox.js';

export interface DemoOptions {
  readonly telemetry: TelemetrySource;
  /** How long the telemetry is sent, in seconds. */
  readonly loadSeconds: number;
  /** Starts `sensorctl` with these arguments; the demo runs the commands that an operator would. */
  readonly runner: CommandRunner;
  /** Called with a line for each step. */
  readonly tell: (line: string) => void;
  readonly stop: AbortSignal;
}

export interface DemoReport {
  readonly sent: number;
  readonly consumed: Consumed;
  readonly local: SideCounts;
  readonly ec2: SideCounts;
  /** Readings that the ledger says EC2 lacks. */
  readonly missed: number;
  /** True when every message sent is accounted for, and EC2 lacks exactly what the ledger says. */
  readonly adds: boolean;
}

const POLL_MS = 200;
const TICK_MS = 2_000;
const SETTLE_LIMIT_MS = 30_000;
const CALL_TIMEOUT_MS = 5_000;

/** Runs the whole migration in a sandbox: dual write, EC2 lost and back, found, repaired, proven, cut over and rolled back. */
export async function demo(options: DemoOptions): Promise<DemoReport> {
  return await withTelemetryFiles(options.telemetry, (telemetry) => runInSandbox(options, telemetry));
}

async function runInSandbox(options: DemoOptions, telemetry: TelemetryFiles): Promise<DemoReport> {
  options.tell('Starting the sandbox: two PostgreSQL servers and an SQS-compatible queue, from npm packages.');
  const sandbox = await startSandbox();
  const local = openSandboxSide('local', sandbox.local);
  const ec2 = openSandboxSide('ec2', sandbox.ec2);
  try {
    return await migrate(options, { sandbox, local, ec2, telemetry });
  } finally {
    await Promise.all([closeDatabase(local), closeDatabase(ec2)]);
    await sandbox.stop();
  }
}

interface Stage {
  readonly sandbox: Sandbox;
  readonly local: Database;
  readonly ec2: Database;
  readonly telemetry: TelemetryFiles;
}

async function migrate(options: DemoOptions, stage: Stage): Promise<DemoReport> {
  const { tell, stop } = options;
  const settings = stage.sandbox.settings();
  const { queueUrl, queue: credentials } = stage.sandbox;
  const queue = new Queue({ queueUrl, region: credentials.region, endpoint: credentials.endpoint, credentials });
  const ticker = setInterval(() => void narrate(stage, tell), TICK_MS);
  const story = new Story({ ...options, ...stage, settings });
  try {
    await story.prepare();
    const sending = story.send(stage.telemetry, options.loadSeconds);
    // Where an act fails before it is awaited, nobody is left to hear of it.
    sending.catch(() => undefined);
    await story.loseEc2();
    await story.repair();
    await story.cutOver();
    await story.rollBack();
    tell('Waiting until everything is sent, the queue is empty and every write to EC2 has settled.');
    const sent = await sending;
    await untilEmpty(queue, stop);
    await untilSettled(stage, stop);
    clearInterval(ticker);
    const consumed = await story.end();
    return await report(sent, consumed, stage);
  } catch (error) {
    // Nobody needs the processes that were started any more, and a command that was killed says so itself.
    if (stop.aborted) throw new InterruptedError('the demo was stopped', { cause: error });
    throw error;
  } finally {
    clearInterval(ticker);
    queue.close();
    story.kill();
  }
}

async function narrate({ local, ec2 }: Stage, tell: (line: string) => void): Promise<void> {
  const [here, there] = await Promise.allSettled([readSideCounts(local), readSideCounts(ec2)]);
  if (here.status === 'rejected') return;
  const { rows, ledger, quarantine } = here.value;
  const remote = there.status === 'fulfilled' ? `${there.value.rows}` : 'not reachable';
  tell(
    `  local ${rows}   EC2 ${remote}   ledger: pending ${ledger.pending}, missed ${ledger.missed}   quarantine ${quarantine}`,
  );
}

async function untilEmpty(queue: Queue, stop: AbortSignal): Promise<void> {
  for (;;) {
    const { visible, inFlight } = await queue.readState();
    if (visible + inFlight === 0) return;
    await wait(POLL_MS, stop);
  }
}

/** Waits, but no longer than the demo is to last: whatever is left shows in the last table. */
async function untilSettled({ local }: Stage, stop: AbortSignal): Promise<void> {
  const deadline = performance.now() + SETTLE_LIMIT_MS;
  while (performance.now() < deadline) {
    const { ledger } = await readSideCounts(local);
    if (ledger.pending + ledger.missed === 0) return;
    await wait(POLL_MS, stop);
  }
}

async function report(sent: number, consumed: Consumed, { local, ec2 }: Stage): Promise<DemoReport> {
  const [here, there] = [await readSideCounts(local), await readSideCounts(ec2)];
  const missed = here.ledger.missed + here.ledger.pending + here.ledger.refused;
  const items = consumed.accepted + consumed.refused + consumed.quarantined;
  const adds =
    sent === consumed.messages &&
    sent + consumed.furtherReadings === items &&
    here.rows === consumed.accepted &&
    here.rows === there.rows + missed;
  return { sent, consumed, local: here, ec2: there, missed, adds };
}

function openSandboxSide(side: Side, server: PostgresServer): Database {
  const { host, port, user, password } = server;
  return openDatabase({
    side,
    connection: { host, port, user, password, database: 'sensor_data', sslMode: 'disable', sslRootCert: undefined },
    poolMax: 2,
    callTimeoutMs: CALL_TIMEOUT_MS,
    applicationName: 'sensorctl demo',
  });
}

export interface TableCounts {
  readonly table: string;
  readonly rows: number;
  /** UTC text of the newest reading; null in an empty table. */
  readonly newest: string | null;
}

/** The number of rows on one side of the sandbox. */
export interface SideCounts {
  readonly tables: readonly TableCounts[];
  /** Readings in all tables. */
  readonly rows: number;
  /** Readings of the ledger by state. */
  readonly ledger: { readonly pending: number; readonly missed: number; readonly refused: number };
  readonly quarantine: number;
}

const COUNT_QUARANTINE = 'select count(*) as rows from sensorctl.quarantine';

/** Counts whole tables: for the sandbox, whose tables are small. */
export async function readSideCounts({ pool }: Database): Promise<SideCounts> {
  const found = await readTables(pool, READING_TABLES);
  const tables = await Promise.all(
    [...found].map(async ([name, table]) => {
      const sql = `select count(*) as rows, max(time)::text as newest from ${tableSql(table)}`;
      const { rows } = await pool.query<{ rows: number; newest: string | null }>(sql);
      return { table: name, rows: rows[0]?.rows ?? 0, newest: rows[0]?.newest ?? null };
    }),
  );
  const ledger = { pending: 0, missed: 0, refused: 0 };
  for (const { state, readings } of await summarizeLedger(pool)) ledger[state] += readings;
  const quarantined = await pool.query<{ rows: number }>(COUNT_QUARANTINE);
  const rows = tables.reduce((sum, each) => sum + each.rows, 0);
  return { tables, rows, ledger, quarantine: quarantined.rows[0]?.rows ?? 0 };
}
