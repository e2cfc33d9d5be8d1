// A snapshot shows an empty table once something has given the table new files (TRUNCATE, a rewriting ALTER TABLE,
// decompress_chunk). Here that happens to local exactly between a reader's snapshot and its reading.
import { expect } from 'chai';
import type pg from 'pg';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { openDatabase, closeDatabase, type Database } from '../../src/lib/db/database.js';
import {
  assertNotRewritten,
  planRewriteCheck,
  rewriteCheck,
  type CompressionCatalog,
} from '../../src/lib/repository/tables/rewritten-tables.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { isLockTimeout } from '../../src/lib/db/sqlstate.js';
import { pause } from '../../src/lib/domain/async.js';
import type { Side } from '../../src/lib/domain/side.js';
import { RewrittenError } from '../../src/lib/errors.js';
import { silentLogger } from '../../src/lib/logger.js';
import { compare, type CompareOutcome, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { DifferenceRecord } from '../../src/lib/operations/compare/compare-report.js';
import { switchPrimary } from '../../src/lib/operations/cutover/switch.js';
import { proveUnproven } from '../../src/lib/repository/cutover/prove-unproven.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { repairMissed, type RepairOutcome } from '../../src/lib/repository/repair/repair-missed.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { PreparedPair, waterRows, WATER_SENSORS } from '../support/backfilled.js';
import { eventually, poolOf, timescaleServers } from '../support/cli.js';
import { createTestDatabase, localServer } from '../support/servers.js';

const WATER = 'water_level_readings';
const MOISTURE = 'moisture_readings';
const DAY = { from: '2025-07-01T00:00:00Z', to: '2025-07-02T00:00:00Z' };
const READINGS = 100;
/** SENSORCTL_TEST_SEED and SENSORCTL_TEST_ROUNDS take the place of these. */
const SEED = Number(process.env.SENSORCTL_TEST_SEED ?? 20_250_701);
const ROUNDS = Number(process.env.SENSORCTL_TEST_ROUNDS ?? 1);
const TURNS = 8;
const WHY = { by: 'a test', reason: null, overriddenGates: [] };
const FENCE = 'sensorctl.fence';
const LOCK_FENCE = `lock table ${FENCE} in exclusive mode`;

interface Rewriting {
  readonly name: string;
  /** Beforehand, once the rows are there. */
  readonly prepare?: string;
  readonly sql: string;
  /** A snapshot goes on seeing the rows: nothing is wrong but the file. */
  readonly harmless?: true;
}

const COMPRESSED = `
  alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id');
  select compress_chunk(c) from show_chunks('${WATER}') as c`;

/** As one transaction. */
const PLAIN: readonly Rewriting[] = [
  {
    name: 'TRUNCATE, and all rows inserted again',
    sql: `create table kept as table ${WATER}; truncate ${WATER}; insert into ${WATER} select * from kept; drop table kept`,
  },
  { name: 'an ALTER TABLE that rewrites', sql: `alter table ${WATER} alter column rssi type integer using rssi + 0` },
  { name: 'CLUSTER', sql: `cluster ${WATER} using ${WATER}_key`, harmless: true },
  {
    name: 'a copy of the table that takes its name',
    sql: `create table copied (like ${WATER} including all); insert into copied select * from ${WATER};
      alter table ${WATER} rename to kept; alter table copied rename to ${WATER}`,
  },
];

const TIMESCALE: readonly Rewriting[] = [
  {
    name: 'decompress_chunk',
    prepare: COMPRESSED,
    sql: `select decompress_chunk(c) from show_chunks('${WATER}') as c`,
  },
  {
    name: 'compress_chunk',
    prepare: `alter table ${WATER} set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id')`,
    sql: `select compress_chunk(c) from show_chunks('${WATER}') as c`,
    harmless: true,
  },
];

/** The first of each kind, in what npm test runs; all by npm run test:snapshots. */
const ALL = process.env.SENSORCTL_TEST_ALL === 'true';

/** All kinds of readers, on servers of a kind. */
function describeReaders(
  title: string,
  rewritings: readonly Rewriting[],
  servers: (hook: Mocha.Context) => Promise<Readonly<Record<Side, PostgresServer>> | undefined>,
): void {
  describe(title, () => {
    let shared: Readonly<Record<Side, PostgresServer>> | undefined;
    let pair: PreparedPair;

    before(async function () {
      shared = await servers(this);
    });

    beforeEach(async () => {
      pair = await PreparedPair.open('rewritten tables', shared === undefined ? {} : { servers: shared });
      await pair.query(WATER_SENSORS);
      await pair.here.query(waterRows(0, READINGS - 1));
    });

    afterEach(() => pair.close());

    it('a proof finds what EC2 lacks of what settled: its digests wait, and see all that is there then', async () => {
      const [first] = rewritings;
      await prepare(pair, first!);
      await pair.here.query(
        'insert into sensorctl.unproven (table_name, times) values ($1, tstzmultirange(tstzrange($2, $3)))',
        [WATER, DAY.from, DAY.to],
      );
      const release = await beginRewriting(pair, first!);
      const sides = { primary: pair.local, secondary: pair.ec2 };
      const proof = await proveUnproven(sides, new AbortController().signal, { settleMs: 0 }).finally(release);
      expect([...proof.differing.keys()]).to.deep.equal([WATER]);
      expect(proof.rows).to.equal(READINGS);
    });

    it('a target that is emptied before it is looked at counts as verified only with what it holds then', async () => {
      await pair.there.query(waterRows(0, READINGS - 1));
      const { client } = await pair.openSession('ec2');
      await client.query(`begin; truncate ${WATER}`);
      const running = pair.backfill({ mode: 'full', tables: [WATER], jobs: 1 });
      running.catch(() => undefined);
      await eventually('the emptying is waited for', () => isAwaited(pair.there));
      await client.query('commit');
      expect(await running).to.include({ rowsCopied: READINGS, rowsInserted: READINGS, verified: READINGS });
      await expectAllOnEc2(pair);
    });

    for (const rewriting of ALL ? rewritings : rewritings.slice(0, 1)) {
      const { name } = rewriting;

      it(`a repair brings all that its entry names, and then settles it: ${name}`, async () => {
        await prepare(pair, rewriting);
        await pair.miss(WATER, DAY.from, DAY.to);
        const repaired = await whileFenced(pair, rewriting, () => repair(pair));
        expect(repaired).to.include({ entries: 1, copied: READINGS, inserted: READINGS, refused: 0 });
        await expectAllOnEc2(pair);
        expect(await pair.ledger()).to.deep.equal([]);
      });

      if (rewriting.harmless) continue;

      for (const way of ['straight into the table', 'through staging']) {
        it(`a unit copied ${way} brings all of its range, and counts as verified then: ${name}`, async () => {
          await prepare(pair, rewriting);
          if (way === 'through staging') await pair.there.query(waterRows(0, 0));
          const copied = await whileFenced(pair, rewriting, () =>
            pair.backfill({ mode: 'full', tables: [WATER], jobs: 1 }),
          );
          const inserted = way === 'through staging' ? READINGS - 1 : READINGS;
          expect(copied).to.include({ rowsCopied: READINGS, rowsInserted: inserted, verified: READINGS, rowsExtra: 0 });
          await expectAllOnEc2(pair);
        });
      }

      for (const window of [null, DAY]) {
        it(`a comparison of ${window === null ? 'everything' : 'a window'} names what EC2 lacks: ${name}`, async () => {
          await prepare(pair, rewriting);
          await pair.there.query(waterRows(0, READINGS - 1));
          await pair.there.query(`delete from ${WATER} where sensor_id = 'AWD-3'`);
          const { report, found } = await compareBeside(pair, rewriting, window);
          const lost = found.filter(({ table }) => table === WATER);
          expect(lost.map(({ kind }) => kind)).to.deep.equal(Array(14).fill('missing on ec2'));
          expect(report.tables.find(({ table }) => table === WATER)).to.include({
            ...{ missingOnEc2: 14, missingOnLocal: 0, different: 0, unexplained: 14 },
          });
        });
      }

      it(`a switch drains what was missed, and goes through: ${name}`, async () => {
        await prepare(pair, rewriting);
        const one = await recordFirstPhase(pair.local, WHY);
        const state = await changePhase(pair.local, one, { ...WHY, phase: 2 });
        await copyRecord(pair.ec2, state);
        let release = (): Promise<void> => Promise.resolve();
        const { state: changed } = await switchPrimary({
          ...{
            from: pair.local,
            to: pair.ec2,
            state,
            targetPhase: 3,
            keepLocalCurrent: false,
            endWriters: false,
            why: WHY,
          },
          ...{ maxPauseMs: 30_000, force: false, stop: new AbortController().signal, logger: silentLogger },
          onStep: async (step) => {
            if (step !== 'drain') return;
            await pair.miss(WATER, DAY.from, DAY.to);
            release = await beginRewriting(pair, rewriting);
          },
        }).finally(() => release());
        expect(changed.primary).to.equal('ec2');
        await expectAllOnEc2(pair);
        expect(await pair.ledger()).to.deep.equal([]);
      });
    }
  });
}

describe('local is rewritten between the snapshot of a reader and what it reads', () => {
  describeReaders('on plain PostgreSQL', PLAIN, () => Promise.resolve(undefined));
  describeReaders('on TimescaleDB', TIMESCALE, async (hook) => await timescaleServers(hook));
});

async function prepare(pair: PreparedPair, { prepare: sql }: Rewriting): Promise<void> {
  if (sql !== undefined) await pair.here.query(sql);
}

async function repair(pair: PreparedPair): Promise<RepairOutcome> {
  return await repairMissed({ primary: pair.local, secondary: pair.ec2, states: ['missed'], entries: 10 });
}

async function expectAllOnEc2(pair: PreparedPair): Promise<void> {
  const { local, ec2 } = await pair.contents();
  expect(local[WATER]).to.have.length(READINGS);
  expect(ec2[WATER]).to.deep.equal(local[WATER]);
}

/** Rewrites local while the work has its snapshot and waits for the fence. */
async function whileFenced<Result>(
  pair: PreparedPair,
  { sql }: Rewriting,
  work: () => Promise<Result>,
): Promise<Result> {
  const fence = await pair.openSession('local');
  await fence.client.query(`begin; ${LOCK_FENCE}`);
  const running = work();
  running.catch(() => undefined);
  await eventually('the fence is waited for', () => isAwaited(pair.here, FENCE));
  await pair.here.query(sql);
  await fence.client.query('commit');
  return await running;
}

/** Rewrites local in a transaction that stays open until somebody waits for it; answers what waits for its end. */
async function beginRewriting(pair: PreparedPair, { sql }: Rewriting): Promise<() => Promise<void>> {
  const { client } = await pair.openSession('local');
  await client.query(`begin; ${sql}`);
  const ended = eventually('the rewriting is waited for', () => isAwaited(pair.here)).then(() =>
    client.query('commit'),
  );
  ended.catch(() => undefined);
  return async () => {
    await ended;
  };
}

/** Whether somebody waits for a lock on the table, or on any. */
async function isAwaited(pool: pg.Pool, table: string | null = null): Promise<boolean> {
  const { rowCount } = await pool.query(
    `select from pg_locks where not granted and locktype = 'relation' and ($1::regclass is null or relation = $1)
      and database = (select oid from pg_database where datname = current_database())`,
    [table],
  );
  return (rowCount ?? 0) > 0;
}

function requestOf(tables: readonly string[], window: typeof DAY | null): CompareRequest {
  const [from, to] = window === null ? [null, null] : [Date.parse(window.from) * 1000, Date.parse(window.to) * 1000];
  return {
    ...{ tables, from, to, windowMicros: null, bucketMicros: null, settleMs: 0, jobs: 1, limit: 100, resume: false },
  };
}

/** Rewrites local once its digests are compared: a difference in another table is named then, and the comparison waits. */
async function compareBeside(
  pair: PreparedPair,
  rewriting: Rewriting,
  window: { readonly from: string; readonly to: string } | null,
): Promise<CompareOutcome & { readonly found: readonly DifferenceRecord[] }> {
  await pair.here.query(`
    insert into sensor_registry (sensor_id, sensor_type) values ('M', 'moisture') on conflict do nothing;
    insert into ${MOISTURE} (time, sensor_id) values ('${DAY.from}', 'M')`);
  const found: DifferenceRecord[] = [];
  let release: (() => Promise<void>) | undefined;
  const outcome = await compare({ primary: pair.local, secondary: pair.ec2 }, requestOf([MOISTURE, WATER], window), {
    stop: new AbortController().signal,
    onProgress: () => undefined,
    onDifference: async (difference) => {
      found.push(difference);
      release ??= await beginRewriting(pair, rewriting);
    },
  }).finally(() => release?.());
  return { ...outcome, found };
}

describe('local that is rewritten again and again', function () {
  this.timeout(180_000);
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('rewritten again');
    await pair.query(WATER_SENSORS);
  });

  afterEach(() => pair.close());

  it('ends a repair with an error that says which table, what happened to it, and what to do; the ledger is as it was', async () => {
    await pair.here.query(waterRows(0, READINGS - 1));
    await pair.miss(WATER, DAY.from, DAY.to);
    const { outcome, rewritten } = await whileRewrittenAtEachTry(pair, () => repair(pair));
    expect(outcome).to.be.instanceOf(RewrittenError);
    const { message } = outcome as RewrittenError;
    expect(message).to.equal(`${WATER} on local changed its files while it was read: ${WATER} was rewritten`);
    expect(nextStepFor(outcome)).to.contain(`find what rewrites ${WATER}`).and.contain('repeat the command');
    expect(rewritten).to.be.within(2, 20);
    expect((await pair.there.query(`select from ${WATER}`)).rowCount).to.equal(0);
    expect((await pair.ledger()).map(({ state }) => state)).to.deep.equal(['missed']);
    expect(await repair(pair)).to.include({ entries: 1, inserted: READINGS });
  });

  it(`of random kinds, beside repairs and comparisons: nothing is settled unbrought, nothing called equal or lost that is not`, async () => {
    for (let seed = SEED; seed < SEED + ROUNDS; seed += 1) {
      await rewriteAtRandom(pair, createRandom(seed)).catch((error: unknown) => {
        (error as Error).message += `\nSENSORCTL_TEST_SEED=${seed} SENSORCTL_TEST_ROUNDS=1`;
        throw error;
      });
      await pair.query(`truncate ${WATER}, sensorctl.unproven`);
    }
  });
});

