import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

import type pg from 'pg';

import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { TcpProxy } from '../support/proxy.js';
import { fillHistory, HISTORY_BEGIN, singleCorePool } from './history.js';
import { peakMemoryMib } from './process-usage.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';

const TABLE = 'water_level_readings';
const DELAY_MS = 50;
const MEMORY_LIMIT_MIB = 200;
const STRETCHES = 3;
const SAMPLE_MS = 50;

interface Figures {
  readonly full: number[];
  readonly psql: number[];
  /** Two such pipes side by side, each with a half, unverified: what the machine is able to. */
  readonly halves: number[];
  readonly near: number[];
  readonly far: number[];
  readonly whole: number[];
  readonly hundredth: number[];
  readonly peakMib: number[];
}

interface Measure {
  readonly stage: Stage;
  /** Rows that local holds; a fifth of them are copied into an empty slice beside psql, all of them in the other measures. */
  readonly rows: number;
  readonly repetitions: number;
  readonly onStep: (text: string) => void;
}

/** `sensorctl backfill` beside one binary COPY piped by psql, beside itself over a slow network, and beside a full copy. */
export async function measureBackfill({ stage, rows, repetitions, onStep }: Measure): Promise<Comparison[]> {
  const { local, ec2 } = stage.servers;
  const [source, target] = [singleCorePool(local), singleCorePool(ec2)];
  const proxy = await TcpProxy.open(ec2);
  const figures: Figures = { full: [], psql: [], halves: [], near: [], far: [], whole: [], hundredth: [], peakMib: [] };
  try {
    onStep(`filling local with ${rows} readings`);
    await fillHistory(source, rows);
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      await measureSlice({ stage, target, figures, rows: Math.floor(rows / 5) });
      await measureDistance({ stage, target, figures, rows }, proxy);
      await measureWhole({ stage, target, figures, rows });
      onStep(
        `${repetition}/${repetitions} backfill: ${Math.round(figures.full.at(-1) ?? NaN)} rows/s into an empty slice`,
      );
    }
    return conclusions(figures, rows);
  } finally {
    proxy.close();
    await Promise.all([source.end(), target.end()]);
  }
}

interface Part {
  readonly stage: Stage;
  readonly target: pg.Pool;
  readonly figures: Figures;
  readonly rows: number;
}

/** To and fro, as whoever comes first pays for what was written before and is still on its way to the disk. */
async function measureSlice({ stage, target, figures, rows }: Part): Promise<void> {
  const range = ['--from', instantOf(0), '--to', instantOf(rows)];
  const part = { stage, target, figures, rows };
  const copy = (): Promise<number> => rateInto(part, () => backfill(stage, [...range, '--full'], figures));
  const pipe = (): Promise<number> => rateInto(part, () => pipeWithPsql(stage.servers, 0, rows));
  const middle = Math.floor(rows / 2);
  const pipes = (): Promise<number> =>
    rateInto(part, () =>
      Promise.all([pipeWithPsql(stage.servers, 0, middle), pipeWithPsql(stage.servers, middle, rows)]),
    );
  const [piped, copied, halves, copiedAgain, pipedAgain] = [
    await pipe(),
    await copy(),
    await pipes(),
    await copy(),
    await pipe(),
  ];
  figures.psql.push(meanRate(piped, pipedAgain));
  figures.full.push(meanRate(copied, copiedAgain));
  figures.halves.push(halves);
}

/** The rate of both runs together, each over the same number of rows. */
function meanRate(one: number, other: number): number {
  return 2 / (1 / one + 1 / other);
}

/** Of the whole history: some thirty round trips before and after the copying are no matter of its speed. */
async function measureDistance(part: Part, proxy: TcpProxy): Promise<void> {
  const { stage, figures } = part;
  const through = { EC2_DB_HOST: proxy.host, EC2_DB_PORT: String(proxy.port) };
  const copyAll = (): Promise<void> => backfill(stage, ['--all', '--full'], figures, through);
  figures.near.push(await rateInto(part, copyAll));
  proxy.delay(DELAY_MS);
  figures.far.push(await rateInto(part, copyAll));
  await proxy.pass();
}

/** Rows a second that come into an empty table. */
async function rateInto({ target, rows }: Part, work: () => Promise<unknown>): Promise<number> {
  await target.query(`truncate ${TABLE}`);
  await target.query('checkpoint');
  const ms = await millisecondsOf(work);
  await assertRows(target, rows);
  return (rows / ms) * 1000;
}

