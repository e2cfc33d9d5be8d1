// A backfill on TimescaleDB while retention goes on: what local has dropped for its age is not extra on EC2.
import { expect } from 'chai';
import { PreparedPair } from '../support/backfilled.js';
import { timescaleServers } from '../support/cli.js';

const WATER = 'water_level_readings';
const KEPT_DAYS = 8;
/** Every hour from twenty days ago to a day ago, of one sensor. */
const FILL = (until: string): string => `
  insert into ${WATER} (time, sensor_id, level_cm)
  select timestamptz '${until}' - step * interval '1 hour', 'AWD-1', 7 from generate_series(0, 19 * 24) as step`;

describe('backfill beside retention', () => {
  let pair: PreparedPair | undefined;

  before(async function () {
    pair = await PreparedPair.open('backfill retention', { servers: await timescaleServers(this) });
  });

  after(() => pair?.close());

  afterEach(async () => {
    await pair?.query(`
      select remove_retention_policy('${WATER}', if_exists => true);
      truncate ${WATER}, sensorctl.quarantine, sensorctl.backfill, sensorctl.backfill_unit`);
  });

  for (const [form, prune] of [
    ['drop_after', true],
    ['drop_after', false],
    ['drop_created_before', true],
    ['drop_created_before', false],
  ] as const) {
    const what = prune ? 'prunes' : 'counts as extra';
    it(`${what} nothing that local dropped (${form}) after the run was planned, and everything else that only EC2 has`, async () => {
      await pair!.query(FILL(await yesterday()));
      await pair!.there.query(`
        insert into ${WATER} (time, sensor_id, level_cm)
        select '${await yesterday()}'::timestamptz + step * interval '1 minute', 'ONLY-THERE', 1 from generate_series(1, 3) as step`);
      const stop = new AbortController();
      const interrupted = await pair!
        .backfill({ mode: 'full', prune }, { stop: stop.signal, onPlan: () => stop.abort() })
        .catch((error: unknown) => (error as Error).name);
      expect(interrupted).to.equal('InterruptedError');
      await dropOldOnLocal(form);
      const before = await countOnEc2();
      const report = await pair!.backfill({ mode: 'full', prune });
      expect(report).to.include(prune ? { rowsPruned: 3, rowsExtra: 0 } : { rowsPruned: 0, rowsExtra: 3 });
      expect(await countOnEc2()).to.equal(before - (prune ? 3 : 0));
      const kept = await pair!.there.query('select from sensorctl.quarantine');
      expect(kept.rowCount).to.equal(prune ? 3 : 0);
    });
  }

  async function yesterday(): Promise<string> {
    const { rows } = await pair!.here.query<{ time: string }>(
      "select date_trunc('hour', now() - interval '1 day')::text as time",
    );
    return rows[0]!.time;
  }

  /** By a policy that was not there when the run was planned, as its job would. */
  async function dropOldOnLocal(form: 'drop_after' | 'drop_created_before'): Promise<void> {
    await createdWhenTheyBegin();
    const { rows } = await pair!.here.query<{ id: number }>(`
      select add_retention_policy('${WATER}', ${form} => interval '${KEPT_DAYS} days', schedule_interval => interval '100 years',
        initial_start => '2100-01-01') as id`);
    await pair!.here.query(`call run_job(${rows[0]!.id})`);
    const { rowCount } = await pair!.here.query(
      `select from ${WATER} where time < now() - interval '${KEPT_DAYS + 1} days'`,
    );
    expect(rowCount, 'what local still holds').to.equal(0);
  }

  /** As if local had written each row at its time. */
  async function createdWhenTheyBegin(): Promise<void> {
    await pair!.here.query(`
      update _timescaledb_catalog.chunk set creation_time = range_start
      from timescaledb_information.chunks where chunk_name = table_name and hypertable_name = '${WATER}'`);
  }

  async function countOnEc2(): Promise<number> {
    return (await pair!.there.query(`select from ${WATER}`)).rowCount ?? 0;
  }
});