/** Rewrites local whenever the work waits for the fence, which two sessions hold in turn; answers what it returned or threw. */
async function whileRewrittenAtEachTry(
  pair: PreparedPair,
  work: () => Promise<unknown>,
): Promise<{ outcome: unknown; rewritten: number }> {
  const sessions = [await pair.openSession('local'), await pair.openSession('local')];
  const waiting = async (mode: string): Promise<boolean> => {
    const { rowCount } = await pair.here.query(
      `select from pg_locks where relation = '${FENCE}'::regclass and mode = $1 and not granted
        and database = (select oid from pg_database where datname = current_database())`,
      [mode],
    );
    return (rowCount ?? 0) > 0;
  };
  let rewritten = 0;
  await sessions[0]!.client.query(`begin; ${LOCK_FENCE}`);
  const ended = new AbortController();
  const running = work()
    .catch((error: unknown) => error)
    .finally(() => {
      ended.abort();
    });
  const isTried = async (): Promise<boolean> => {
    await eventually('the fence is waited for, or the work is over', async () => {
      return ended.signal.aborted || (await waiting('RowExclusiveLock'));
    });
    return !ended.signal.aborted;
  };
  while (await isTried()) {
    await pair.here.query(`truncate ${WATER}; ${waterRows(0, READINGS - 1)}`);
    rewritten += 1;
    const next = sessions[1]!.client.query(`begin; ${LOCK_FENCE}`);
    await eventually('the other session is next', () => waiting('ExclusiveLock'));
    await sessions[0]!.client.query('commit');
    await next;
    sessions.reverse();
  }
  await sessions[0]!.client.query('commit');
  return { outcome: await running, rewritten };
}

