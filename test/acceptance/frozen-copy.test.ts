// A process that is frozen in the middle of a COPY into an EC2 without unique keys, where it has its table for itself: the
// server ends it for nobody's timeout, so whoever is held up by it does.
import { expect } from 'chai';
import { from as copyFrom } from 'pg-copy-streams';
import { describeFault } from '../../src/lib/db/sqlstate.js';
import { account } from '../chaos/invariants.js';
import { ChaosStage } from '../chaos/stage.js';
import { Ahead } from '../support/ahead.js';
import { PreparedPair, waterRows } from '../support/backfilled.js';
import { eventually, runCli, startCli, type RunningCli } from '../support/cli.js';
import { shareServers } from '../support/shared-servers.js';
import { STALLS_SOON, timesOf } from '../support/times.js';

const COPYING = `
  from pg_stat_activity
  where datname = current_database() and query ilike 'copy %' and state = 'active' and wait_event = 'ClientRead'`;
const STALLED_MS = STALLS_SOON.stalledCopyMs;
/** Far more than it takes; nothing ends such a copy unless somebody does. */
const WITHIN_MS = 60_000;

describe('a COPY that is frozen on an EC2 without unique keys', function () {
  this.timeout(200_000); // it takes seconds where the machine is free
  this.slow(60_000);
  const ahead = new Ahead();
  const servers = shareServers(() => ahead.end());

  /** A consumer frozen in its repair, and a batch that was missed since; whatever `repair` does brings all of it. */
  function scenario(title: string, repair: (stage: ChaosStage) => Promise<void>): void {
    ahead.it(title, async () => {
      const stage = await ChaosStage.open(servers(), { settings: timesOf(STALLS_SOON) });
      try {
        await stage.dropKeysOfEc2();
        const bodies = [...weather(20, 7), ...weather(20, 8)];
        await stage.send(bodies.slice(0, 1));
        await stage.drain();
        await stage.send(bodies.slice(1, 20));
        await stage.drain(['--no-dual-write']);
        const frozen = await freezeInCopy(stage);
        await stage.send(bodies.slice(20));
        await stage.drain(['--no-dual-write']);
        await eventually('the copy counts as stalled', () => hasCopiedFor(stage, STALLED_MS), 20 * STALLED_MS);
        await repair(stage);
        expect(await account(stage, bodies), 'after the repair').to.deep.equal([]);
        frozen.kill('SIGCONT');
        await frozen.printed('repair failed, trying again later');
        frozen.kill('SIGTERM');
        expect((await frozen.wait()).code).to.equal(0);
        expect(await account(stage, bodies), 'after the thaw').to.deep.equal([]);
      } catch (error) {
        (error as Error).message += `\n${stage.readLogs()}`;
        throw error;
      } finally {
        await stage.close();
      }
    });
  }

  scenario('is ended by a backfill that the frozen one holds up', async (stage) => {
    const options = { settings: stage.settings, timeoutMs: WITHIN_MS };
    const { code, stdout, stderr } = await runCli(['backfill', '--json'], options);
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ remainingGaps: 0 });
  });

  scenario('is ended by a consumer that the frozen one holds up in its own repair', async (stage) => {
    await stage.consume();
    const settled = async (): Promise<boolean> =>
      (await stage.local.query('select from sensorctl.ledger')).rowCount === 0;
    await eventually('the ledger is empty', settled, WITHIN_MS);
  });

  ahead.it('is ended by a backfill of a range', async () => {
    const pair = await PreparedPair.open('frozen copy');
    try {
      await pair.dropKeys();
      await pair.here.query(waterRows(0, 99));
      const { client: frozen } = await pair.openSession('ec2');
      await frozen.query(`
        begin; create temp table staging (like water_level_readings) on commit drop;
        insert into sensorctl.repair_turn values ('water_level_readings')`);
      const copy = frozen.query(copyFrom('copy staging from stdin'));
      const errors: string[] = [];
      copy.on('error', (error) => errors.push(describeFault(error)));
      const isStalled = async (): Promise<boolean> =>
        (await pair.there.query(`select ${COPYING} and ${hasRunFor(STALLED_MS)}`)).rowCount === 1;
      await eventually('the copy counts as stalled', isStalled, 20 * STALLED_MS);
      const settings = { ...pair.settings, ...timesOf(STALLS_SOON) };
      const { code, stdout, stderr } = await runCli(['backfill', '--all', '--full', '--json'], {
        ...{ settings, timeoutMs: WITHIN_MS },
      });
      expect(code, stderr).to.equal(0);
      expect(JSON.parse(stdout)).to.include({ rowsInserted: 100 });
      await eventually('its session is ended', () => Promise.resolve(errors.some((each) => each.includes('terminat'))));
    } finally {
      await pair.close();
    }
  });
});

/** Holds local's rows back until the consumer's repair waits for them within its COPY, and stops the process there. */
async function freezeInCopy(stage: ChaosStage): Promise<RunningCli> {
  const holder = await stage.local.connect();
  try {
    await holder.query('begin; lock table sensor_readings in access exclusive mode');
    const consumer = await startCli(['consume', '--dual-write'], { settings: stage.settings, timeoutMs: 100_000 });
    await eventually('its repair copies', async () => (await stage.ec2.query(`select ${COPYING}`)).rowCount === 1);
    consumer.kill('SIGSTOP');
    return consumer;
  } finally {
    await holder.query('commit');
    holder.release();
  }
}

async function hasCopiedFor(stage: ChaosStage, ms: number): Promise<boolean> {
  return (await stage.ec2.query(`select ${COPYING} and ${hasRunFor(ms)}`)).rowCount === 1;
}

function hasRunFor(ms: number): string {
  return `query_start < clock_timestamp() - interval '${ms} milliseconds'`;
}

/** Readings of so many sensors, of one day in July. */
function weather(count: number, day: number): string[] {
  return Array.from({ length: count }, (_, index) =>
    JSON.stringify({
      timestamp: `2025-07-0${day}T00:00:00Z`,
      sensorType: 'weather',
      sensorId: `WX-${index}`,
      data: { temperature: 30 },
    }),
  );
}
