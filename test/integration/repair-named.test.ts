// Rows that entries of the ledger name by their keys come to EC2 many at once.
import { expect } from 'chai';
import { culpritOf } from '../../src/lib/repository/repair/repair-in-parts.js';
import { repairMissed, type RepairOutcome } from '../../src/lib/repository/repair/repair-missed.js';
import { UnequalRowError } from '../../src/lib/repository/repair/transfer.js';
import { ec2Server, localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

const TABLES = `
  create table account (id text primary key, email text not null unique, balance numeric);
  create table team (id int primary key, lead int not null);
  create table member (id int primary key, team int not null references team deferrable initially deferred);
  alter table team add foreign key (lead) references member deferrable initially deferred;`;
const NAMES = ['account', 'team', 'member'];

describe('rows that the ledger names', function () {
  this.timeout(30_000);
  let local: TrackedSide;
  let ec2: TrackedSide;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'named', { side: 'local', sql: TABLES });
    ec2 = await TrackedSide.open(await ec2Server(), 'named', { side: 'ec2', sql: TABLES });
    await local.track(...NAMES);
  });

  afterEach(async () => {
    await local.close();
    await ec2.close();
  });

  const repair = async (entries = 10_000, rows?: number): Promise<RepairOutcome> => {
    const size = rows === undefined ? { entries } : { entries, rows };
    return await repairMissed({ primary: local.database, secondary: ec2.database, states: ['missed'], ...size });
  };

  const rowsOf = async ({ pool }: TrackedSide, table: string): Promise<unknown[]> =>
    (await pool.query<Record<string, unknown>>(`select * from ${table} order by id`)).rows;

  async function expectEqual(table = 'account'): Promise<void> {
    expect(await rowsOf(ec2, table)).to.deep.equal(await rowsOf(local, table));
  }

  it('are inserted, changed and deleted in one repair, by more keys than one transaction takes', async () => {
    await local.run("insert into account select n, 'e' || n, n from generate_series(1, 6000) n");
    expect((await repair()).updated).to.deep.equal({ copied: 6000, inserted: 6000, skipped: 0, corrected: 0 });
    await local.run(
      'update account set balance = 1.50 where id::int <= 2000; delete from account where id::int > 5500',
    );
    await local.run("insert into account values ('new', 'e6000', 7)");
    expect((await repair()).updated).to.deep.equal({ copied: 2001, inserted: 1, skipped: 0, corrected: 2500 });
    expect(await local.entries()).to.deep.equal([]);
    await expectEqual();
  });

  it('may take over a unique value from each other, whichever comes first by its key', async () => {
    await local.run("insert into account values ('b', 'x', 1), ('d', 'gone', 1)");
    await repair();
    await local.run("update account set email = 'y' where id = 'b'");
    await local.run("insert into account values ('a', 'x', 2)");
    await local.run("delete from account where id = 'd'; insert into account values ('c', 'gone', 3)");
    await repair();
    expect(await local.entries()).to.deep.equal([]);
    await expectEqual();
  });

  it('stay where a later statement wrote a deleted one again, and where the primary never lost it', async () => {
    await local.run("insert into account values ('a', 'x', 1), ('b', 'y', 1)");
    await repair();
    await local.run("delete from account where id = 'a'; insert into account values ('a', 'z', 2)");
    await repair();
    await expectEqual();
    await local.run("alter table account disable trigger user; delete from account where id = 'b'");
    await local.run(`insert into sensorctl.ledger (table_name, state, times, readings, keys)
      values ('account', 'missed', '{}', 1, '[["b"]]')`);
    await repair();
    expect(await rowsOf(ec2, 'account'), 'no entry says that it is gone').to.have.length(2);
  });

  it('keep their entry where the target does not hold them as they were written', async () => {
    await ec2.run(`
      create function half() returns trigger language plpgsql as $$ begin new.balance := new.balance / 2; return new; end $$;
      create trigger half before insert or update on account for each row when (new.id = 'odd') execute function half()`);
    await local.run("insert into account values ('odd', 'x', 4)");
    await local.run("insert into account values ('fine', 'y', 4)");
    const error = await repair().then(
      () => undefined,
      (fault: unknown) => fault,
    );
    expect(error).to.be.instanceOf(UnequalRowError);
    expect(culpritOf(error)).to.equal('entry');
    expect(await local.entries(), 'nothing was settled').to.have.length(2);
    expect(await rowsOf(ec2, 'account'), 'nothing was left there').to.deep.equal([]);
  });

  it('may refer to each other in a circle, where EC2 checks that at commit', async () => {
    await local.run('begin; insert into team values (1, 1); insert into member values (1, 1); commit');
    while ((await repair()).entries > 0);
    await expectEqual('team');
    await expectEqual('member');
  });

  it('are claimed up to a number of them, however few entries name them; an entry that names more is claimed alone', async () => {
    await local.run("insert into account select n, 'e' || n, n from generate_series(1, 5000) n");
    expect(await local.entries(), 'a thousand keys an entry').to.have.length(5);
    const claimed: number[] = [];
    for (const rows of [2500, 10]) claimed.push((await repair(10_000, rows)).entries);
    expect(claimed).to.deep.equal([2, 1]);
    expect((await repair(1, 10_000)).entries, 'not more entries than are wanted').to.equal(1);
    expect((await repair()).entries).to.equal(1);
    await expectEqual();
  });
});