/** As they run beside what reads; each keeps all rows. */
const RANDOM_REWRITINGS = [
  `begin; create table kept as table ${WATER}; truncate ${WATER}; insert into ${WATER} select * from kept; drop table kept; commit`,
  `alter table ${WATER} alter column rssi type integer using rssi + 0`,
  `cluster ${WATER} using ${WATER}_key`,
  `vacuum full ${WATER}`,
  `analyze ${WATER}`,
];

/** One row is missing on EC2 that no entry names, one is extra there: every comparison has to name these two. */
async function rewriteAtRandom(pair: PreparedPair, random: () => number): Promise<void> {
  await pair.query(waterRows(0, READINGS - 1));
  await pair.here.query(`insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-02T01:00:00Z', 'LOST', 1)`);
  await pair.there.query(
    `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-02T02:00:00Z', 'EXTRA', 1)`,
  );
  const rewriter = startRewriting(pair, random);
  try {
    for (let turn = 1; turn <= TURNS; turn += 1) {
      const [first, last] = [turn * READINGS, turn * READINGS + Math.floor(random() * READINGS)];
      await retryRewritten(() => pair.here.query(waterRows(first, last)));
      await pair.miss(WATER, DAY.from, '2025-07-02T00:30:00Z');
      const [found] = await Promise.all([
        retryRewritten(() => compareWater(pair)),
        retryRewritten(async () => {
          while ((await pair.ledger()).length > 0) await repair(pair);
        }),
      ]);
      const { rows } = await pair.there.query<{ rows: number }>(
        `select count(*)::int as rows from ${WATER} where sensor_id like 'AWD%'`,
      );
      const all = await pair.here.query<{ rows: number }>(
        `select count(*)::int as rows from ${WATER} where sensor_id like 'AWD%'`,
      );
      expect(rows[0]!.rows, 'rows on EC2 once the ledger is empty').to.equal(all.rows[0]!.rows);
      const named = found.filter((each) => !(each.kind === 'missing on ec2' && each.class === 'known gap'));
      expect(named.map(({ kind, key }) => `${kind} ${String(key.sensor_id)}`).sort()).to.deep.equal([
        'missing on ec2 LOST',
        'missing on local EXTRA',
      ]);
    }
  } finally {
    expect(await rewriter.stop(), 'rewritings').to.be.greaterThan(0);
  }
}

