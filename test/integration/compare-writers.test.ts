import { expect } from 'chai';
import { parseTablePattern } from '../../src/lib/domain/table-patterns.js';
import { compare } from '../../src/lib/operations/compare/compare.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { trackSides } from '../../src/lib/operations/track.js';
import { prepareSides } from '../../src/lib/operations/init.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { ec2Server, localServer } from '../support/servers.js';
import { TrackedSide } from '../support/tracked.js';

/** An axis that nothing tells but the operator. */
const SELECTION = { tables: ['event=at', '*'].map((text) => parseTablePattern(text)!), except: [] };
const HEALER = '00000000-0000-4000-8000-000000000001';
const TABLES = `
  create table note (id int primary key, word text);
  create table flow (gate int, at timestamptz, rate int, primary key (gate, at));
  create table event (at timestamptz not null, what text);
  create table bare (what text)`;
const NAMES = ['note', 'flow', 'event', 'bare'];

describe('compare and what other programs entered', function () {
  this.timeout(60_000);
  let local: TrackedSide;
  let ec2: TrackedSide;

  beforeEach(async () => {
    local = await TrackedSide.open(await localServer(), 'compare writers', { side: 'local', sql: TABLES });
    ec2 = await TrackedSide.open(await ec2Server(), 'compare writers', { side: 'ec2', sql: TABLES });
    await prepareSides([local.database, ec2.database], { addKeys: false });
    await trackSides([local.database], { selection: SELECTION, tables: NAMES, dryRun: false });
  });

  afterEach(async () => {
    await local.close();
    await ec2.close();
  });

  async function compareSides(settleMs = 0): Promise<CompareReport> {
    const { report } = await compare(
      { primary: local.database, secondary: ec2.database },
      {
        ...{ tables: NAMES, selection: SELECTION, from: null, to: null, windowMicros: null, bucketMicros: null },
        ...{ settleMs, jobs: 1, limit: 100, resume: false },
      },
      { stop: new AbortController().signal, onDifference: () => Promise.resolve(), onProgress: () => undefined },
    );
    return report;
  }

  /** Of each row that differs: its table, its key, which side lacks it, and the class. */
  const found = ({ differences }: CompareReport): string[] =>
    differences
      .map(({ table, key, kind, class: of }) => `${table} ${Object.values(key).join(' ')} ${kind}: ${of}`)
      .sort();

  async function takeTurn(begins = true): Promise<void> {
    await local.run(`select sensorctl.take_turn('${HEALER}', '1 minute', ${begins})`);
  }

  async function repairAll(): Promise<void> {
    const options = { primary: local.database, secondary: ec2.database, states: ['missed'], entries: 50 } as const;
    while ((await repairMissed(options)).entries > 0);
  }

  /** Equal on both sides, with an empty ledger. */
  async function begin(sql: string): Promise<void> {
    await local.run(sql);
    await repairAll();
  }

  const CHANGES = `
    insert into note values (4, 'new'); update note set word = 'changed' where id = 1; delete from note where id = 2;
    update note set id = 33 where id = 3`;
  const DIFFER = (of: string): string[] => [
    `note 1 missing on ec2: ${of}`,
    `note 2 missing on local: ${of}`,
    `note 3 missing on local: ${of}`,
    `note 33 missing on ec2: ${of}`,
    `note 4 missing on ec2: ${of}`,
  ];

  it('knows inserts, updates, deletes and changed keys as gaps without a healer; equal after a repair', async () => {
    await begin("insert into note values (1, 'a'), (2, 'b'), (3, 'c')");
    await local.run(CHANGES);
    const report = await compareSides();
    expect(found(report)).to.deep.equal(DIFFER('known gap'));
    expect(report).to.include({ verdict: 'different' });
    expect(report.tables.find(({ table }) => table === 'note')).to.include({ knownGap: 5, unexplained: 0, pending: 0 });
    await repairAll();
    expect(found(await compareSides())).to.deep.equal([]);
  });

  it('takes them for pending, and both sides for identical, until the turn after the one that could see them', async () => {
    await begin("insert into note values (1, 'a'), (2, 'b'), (3, 'c')");
    await takeTurn();
    await local.run(CHANGES);
    const classes: string[] = [];
    for (let turns = 0; turns < 3; turns += 1) {
      const report = await compareSides();
      classes.push(report.verdict);
      expect(found(report)).to.deep.equal(DIFFER(report.verdict === 'identical' ? 'pending' : 'known gap'));
      await takeTurn();
    }
    expect(classes).to.deep.equal(['identical', 'identical', 'different']);
  });

  it('takes them for missed once the healer lives no more', async () => {
    await takeTurn();
    await local.run("insert into note values (1, 'a')");
    await takeTurn();
    expect((await compareSides()).verdict).to.equal('identical');
    await local.run("update sensorctl.healer set lease_until = now() - interval '1 second'");
    expect(found(await compareSides())).to.deep.equal(['note 1 missing on ec2: known gap']);
  });

  it('takes what a long transaction commits late for pending, however old the number of its entry', async () => {
    const writer = await local.pool.connect();
    await writer.query("begin; insert into note values (1, 'late')");
    await local.run("insert into note values (2, 'early')");
    for (let turns = 0; turns < 3; turns += 1) await takeTurn();
    await writer.query('commit');
    writer.release();
    expect(found(await compareSides())).to.deep.equal([
      'note 1 missing on ec2: pending',
      'note 2 missing on ec2: known gap',
    ]);
  });

  it('explains nothing by an entry of another row, and no row that EC2 alone has by one that says that it is there', async () => {
    await begin("insert into note values (1, 'a')");
    await local.run("insert into note values (2, 'b')");
    await ec2.run("insert into note values (5, 'only here'), (2, 'b'); update note set word = 'z' where id = 1");
    await local.run('alter table note disable trigger user; delete from note where id = 2');
    expect(found(await compareSides())).to.deep.equal([
      'note 1 different: unexplained',
      'note 2 missing on local: unexplained',
      'note 5 missing on local: unexplained',
    ]);
  });

  it('explains a table without a key by its places, and one without an axis as a whole', async () => {
    await begin(`insert into event values ('2025-07-01T00:00Z', 'a'), ('2025-07-01T00:00Z', 'a'), ('2025-07-02T00:00Z', 'b');
      insert into bare values ('a'), ('b')`);
    await ec2.run("insert into event values ('2025-07-03T00:00Z', 'only here')");
    await local.run(`update event set what = 'c' where at = '2025-07-02T00:00Z'; delete from event where what = 'a';
      delete from bare where what = 'a'; insert into bare values ('c')`);
    expect(found(await compareSides())).to.deep.equal([
      'bare a missing on local: known gap',
      'bare c missing on ec2: known gap',
      'event 2025-07-01T00:00:00.000000Z a missing on local: known gap',
      'event 2025-07-01T00:00:00.000000Z a missing on local: known gap',
      'event 2025-07-02T00:00:00.000000Z b missing on local: known gap',
      'event 2025-07-02T00:00:00.000000Z c missing on ec2: known gap',
      'event 2025-07-03T00:00:00.000000Z only here missing on local: unexplained',
    ]);
    await repairAll();
    expect(found(await compareSides())).to.deep.equal([]);
  });

  it('explains by the times of a bulk update what differs there, and by a truncate everything', async () => {
    await begin(
      "insert into flow select n, '2025-07-01Z', 1 from generate_series(1, 5500) as n; insert into note values (1, 'a')",
    );
    await local.run('update flow set rate = 2');
    await ec2.run("delete from flow where gate = 1; insert into flow values (9000, '2025-07-01Z', 1)");
    await local.run('truncate note');
    const report = await compareSides();
    expect(report.tables.find(({ table }) => table === 'flow')).to.include({ knownGap: 5500, unexplained: 1 });
    expect(report.tables.find(({ table }) => table === 'note')).to.include({ knownGap: 1, missingOnLocal: 1 });
  });

  it('looks again at a row that a program touches at every look, and does not call it lost', async () => {
    await takeTurn();
    await local.run("insert into note values (1, 'a')");
    let touches = 0;
    const { pool } = local.database;
    const query = pool.query.bind(pool) as (...given: unknown[]) => Promise<unknown>;
    Object.assign(pool, {
      query: async (...given: unknown[]) => {
        const result = await query(...given);
        if (!String(given[0]).includes('::text as snapshot')) return result;
        touches += 1;
        if (touches < 4) {
          await repairAll();
          await local.run(`update note set word = '${touches}'`);
        } else if (touches === 4) await repairAll();
        return result;
      },
    });
    expect(found(await compareSides(20_000))).to.deep.equal([]);
    expect(touches).to.be.greaterThan(3);
  });
});