async function measureWhole({ stage, target, figures, rows }: Part): Promise<void> {
  await target.query(`truncate ${TABLE}`);
  figures.whole.push(await millisecondsOf(() => backfill(stage, ['--all', '--full'], figures)));
  await target.query('vacuum analyze');
  const stretch = Math.floor(rows / 100 / STRETCHES);
  for (let place = 1; place <= STRETCHES; place += 1) {
    const from = Math.floor((rows * place) / (STRETCHES + 1));
    const bounds = [instantOf(from), instantOf(from + stretch)];
    await target.query(`delete from ${TABLE} where time >= $1 and time < $2`, bounds);
  }
  figures.hundredth.push(await millisecondsOf(() => backfill(stage, ['--all'], figures)));
  await assertRows(target, rows);
}

function instantOf(second: number): string {
  return new Date(Date.parse(HISTORY_BEGIN) + second * 1000).toISOString();
}

async function assertRows(target: pg.Pool, rows: number): Promise<void> {
  const { rows: counts } = await target.query<{ rows: number }>(`select count(*)::int as rows from ${TABLE}`);
  if (counts[0]?.rows !== rows) throw new Error(`EC2 holds ${counts[0]?.rows} rows of ${rows}`);
}

async function backfill(stage: Stage, args: readonly string[], figures: Figures, settings = {}): Promise<void> {
  const child = spawn(process.execPath, [SENSORCTL, 'backfill', '--table', TABLE, ...args, '--json'], {
    cwd: stage.directory,
    env: { ...stage.environment, ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  let peak = 0;
  const sampling = setInterval(() => (peak = Math.max(peak, peakMemoryMib(child.pid) || 0)), SAMPLE_MS);
  const [exitCode] = (await once(child, 'close')) as [number | null];
  clearInterval(sampling);
  if (exitCode !== 0) throw new Error(`backfill ended with ${exitCode}: ${output}`);
  figures.peakMib.push(peak);
  const { remainingGaps, verified, rowsCopied } = JSON.parse(output) as BackfillReport;
  if (remainingGaps > 0 || verified !== rowsCopied) throw new Error(`not all was verified: ${output}`);
}

/** What one types without a tool: `psql -c 'copy … to stdout' | psql -c 'copy … from stdin'`. */
async function pipeWithPsql({ local, ec2 }: Stage['servers'], first: number, end: number): Promise<void> {
  const slice = `select * from ${TABLE} where time >= '${instantOf(first)}' and time < '${instantOf(end)}'`;
  const from = psqlCommand(local, `copy (${slice}) to stdout (format binary)`);
  const to = psqlCommand(ec2, `copy ${TABLE} from stdin (format binary)`);
  const env = { ...process.env, LOCAL_PASSWORD: local.password, EC2_PASSWORD: ec2.password };
  await promisify(execFile)('sh', ['-c', `PGPASSWORD=$LOCAL_PASSWORD ${from} | PGPASSWORD=$EC2_PASSWORD ${to}`], {
    env,
  });
}

function psqlCommand({ host, port, user }: PostgresServer, statement: string): string {
  return `psql -q -h ${host} -p ${port} -U ${user} -d sensor_data -c "${statement}"`;
}

function conclusions(
  { full, psql, halves, near, far, whole, hundredth, peakMib }: Figures,
  rows: number,
): Comparison[] {
  const million = `${rows / 5_000_000} million rows into an empty slice`;
  const unit = 'rows/s';
  const limits = peakMib.map(() => MEMORY_LIMIT_MIB);
  return [
    {
      what: million,
      unit,
      figures: full,
      against: 'psql piping one binary COPY',
      peers: psql,
      target: { atLeast: 1.2 },
    },
    {
      what: million,
      unit,
      figures: full,
      against: 'two psql pipes at once, unverified',
      peers: halves,
      target: null,
    },
    {
      what: `all history, ${DELAY_MS} ms away`,
      unit,
      figures: far,
      against: 'without delay',
      peers: near,
      target: { atLeast: 0.8 },
    },
    {
      what: '1 % missing in three stretches',
      unit: 'ms',
      figures: hundredth,
      against: 'a full copy',
      peers: whole,
      target: { atMost: 0.25 },
    },
    {
      what: 'peak memory of backfill',
      unit: 'MiB',
      figures: peakMib,
      against: 'the limit',
      peers: limits,
      target: { atMost: 1 },
    },
  ];
}

async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