/** Gives way to readers: a comparison reads through two sessions, and would wait for itself behind a lock that waits. */
function startRewriting(pair: PreparedPair, random: () => number): { stop: () => Promise<number> } {
  const stop = new AbortController();
  const rewriteUntilStopped = async (): Promise<number> => {
    const { client } = await pair.openSession('local');
    await client.query("set lock_timeout = '50ms'");
    for (let times = 0; ;) {
      if (stop.signal.aborted) return times;
      const sql = RANDOM_REWRITINGS[Math.floor(random() * RANDOM_REWRITINGS.length)]!;
      await client.query(sql).then(
        () => (times += 1),
        async (error: unknown) => {
          if (!isLockTimeout(error)) throw error;
          await client.query('rollback');
        },
      );
      await pause(random() * 100, stop.signal);
    }
  };
  const rewriting = rewriteUntilStopped();
  rewriting.catch(() => undefined);
  return {
    stop: async () => {
      stop.abort();
      return await rewriting;
    },
  };
}

/** Under rewriting without a pause a reader may give up, which it says; what it says besides has to be true. */
async function retryRewritten<Result>(work: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RewrittenError)) throw error;
    }
  }
}

async function compareWater(pair: PreparedPair): Promise<readonly DifferenceRecord[]> {
  const found: DifferenceRecord[] = [];
  await compare({ primary: pair.local, secondary: pair.ec2 }, requestOf([WATER], null), {
    stop: new AbortController().signal,
    onProgress: () => undefined,
    onDifference: (difference) => {
      found.push(difference);
      return Promise.resolve();
    },
  });
  return found;
}

