import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import type pg from 'pg';

import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import { singleCorePool } from './history.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';

/** Of an application: no consumer writes it. */
const CREATE = `
  create table note (id bigint primary key, at timestamptz not null, level float8, volt float8, rssi integer, word text)`;
const FILL = `
  insert into note
  select n, '2025-07-01Z'::timestamptz + n * interval '1 second', n / 7.0, n / 3.0, n % 100, 'word ' || n
  from generate_series(1, $1::bigint) as n`;

/** As triggers enter a million statements of one row each. */
const enterSql = (names: 'keys' | 'gone'): string => `
  insert into sensorctl.ledger (table_name, state, reason, times, readings, ${names})
  select 'note', 'missed', 'written by a program', '{}', 1, jsonb_build_array(jsonb_build_array(n::text))
  from generate_series(1, $1::bigint) as n`;

interface Measure {
  readonly stage: Stage;
  readonly rows: number;
  readonly repetitions: number;
  readonly onStep: (text: string) => void;
}

/** Entries of one row each, repaired, beside a full copy of these rows: of rows that EC2 lacks, and of rows that are gone. */
export async function measureRepair({ stage, rows, repetitions, onStep }: Measure): Promise<Comparison[]> {
  const [source, target] = [singleCorePool(stage.servers.local), singleCorePool(stage.servers.ec2)];
  const count = Math.floor(rows / 5);
  const figures = { copied: [] as number[], missing: [] as number[], gone: [] as number[] };
  try {
    for (const side of [source, target]) await side.query(CREATE);
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      await source.query(FILL, [count]);
      await source.query('vacuum analyze note');
      figures.copied.push(await rateOf(count, () => backfill(stage, '--all', '--full')));
      await target.query('truncate note');
      await enter(source, 'keys', count);
      figures.missing.push(await rateOf(count, () => backfill(stage)));
      await assertRows(target, count);
      await source.query('truncate note');
      await enter(source, 'gone', count);
      figures.gone.push(await rateOf(count, () => backfill(stage)));
      await assertRows(target, 0);
      const [missing, gone] = [figures.missing.at(-1), figures.gone.at(-1)].map((rate) => Math.round(rate ?? NaN));
      onStep(`${repetition}/${repetitions} repair: ${missing} entries/s of missing rows, ${gone} of deleted ones`);
    }
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
  const what = `${count.toLocaleString('en-US')} entries of one row each repaired`;
  const peer = { unit: 'rows/s', against: 'a full copy of the rows', peers: figures.copied };
  return [
    { ...peer, what, figures: figures.missing, target: { atLeast: 0.2 } },
    { ...peer, what: `${what}, deleted rows`, figures: figures.gone, target: null },
  ];
}

async function enter(source: pg.Pool, names: 'keys' | 'gone', count: number): Promise<void> {
  await source.query(enterSql(names), [count]);
  await source.query('vacuum analyze sensorctl.ledger');
  await source.query('checkpoint');
}

async function rateOf(rows: number, work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (rows / (performance.now() - startedAt)) * 1000;
}

async function backfill(stage: Stage, ...args: string[]): Promise<void> {
  const options = { cwd: stage.directory, env: stage.environment, maxBuffer: 1 << 26 };
  const command = [SENSORCTL, 'backfill', '--table', 'note', ...args, '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, command, options);
  const { remainingGaps } = JSON.parse(stdout) as BackfillReport;
  if (remainingGaps > 0) throw new Error(`not all was repaired: ${stdout}`);
}

async function assertRows(target: pg.Pool, rows: number): Promise<void> {
  const { rows: counts } = await target.query<{ rows: number }>('select count(*)::int as rows from note');
  if (counts[0]?.rows !== rows) throw new Error(`EC2 holds ${counts[0]?.rows} rows, not ${rows}`);
}
