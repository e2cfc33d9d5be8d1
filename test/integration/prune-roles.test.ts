// Pruning deletes on the secondary only: what it holds on to while the sides may change their roles.
import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { ConflictError } from '../../src/lib/errors.js';
import { waitForWriters } from '../../src/lib/repository/phase/fence.js';
import { PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';

const WATER = 'water_level_readings';
const EC2_IS_PRIMARY = `
  insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by) values (3, 'ec2-only', 5, 'ec2', 'a test')`;

describe('backfill --prune, while the roles of the sides change', () => {
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('prune roles');
    await pair.query(`${WATER_SENSORS}; ${waterRows(0, 9)}`);
    await pair.there.query(waterRows(10, 12));
  });

  afterEach(() => pair.close());

  it('deletes nothing of a side that became the primary after the run was planned, whatever the other side believes', async () => {
    const { client: fence } = await pair.openSession('ec2');
    await fence.query('begin; lock table sensorctl.fence in exclusive mode');
    const ended = new AbortController();
    const pruning = pair
      .backfill({ prune: true, tables: [WATER], jobs: 1 })
      .catch((error: unknown) => error)
      .finally(() => {
        ended.abort();
      });
    await eventually('the unit waits for the fence of EC2, or goes on without it', async () => {
      return ended.signal.aborted || (await isWaitedFor('sensorctl.fence'));
    });
    // Local's record still names local: it was restored from an older copy, or does not know yet.
    await fence.query(`${EC2_IS_PRIMARY}; commit`);
    const outcome = await pruning;
    expect((await pair.there.query(`select from ${WATER}`)).rowCount, 'rows on EC2').to.equal(13);
    expect((await pair.there.query('select from sensorctl.quarantine')).rowCount).to.equal(0);
    expect(outcome).to.be.instanceOf(ConflictError);
    expect((outcome as ConflictError).message).to.contain('what only it has is never deleted');
    expect(nextStepFor(outcome)).to.contain('sensorctl cutover');
  });

  it('keeps the secondary in its role until what it deletes has committed', async () => {
    const { client: blocker } = await pair.openSession('ec2');
    await blocker.query(`begin; lock table ${WATER} in exclusive mode`);
    const pruning = pair.backfill({ prune: true, tables: [WATER], jobs: 1 });
    pruning.catch(() => undefined);
    await eventually('the unit waits for its table', () => isWaitedFor(WATER));
    expect(await waitForWriters(pair.ec2, 100), 'whether EC2 can become the primary').to.equal(false);
    await blocker.query('commit');
    expect(await pruning).to.include({ rowsPruned: 3 });
    expect(await waitForWriters(pair.ec2, 2_000)).to.equal(true);
  });

  async function isWaitedFor(table: string): Promise<boolean> {
    const { rowCount } = await pair.there.query(
      `select from pg_locks where relation = $1::regclass and not granted
        and database = (select oid from pg_database where datname = current_database())`,
      [table],
    );
    return (rowCount ?? 0) > 0;
  }
});