/** What a snapshot is asked about, and whether it may have lost rows by it (or cannot be told from what may have). */
interface Change {
  readonly name: string;
  readonly setup: string;
  readonly sql: readonly string[];
  readonly begins: boolean;
}

const FILL = `
  insert into readings select '2025-07-01'::timestamptz + n * interval '1 minute', 's' || n % 3, n from generate_series(0, 2999) as n`;
const COLUMNS = '(time timestamptz not null, sensor_id text not null, level int, primary key (sensor_id, time))';
const ORDINARY = `create table readings ${COLUMNS}; ${FILL}`;
const PARTITIONED = `
  create table readings ${COLUMNS} partition by range (time);
  create table first_day partition of readings for values from ('2025-07-01') to ('2025-07-02');
  create table later partition of readings for values from ('2025-07-02') to ('2025-08-01'); ${FILL}`;
const HYPERTABLE = `
  create table readings ${COLUMNS};
  select create_hypertable('readings', 'time', chunk_time_interval => interval '1 day'); ${FILL}`;
const COLUMNSTORE = `${HYPERTABLE};
  alter table readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id')`;
const ALL_COMPRESSED = `${COLUMNSTORE}; select compress_chunk(c) from show_chunks('readings') as c`;
const FIRST_CHUNK = '_timescaledb_internal._hyper_1_1_chunk';

