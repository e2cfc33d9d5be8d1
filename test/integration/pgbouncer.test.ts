// EC2 behind a real PgBouncer, which hands on sessions (pool_mode) as it is told.
import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { asUnreachable, closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { silentLogger } from '../../src/lib/logger.js';
import { backfill } from '../../src/lib/operations/backfill/backfill.js';
import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import { PreparedPair, waterRows, WATER_SENSORS } from '../support/backfilled.js';
import { skipSuite, timescaleServers } from '../support/cli.js';
import { findPgBouncer, startPgBouncer, type PgBouncer, type PoolMode } from '../support/pgbouncer.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';

const WATER = 'water_level_readings';

describe('EC2 behind PgBouncer', function () {
  this.timeout(60_000);
  let program: string;
  let server: PostgresServer;
  let pair: PreparedPair | undefined;
  let pooler: PgBouncer | undefined;
  const opened: Database[] = [];

  before(async function () {
    const servers = await timescaleServers(this);
    program = (await findPgBouncer()) ?? skipSuite(this, 'no pgbouncer found');
    server = servers.ec2;
    pair = await PreparedPair.open('pgbouncer', { servers });
    await pair.here.query(`${WATER_SENSORS}; ${waterRows(0, 5_000)}`);
    await pair.there.query(`select add_retention_policy('${WATER}', interval '90 years');
      alter table ${WATER} set (timescaledb.compress); select add_compression_policy('${WATER}', interval '80 years')`);
  });

  afterEach(async () => {
    await Promise.all(opened.splice(0).map(closeDatabase));
    await pooler?.stop();
    pooler = undefined;
  });

  after(() => pair?.close());

  async function start(mode: PoolMode, settings: Readonly<Record<string, string>> = {}): Promise<void> {
    pooler = await startPgBouncer(program, server, { pool_mode: mode, default_pool_size: '60', ...settings });
  }

  function open(): Database {
    const { connection } = pair!.ec2;
    const { host, port } = pooler!;
    const database = openDatabase({
      ...{ side: 'ec2', connection: { ...connection, host, port }, poolMax: 6, callTimeoutMs: 15_000 },
      applicationName: 'test',
    });
    opened.push(database);
    return database;
  }

  async function run(): Promise<BackfillReport> {
    return await backfill(
      { local: pair!.local, ec2: open() },
      {
        ...{ mode: 'full', from: null, to: null, windowMicros: null, tables: [] },
        ...{ jobs: 2, maxRate: null, prune: false, target: 'ec2', primary: 'local' },
      },
      {
        ...{ stop: new AbortController().signal, logger: silentLogger },
        ...{ onPlan: () => undefined, onProgress: () => undefined },
      },
    );
  }

  async function policiesOff(): Promise<number> {
    const { rows } = await pair!.there.query<{ n: number }>(
      "select count(*)::int as n from timescaledb_information.jobs where proc_name like 'policy%' and hypertable_name is not null and not scheduled",
    );
    return rows[0]!.n;
  }

  it('gets sessions as asked for in session mode, without any setting for startup parameters', async () => {
    await start('session');
    const ec2 = open();
    const times = Array.from({ length: 4 }, async () => {
      const { rows } = await ec2.pool.query<{ settings: string }>(
        "select current_setting('TimeZone') || ' ' || current_setting('statement_timeout') as settings, pg_sleep(0.1)",
      );
      return rows[0]?.settings;
    });
    expect(await Promise.all(times)).to.deep.equal(Array.from({ length: 4 }, () => 'UTC 12s'));
    // A session that PgBouncer has reset is as good as a new one.
    await closeDatabase(opened.pop()!);
    await open().pool.query('select');
  });

  it('takes three backfills at once in session mode, which leave every policy as it was', async () => {
    await start('session');
    const reports = await Promise.all([run(), run(), run()]);
    expect(reports.reduce((sum, { rowsInserted }) => sum + rowsInserted, 0)).to.be.at.least(5_001);
    expect(await policiesOff()).to.equal(0);
    const { local, ec2 } = await pair!.contents();
    expect(ec2).to.deep.equal(local);
  });

  for (const mode of ['transaction', 'statement'] as const) {
    it(`is refused in ${mode} mode, by name from the second client of a session on, and no policy is left switched off`, async () => {
      await start(mode);
      // The first client of a fresh session cannot know that others will have it, and fails at what it then lacks.
      const first = await Promise.allSettled([run(), run(), run()]);
      expect(first.map(({ status }) => status)).to.deep.equal(['rejected', 'rejected', 'rejected']);
      const outcomes = await Promise.allSettled([run(), run(), run()]);
      for (const outcome of outcomes) {
        expect(outcome.status).to.equal('rejected');
        const reason = (outcome as PromiseRejectedResult).reason as Error;
        expect(reason.message).to.match(/one session to several clients|08P01/);
        expect(nextStepFor(reason)).to.contain('docs/settings.md');
      }
      expect(await policiesOff()).to.equal(0);
    });
  }

  it('is told from PostgreSQL where it refuses a client by itself', async () => {
    await start('session', { auth_type: 'trust' });
    const ec2 = open();
    const error = await ec2.pool.query('select').then(
      () => null,
      (failure: unknown) => asUnreachable(failure, ec2),
    );
    expect(error?.message).to.contain('08P01');
    expect(nextStepFor(error)).to.contain('a pooler such as PgBouncer');
  });
});
