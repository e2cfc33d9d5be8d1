// Tables whose rows refer to each other, or have a second unique key, repaired beside consumers and other repairs.
import { expect } from 'chai';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { RepairInParts } from '../../src/lib/repository/repair/repair-in-parts.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { eventually } from '../support/cli.js';
import { ec2Server, localServer } from '../support/servers.js';
import { openRepository, TrackedSide } from '../support/tracked.js';

const TABLES = `
  create table parent (id int primary key, note text);
  create table child (id int primary key, parent_id int not null references parent on delete cascade);
  create table named (id int primary key, name text not null unique)`;

describe('repair of rows that other rows stand in the way of', function () {
  this.timeout(30_000);
  let local: TrackedSide;
  let ec2: TrackedSide;
  let repository: DualWriteRepository;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'families', { side: 'local', sql: TABLES });
    ec2 = await TrackedSide.open(await ec2Server(), 'families', { side: 'ec2', sql: TABLES });
    for (const side of [local, ec2]) await side.track('parent', 'child', 'named');
    await ec2.run("update sensorctl.primary_record set primary_side = 'local'");
    repository = await openRepository({ primary: local.database, secondary: ec2.database });
  });

  afterEach(async () => {
    await repository.close();
    await local.close();
    await ec2.close();
  });

  const options = (): Pick<Parameters<typeof repairMissed>[0], 'primary' | 'secondary' | 'states'> => ({
    ...{ primary: local.database, secondary: ec2.database, states: ['missed'] },
  });

  async function repairAll(): Promise<void> {
    const parts = new RepairInParts({ primary: local.database, secondary: ec2.database }, 50);
    while ((await parts.repair({ states: ['missed'] }, new AbortController().signal)).entries > 0);
  }

  async function isWaited(lock: string): Promise<boolean> {
    const { rowCount } = await ec2.pool.query(`select from pg_locks where ${lock} and not granted`);
    return (rowCount ?? 0) > 0;
  }

  async function content(side: TrackedSide, table: string): Promise<unknown[]> {
    return (await side.pool.query<Record<string, unknown>>(`select * from ${table} order by 1`)).rows;
  }

  async function expectEqual(...tables: string[]): Promise<void> {
    for (const table of tables) expect(await content(ec2, table), table).to.deep.equal(await content(local, table));
    expect(await local.entries()).to.deep.equal([]);
  }

  it('takes no child along that the primary holds, and that was sent while its parent was looked for', async () => {
    await local.run("insert into parent values (1, 'was')");
    await repairAll();
    await local.run('delete from parent');
    const holder = await ec2.pool.connect();
    try {
      // A reader holds the parent's row, so that the repair has looked, and waits.
      await holder.query('begin; select from parent for key share');
      const repairing = repairMissed({ ...options(), entries: 50 });
      await eventually('the repair waits for the row', () => isWaited("locktype = 'transactionid'"));
      await local.run("insert into parent values (1, 'is')");
      const rows = [{ table: 'public.child', values: { id: '7', parent_id: '1' } }];
      const [batch] = await repository.primary.write({ units: [{ rows }], rejects: [] });
      let isSent = false;
      const sending = repository.secondary!.send(batch!).finally(() => (isSent = true));
      await eventually('it is sent, or waits', async () => isSent || (await isWaited("locktype = 'advisory'")));
      await holder.query('commit');
      await repairing;
      repository.settlement.settle(batch!, await sending);
      await repository.settlement.idle();
      await repairAll();
      await expectEqual('parent', 'child');
      expect(await content(local, 'child')).to.have.length(1);
    } finally {
      holder.release(true);
    }
  });

  it('leaves no row out whose second unique key another row has on EC2 as yet', async () => {
    await local.run("insert into named values (1, 'a')");
    await repairAll();
    await local.run('delete from named');
    await local.run("insert into named values (2, 'a')");
    const [gone, made] = await local.entries();
    // Somebody else repairs the deletion, and is slow.
    await repairMissed({ ...options(), entries: 1, except: [gone!.id] }).catch(() => undefined);
    expect((await local.entries()).map(({ id }) => id)).to.include(made!.id);
    await repairAll();
    await expectEqual('named');
  });
});