const ORDINARY_CHANGES: readonly Change[] = [
  { name: 'TRUNCATE', setup: ORDINARY, sql: ['truncate readings'], begins: true },
  { name: 'a rewriting ALTER', setup: ORDINARY, sql: ['alter table readings alter level type bigint'], begins: true },
  { name: 'VACUUM FULL', setup: ORDINARY, sql: ['vacuum full readings'], begins: true },
  { name: 'SET UNLOGGED', setup: ORDINARY, sql: ['alter table readings set unlogged'], begins: true },
  {
    name: 'a table made anew under its name',
    setup: ORDINARY,
    sql: ['create table kept as table readings; drop table readings; alter table kept rename to readings'],
    begins: true,
  },
  {
    name: 'a table that was there already, and takes its name',
    setup: `${ORDINARY}; create table copied (like readings)`,
    sql: ['alter table readings rename to kept; alter table copied rename to readings'],
    begins: true,
  },
  { name: 'a partition emptied', setup: PARTITIONED, sql: ['truncate first_day'], begins: true },
  { name: 'a partition dropped', setup: PARTITIONED, sql: ['drop table first_day'], begins: true },
  {
    name: 'a partition cut in two by hand',
    setup: PARTITIONED,
    sql: [
      `begin; alter table readings detach partition first_day;
       create table morning partition of readings for values from ('2025-07-01') to ('2025-07-01 12:00');
       create table evening partition of readings for values from ('2025-07-01 12:00') to ('2025-07-02');
       insert into readings select * from first_day; commit`,
    ],
    begins: true,
  },
  {
    name: 'what leaves the rows alone: a column, an index, statistics, a new partition, rows',
    setup: PARTITIONED,
    sql: [
      `alter table readings add column note text default 'none'; create index on readings (level); analyze readings;
       create table august partition of readings for values from ('2025-08-01') to ('2025-09-01');
       insert into readings values ('2025-08-01', 'new', 1); delete from readings where level < 10`,
      'vacuum readings',
    ],
    begins: false,
  },
];

const TIMESCALE_CHANGES: readonly Change[] = [
  { name: 'decompress_chunk', setup: ALL_COMPRESSED, sql: [`select decompress_chunk('${FIRST_CHUNK}')`], begins: true },
  { name: 'compress_chunk', setup: COLUMNSTORE, sql: [`select compress_chunk('${FIRST_CHUNK}')`], begins: true },
  {
    name: 'compress_chunk with recompress',
    setup: ALL_COMPRESSED,
    sql: [`select compress_chunk('${FIRST_CHUNK}', recompress => true)`],
    begins: true,
  },
  {
    name: 'rebuild_columnstore',
    setup: ALL_COMPRESSED,
    sql: [`call _timescaledb_functions.rebuild_columnstore('${FIRST_CHUNK}')`],
    begins: true,
  },
  {
    name: 'compress_chunk that merges chunks',
    setup: `${HYPERTABLE}; alter table readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id',
      timescaledb.compress_chunk_time_interval = '7 days')`,
    sql: ["select compress_chunk(c) from show_chunks('readings') as c"],
    begins: true,
  },
  {
    name: 'merge_chunks',
    setup: HYPERTABLE,
    sql: [`call merge_chunks('${FIRST_CHUNK}', '_timescaledb_internal._hyper_1_2_chunk')`],
    begins: true,
  },
  { name: 'split_chunk', setup: HYPERTABLE, sql: [`call split_chunk('${FIRST_CHUNK}')`], begins: true },
  {
    name: 'drop_chunks',
    setup: HYPERTABLE,
    sql: ["select drop_chunks('readings', '2025-07-02'::timestamptz)"],
    begins: true,
  },
  { name: 'a chunk emptied', setup: HYPERTABLE, sql: [`truncate ${FIRST_CHUNK}`], begins: true },
  { name: 'TRUNCATE of compressed chunks', setup: ALL_COMPRESSED, sql: ['truncate readings'], begins: true },
  {
    name: 'reorder_chunk',
    setup: HYPERTABLE,
    sql: [`select reorder_chunk('${FIRST_CHUNK}', 'readings_pkey')`],
    begins: true,
  },
  {
    name: 'what leaves the rows alone: a new chunk, rows in compressed ones, segments compressed again, another table',
    setup: `${ALL_COMPRESSED}; create table others ${COLUMNS}; select create_hypertable('others', 'time');
      insert into others values ('2025-07-01', 'o', 1); alter table others set (timescaledb.compress)`,
    sql: [
      `insert into readings values ('2025-09-01', 'new', 1), ('2025-07-01 00:00:30', 's1', 1);
       update readings set level = -1 where sensor_id = 's1' and time < '2025-07-01 05:00'`,
      `select _timescaledb_functions.recompress_chunk_segmentwise('${FIRST_CHUNK}', true)`,
      "select compress_chunk(c) from show_chunks('others') as c",
      "select decompress_chunk(c) from show_chunks('others') as c",
    ],
    begins: false,
  },
];

