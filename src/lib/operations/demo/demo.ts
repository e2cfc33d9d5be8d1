import { setTimeout as delay } from 'node:timers/promises';
import { closeDatabase, openDatabase, type Database } from '../../db/database.js';
import { Queue } from '../../queue/queue.js';
import { startSandbox, type Sandbox } from '../../sandbox/sandbox.js';
import type { PostgresServer } from '../../sandbox/postgres-server.js';
import type { Side } from '../../domain/side.js';
import { InterruptedError } from '../../errors.js';
import { readSideCounts, type SideCounts } from './counts.js';
import { startCommand, type CommandRunner } from './run-command.js';
import { withTelemetryFiles, type TelemetryFiles, type TelemetrySource } from './telemetry-files.js';

export interface DemoOptions {
  readonly telemetry: TelemetrySource;
  /** How long the telemetry is sent, in seconds. */
  readonly loadSeconds: number;
  /** Starts `sensorctl` with these arguments; the demo runs the commands that an operator would. */
  readonly runner: CommandRunner;
  /** Told what happens, a line a step. */
  readonly tell: (line: string) => void;
  readonly stop: AbortSignal;
}

/** What `consume --json` accounts for. */
interface Consumed {
  readonly messages: number;
  readonly furtherReadings: number;
  readonly accepted: number;
  readonly refused: number;
  readonly quarantined: number;
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
const REPAIR_LIMIT_MS = 30_000;
const CALL_TIMEOUT_MS = 5_000;

/** Runs the dual write in a sandbox from start to end, with EC2 lost and back in between. */
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
  const { runner, tell, stop } = options;
  const settings = stage.sandbox.settings();
  tell('$ sensorctl init');
  await startCommand(runner, ['init'], settings).finished;
  tell('$ sensorctl consume --dual-write        (runs until the end)');
  const consumer = startCommand(runner, ['consume', '--dual-write', '--json'], settings);
  const { queueUrl, queue: credentials } = stage.sandbox;
  const queue = new Queue({ queueUrl, region: credentials.region, endpoint: credentials.endpoint, credentials });
  const ticker = setInterval(() => void narrate(stage, tell), TICK_MS);
  try {
    const sent = await sendWithOutage(options, stage);
    tell('All sent. Waiting until the queue is empty and the consumer has repaired what EC2 missed.');
    await untilEmpty(queue, stop);
    await untilRepaired(stage, stop);
    tell('Stopping the consumer as an operator would (SIGTERM).');
    clearInterval(ticker);
    consumer.terminate();
    return await report(sent, JSON.parse(await consumer.finished) as Consumed, stage);
  } finally {
    clearInterval(ticker);
    queue.close();
    consumer.kill();
  }
}

/** Replays the telemetry; EC2 stops after the first third of the time and starts again after the second. */
async function sendWithOutage(options: DemoOptions, { sandbox, telemetry }: Stage): Promise<number> {
  const { loadSeconds, runner, tell, stop } = options;
  const { files, messages } = telemetry;
  const thirdMs = (loadSeconds * 1000) / 3;
  const rate = String(Math.ceil(messages / loadSeconds));
  tell(`$ sensorctl replay ${files.join(' ')} --rate ${rate}        (${messages} messages)`);
  const replaying = startCommand(runner, ['replay', ...files, '--rate', rate, '--json'], sandbox.settings());
  try {
    await wait(thirdMs, stop);
    tell('✗ EC2 goes down. Local goes on; what EC2 misses is entered in the ledger.');
    await sandbox.ec2.stop('immediate');
    await wait(thirdMs, stop);
    tell('✓ EC2 is back.');
    await sandbox.ec2.start();
    return (JSON.parse(await replaying.finished) as { sent: number }).sent;
  } finally {
    replaying.kill();
  }
}

async function wait(ms: number, stop: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal: stop }).catch(() => {
    throw new InterruptedError('the demo was stopped');
  });
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

/** A repair that takes longer than the demo wants to last shows in the last table as missed. */
async function untilRepaired({ local }: Stage, stop: AbortSignal): Promise<void> {
  const deadline = performance.now() + REPAIR_LIMIT_MS;
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
