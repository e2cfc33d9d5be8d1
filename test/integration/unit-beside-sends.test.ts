import { expect } from 'chai';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { backfillSides } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';
import { ec2Server, localServer } from '../support/servers.js';
import { openRepository, TrackedSide } from '../support/tracked.js';

const TABLE = 'create table gate_state (id int primary key, seen int not null, note text)';

describe('a unit of a backfill, beside consumers that keep the newest of its rows', function () {
  this.timeout(60_000);
  let local: TrackedSide;
  let ec2: TrackedSide;
  let repository: DualWriteRepository;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'unit beside', { side: 'local', sql: TABLE });
    ec2 = await TrackedSide.open(await ec2Server(), 'unit beside', { side: 'ec2', sql: TABLE });
    repository = await openRepository({ primary: local.database, secondary: ec2.database }, { healing: null });
  });

  afterEach(async () => {
    await repository.close();
    await local.close();
    await ec2.close();
  });

  it('puts no older value over one that was sent while it worked', async () => {
    await local.run("insert into gate_state values (1, 1, 'local'), (2, 1, 'local')");
    await ec2.run("insert into gate_state values (1, 1, 'differs'), (2, 1, 'differs')");
    const holder = await ec2.pool.connect();
    try {
      // The unit has read both rows, and waits for the first one.
      await holder.query('begin; select from gate_state where id = 1 for update');
      const copying = backfillSides(
        { local: local.database, ec2: ec2.database },
        { mode: 'full', tables: ['gate_state'] },
      );
      await eventually('the unit waits', () => isWaited("locktype in ('transactionid', 'tuple')"));
      const rows = [
        { table: 'public.gate_state', values: { id: '2', seen: '2', note: 'newer' }, write: { newestBy: 'seen' } },
      ];
      const [batch] = await repository.primary.write({ units: [{ rows }], rejects: [] });
      let isSent = false;
      const sending = repository.secondary!.send(batch!).finally(() => (isSent = true));
      await eventually('it is sent, or waits', async () => isSent || (await isWaited("locktype = 'advisory'")));
      await holder.query('commit');
      repository.settlement.settle(batch!, await sending);
      await repository.settlement.idle();
      await copying;
      const { rows: there } = await ec2.pool.query('select * from gate_state order by 1');
      const { rowCount: entries } = await local.pool.query('select from sensorctl.ledger');
      expect([there, entries]).to.deep.equal([
        [
          { id: 1, seen: 1, note: 'local' },
          { id: 2, seen: 2, note: 'newer' },
        ],
        0,
      ]);
    } finally {
      holder.release(true);
    }
  });

  async function isWaited(lock: string): Promise<boolean> {
    const { rowCount } = await ec2.pool.query(`select from pg_locks where ${lock} and not granted`);
    return (rowCount ?? 0) > 0;
  }
});