describe('a snapshot asked whether it shows a table as it was', () => {
  for (const change of ORDINARY_CHANGES) {
    it(`${change.begins ? 'has to begin again after' : 'goes on after'} ${change.name}`, async () => {
      await expectAnswer(await localServer(), change, 'none');
    });
  }

  describe('with TimescaleDB', () => {
    let server: PostgresServer;

    before(async function () {
      ({ local: server } = await timescaleServers(this));
    });

    for (const catalog of ['settings', 'chunk'] as const) {
      // The older catalog names the same tables: asked about those of compressed chunks.
      const changes = TIMESCALE_CHANGES.filter(
        ({ setup }) => catalog === 'settings' || setup.startsWith(ALL_COMPRESSED),
      );
      for (const change of changes) {
        const what = change.begins ? 'has to begin again after' : 'goes on after';
        it(`${what} ${change.name} (by the catalog ${catalog})`, async () => {
          await expectAnswer(server, change, catalog);
        });
      }
    }

    for (const change of ORDINARY_CHANGES.filter(({ setup }) => setup === PARTITIONED)) {
      it(`${change.begins ? 'has to begin again after' : 'goes on after'} ${change.name}, on its PostgreSQL too`, async () => {
        await expectAnswer(server, change, 'settings');
      });
    }
  });
});

const ASKED = [{ name: { schema: 'public', name: 'readings' } }];

async function expectAnswer(server: PostgresServer, change: Change, catalog: CompressionCatalog): Promise<void> {
  const created = await createTestDatabase(server, 'asked snapshot');
  const pool = poolOf(server, created.name);
  const database = openOn(server, created.name);
  try {
    if (catalog !== 'none') await pool.query('create extension timescaledb');
    await pool.query(change.setup);
    expect(await planRewriteCheck(database, ASKED), 'the catalog that is found').to.deep.equal(
      rewriteCheck(catalog === 'none' ? 'none' : 'settings', ASKED),
    );
    const check = rewriteCheck(catalog, ASKED);
    const snapshot = await database.openSession();
    await snapshot.query('begin isolation level repeatable read');
    const { rowCount: before } = await snapshot.query('select from public.readings');
    await snapshot.query('rollback');
    await snapshot.query('begin isolation level repeatable read');
    await snapshot.query('select');
    for (const sql of change.sql) await pool.query(sql);
    const { rowCount: seen } = await snapshot.query('select from public.readings');
    const error = await assertNotRewritten(snapshot, database, check).catch((each: unknown) => each);
    await snapshot.end();
    if (change.begins) {
      expect(error).to.be.instanceOf(RewrittenError);
      expect((error as Error).message).to.match(/^readings on local changed its files while it was read: \S+ was /);
    } else {
      expect(error).to.equal(undefined);
      expect(seen, 'rows seen').to.equal(before);
    }
  } finally {
    await closeDatabase(database);
    await pool.end();
    await created.drop();
  }
}

function openOn({ host, port, user, password }: PostgresServer, name: string): Database {
  return openDatabase({
    side: 'local',
    connection: { host, port, user, password, database: name, sslMode: 'disable', sslRootCert: undefined },
    ...{ poolMax: 2, callTimeoutMs: 20_000, applicationName: 'test' },
  });
}
