import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import type pg from 'pg';

import { readTables } from '../../src/lib/repository/tables/read-tables.js';
import { KNOWN_AXES, KNOWN_TABLES } from '../../src/lib/repository/tables/reading-tables.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { pairTables } from '../../src/lib/repository/tables/table-pair.js';
import { DIGEST_METHODS } from '../../src/lib/repository/compare/digest-method.js';
import { digestRanges } from '../../src/lib/repository/compare/slices.js';
import { openByteCounter } from './byte-counter.js';
import { fillHistory, HISTORY_BEGIN, singleCorePool } from './history.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';

const TABLE = 'water_level_readings';
const BUCKET_SECONDS = 5_000;
const MEBIBYTE = 1024 * 1024;
const HOUR_MICROS = 3_600_000_000;

const MD5_OF_TEXTS = `
  select date_bin('${BUCKET_SECONDS} seconds', time, $1::timestamptz), count(*),
    sum(('x' || left(md5(stored::text), 16))::bit(64)::bigint)
  from ${TABLE} as stored group by 1`;

interface Figures {
  readonly whole: number[];
  readonly digestAlone: number[];
  readonly digestBoth: number[];
  readonly md5: number[];
  readonly hour: number[];
  readonly bytes: number[];
}

/** `sensorctl compare` of two equal sides with so many rows each, beside the least that the servers could do. */
export async function measureCompare({
  stage,
  rows,
  repetitions,
  onStep,
}: {
  stage: Stage;
  rows: number;
  repetitions: number;
  onStep: (text: string) => void;
}): Promise<Comparison[]> {
  const pools = [singleCorePool(stage.servers.local), singleCorePool(stage.servers.ec2)];
  try {
    await Promise.all(
      pools.map((pool) => pool.query('alter database sensor_data set max_parallel_workers_per_gather = 0')),
    );
    onStep(`filling both sides with ${rows} readings`);
    await Promise.all(pools.map((pool) => fillHistory(pool, rows)));
    const figures: Figures = { whole: [], digestAlone: [], digestBoth: [], md5: [], hour: [], bytes: [] };
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      await measureOnce(stage, pools, { rows, figures });
      onStep(`${repetition}/${repetitions} compare: ${Math.round(figures.whole.at(-1) ?? NaN)} ms`);
    }
    return conclusions(figures, rows);
  } finally {
    await Promise.all(pools.map((pool) => pool.end()));
  }
}

async function measureOnce(
  stage: Stage,
  pools: readonly pg.Pool[],
  { rows, figures }: { rows: number; figures: Figures },
): Promise<void> {
  const all = ['compare', '--all', '--table', TABLE];
  figures.whole.push(await millisecondsOf(() => compareIdentical(stage, all)));
  const alone: number[] = [];
  for (const pool of pools) alone.push(await millisecondsOf(async () => await digest(pool, rows)));
  figures.digestAlone.push(Math.max(...alone));
  figures.digestBoth.push(await millisecondsOf(() => Promise.all(pools.map((pool) => digest(pool, rows)))));
  figures.md5.push(
    await millisecondsOf(() => Promise.all(pools.map((pool) => pool.query(MD5_OF_TEXTS, [HISTORY_BEGIN])))),
  );
  const from = new Date(Date.parse(HISTORY_BEGIN) + Math.floor(rows / 2) * 1000).toISOString();
  const to = new Date(Date.parse(from) + HOUR_MICROS / 1000).toISOString();
  figures.hour.push(await millisecondsOf(() => compareIdentical(stage, ['compare', '--from', from, '--to', to])));
  figures.bytes.push((await bytesReceived(stage, all)) / MEBIBYTE);
}

/** The digest query that compare sends, as one statement. */
async function digest(pool: pg.Pool, rows: number): Promise<void> {
  const one = (await readTables(pool, [TABLE], KNOWN_AXES)).get(TABLE)!;
  const table = pairTables({ primary: one, secondary: one, known: KNOWN_TABLES.get(TABLE) });
  if (!('columns' in table)) throw new Error(table.join());
  const from = Date.parse(HISTORY_BEGIN) * 1000;
  const range = { from, to: from + rows * 1_000_000, width: BUCKET_SECONDS * 1_000_000 };
  const { text, values = [] } = digestRanges({ table, method: DIGEST_METHODS.fast, role: 'primary' }, [range]);
  await pool.query(text, [...values]);
}

async function compareIdentical(
  stage: Stage,
  args: readonly string[],
  settings: NodeJS.ProcessEnv = {},
): Promise<void> {
  const options = { cwd: stage.directory, env: { ...stage.environment, ...settings } };
  const { stdout } = await promisify(execFile)(process.execPath, [SENSORCTL, ...args, '--json'], options);
  const { verdict } = JSON.parse(stdout) as CompareReport;
  if (verdict !== 'identical') throw new Error('compare found differences between equal sides');
}

async function bytesReceived(stage: Stage, args: readonly string[]): Promise<number> {
  const { local, ec2 } = stage.servers;
  const counters = await Promise.all([openByteCounter(local), openByteCounter(ec2)]);
  const [toLocal, toEc2] = counters;
  const host = '127.0.0.1';
  await compareIdentical(stage, args, {
    ...{
      TIMESCALE_HOST: host,
      TIMESCALE_PORT: String(toLocal.port),
      EC2_DB_HOST: host,
      EC2_DB_PORT: String(toEc2.port),
    },
  });
  for (const counter of counters) counter.close();
  return toLocal.received() + toEc2.received();
}

function conclusions({ whole, digestAlone, digestBoth, md5, hour, bytes }: Figures, rows: number): Comparison[] {
  const constant = (value: number): number[] => whole.map(() => value);
  const what = `compare --all, ${rows / 1_000_000} million rows`;
  return [
    {
      what,
      unit: 'ms',
      figures: whole,
      against: 'the digest query on the slower side alone',
      peers: digestAlone,
      target: { atMost: 1.3 },
    },
    {
      what: 'of which the machine: that query on both sides at once',
      unit: 'ms',
      figures: digestBoth,
      against: 'the digest query on the slower side alone',
      peers: digestAlone,
      target: null,
    },
    {
      what,
      unit: 'ms',
      figures: whole,
      against: 'the digest query on both sides at once',
      peers: digestBoth,
      target: null,
    },
    {
      what,
      unit: 'ms',
      figures: whole,
      against: 'md5 of each row, both sides at once',
      peers: md5,
      target: { atMost: 0.5 },
    },
    {
      what: 'received when nothing differs',
      unit: 'MiB',
      figures: bytes,
      against: 'the limit',
      peers: constant(1),
      target: { atMost: 1 },
    },
    {
      what: 'compare of an hour in it',
      unit: 'ms',
      figures: hour,
      against: 'one second',
      peers: constant(1000),
      target: { atMost: 0.8 },
    },
  ];
}

async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
