import { expect } from 'chai';
import { createPaint } from '../../src/lib/cli/output.js';
import { renderScreen } from '../../src/lib/cli/monitor/screen.js';
import { EVERY_TABLE, parseTablePattern } from '../../src/lib/domain/table-patterns.js';
import { parseConditions } from '../../src/lib/operations/monitor/conditions.js';
import { CountSchedule, type Countable, type CountOrder } from '../../src/lib/operations/monitor/count-schedule.js';
import type { TableSnapshot, Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { planWatched, type WatchRequest } from '../../src/lib/operations/monitor/watched-tables.js';
import type { SideCatalog, TableFacts } from '../../src/lib/repository/monitor/side-catalog.js';
import type { Table } from '../../src/lib/repository/tables/table.js';
import type { Tracking } from '../../src/lib/repository/writers/tracking.js';
import { describePair } from '../../src/lib/repository/writers/pair-tracking.js';
import { lookOf, PHASE_2, silent, snapshotOf, watchedOf } from '../support/monitored.js';

const TIME = 'timestamp with time zone';

function tableOf(name: string, changes: Partial<Table> = {}): Table {
  const column = { name: 'noted', type: TIME, baseType: TIME, notNull: true };
  return {
    ...{ name: { schema: 'public', name }, label: name, isOnPath: true, oid: 1, kind: 'plain', columns: [column] },
    ...{ uniqueKeys: [{ columns: ['noted'], primary: true }], key: ['noted'], axis: { column: 'noted', type: TIME } },
    ...{ parents: [], hypertable: null, hasHeirs: false, hasTriggers: false, hidesRows: false },
    ...changes,
  };
}

type Known = readonly [table: Table, facts?: Partial<TableFacts>];

function catalogOf(...known: readonly Known[]): SideCatalog {
  const facts = known.map(([{ label }, changes]): [string, TableFacts] => {
    return [label, { rows: 0, readable: true, indexed: ['noted'], ...changes }];
  });
  return { discovery: { tables: known.map(([table]) => table), notTaken: [] }, facts: new Map(facts) };
}

function plan(local: SideCatalog | null, ec2: SideCatalog | null, changes: Partial<WatchRequest> = {}) {
  const advise: WatchRequest['advise'] = ({ code }) => code;
  const request = { primary: 'local', selection: EVERY_TABLE, recorded: [], advise, ...changes } as const;
  return planWatched({ catalogs: { local, ec2 }, ...request });
}

describe('the tables that a monitor watches', () => {
  const noteOf = (local: Known, ec2: Known = local): unknown[] => {
    const [found] = plan(catalogOf(local), catalogOf(ec2)).tables;
    return [found?.counted, found?.note];
  };

  it('are counted by window where an index begins with an axis of time, or where there is little to look through', () => {
    expect(noteOf([tableOf('a'), { rows: 1e9 }])).to.deep.equal(['window', null]);
    expect(noteOf([tableOf('a'), { rows: 100_000, indexed: [] }])).to.deep.equal(['window', null]);
    const unindexed = 'no index of EC2 begins with noted';
    expect(noteOf([tableOf('a')], [tableOf('a'), { rows: 100_001, indexed: [] }])).to.deep.equal([
      'estimate',
      unindexed,
    ]);
    expect(noteOf([tableOf('a', { axis: null, key: null })])).to.deep.equal(['estimate', 'it has no axis of time']);
  });

  it('are counted along the same column on both sides, also where only one has a key that says which', () => {
    const [found] = plan(
      catalogOf([tableOf('a')]),
      catalogOf([tableOf('a', { axis: null, key: null, uniqueKeys: [] })]),
    ).tables;
    const axis = { column: 'noted', type: TIME };
    expect(found?.axes).to.deep.equal({ local: axis, ec2: axis });
  });

  it('are estimated where this role may not read them, but for those that consumers write: these the server refuses', () => {
    const unread = 'this role may not read it on local';
    expect(noteOf([tableOf('a'), { readable: false, rows: 7 }])).to.deep.equal(['estimate', unread]);
    expect(plan(catalogOf([tableOf('a'), { readable: false, rows: 7 }]), null).tables[0]?.estimates.local).to.equal(7);
    const time = { name: 'time', type: TIME, baseType: TIME, notNull: true };
    const reading = tableOf('water_level_readings', {
      columns: [time],
      key: ['time'],
      axis: { column: 'time', type: TIME },
    });
    expect(noteOf([{ ...reading, columns: [time, { ...time, name: 'sensor_id' }] }, { readable: false }])[0]).to.equal(
      'window',
    );
  });

  it('are estimated where row security hides rows from this role: no other role is hindered by that', () => {
    expect(noteOf([tableOf('a', { hidesRows: true })])[0]).to.equal('estimate');
  });

  it('are those of a silent side by what the other holds, and none where neither ever said', () => {
    expect(plan(null, catalogOf([tableOf('a')])).tables.map(({ counted }) => counted)).to.deep.equal(['window']);
    expect(plan(null, null)).to.deep.equal({ tables: [], leftOut: [] });
  });

  it('cannot be moved with the reason and its advice; gone, new and left out ones are told apart', () => {
    const both = ['a', 'new', 'logs'].map((name): Known => [tableOf(name)]);
    const except = [parseTablePattern('logs')!];
    const found = plan(catalogOf(...both, [tableOf('lone')]), catalogOf(...both), {
      ...{ recorded: ['a', 'lone', 'logs', 'gone'], selection: { tables: [], except } },
    });
    expect(found.leftOut).to.deep.equal([{ table: 'logs', reason: 'TABLES_EXCEPT names it' }]);
    expect(found.tables.map(({ table, counted, isNew, note }) => [table, counted, isNew, note])).to.deep.equal([
      ['a', 'window', false, null],
      ['new', 'window', true, null],
      ['lone', null, false, 'is missing on EC2 (schema-differs)'],
      ['gone', null, false, 'was recorded with the phase, and is no longer there'],
    ]);
  });
});

describe('the schedule of counts', () => {
  let now = 0;
  let schedule: CountSchedule;

  beforeEach(() => {
    now = 0;
    schedule = new CountSchedule(() => now);
  });

  const countable = (table: string, changes: Partial<Countable> = {}): Countable => {
    return { table, isReading: false, isApart: false, isCounted: true, needsOlder: false, ...changes };
  };
  const many = Array.from({ length: 300 }, (_, place) => countable(`t${place}`));
  const spend = (
    orders: readonly CountOrder[],
    tables: readonly Countable[],
    costMs: number,
    isRefused = false,
  ): void => {
    const outcomes = orders.flatMap(({ table, kinds }) => kinds.map((kind) => ({ table, kind, costMs, isRefused })));
    schedule.spent(outcomes, tables);
  };

  it('counts 40 of those that are counted seldom with a look, each once before any again', () => {
    const seen: string[] = [];
    for (let look = 0; look < 8; look += 1) {
      const orders = schedule.plan(many);
      seen.push(...orders.map(({ table }) => table));
      now += 1;
      spend(orders, many, 1);
    }
    expect(seen.length).to.equal(300);
    expect(new Set(seen).size).to.equal(300);
  });

  it('gives all of these together the share of one question', () => {
    const hourMs = 3_600_000;
    let spentMs = 0;
    for (; now < hourMs; now += 2_000) {
      const orders = schedule.plan(many);
      spentMs += orders.length * 20;
      spend(orders, many, 10);
    }
    // The first round is free of what comes before it.
    expect(spentMs - 300 * 20).to.be.within(0, hourMs * 0.001);
  });

  it('counts a reading table, and one that is apart, as often as its own cost allows', () => {
    const reading = countable('reading', { isReading: true });
    const apart = countable('t7', { isApart: true });
    const kindsOf = (tables: readonly Countable[]): Record<string, readonly string[]> => {
      const orders = schedule.plan(tables);
      spend(orders, tables, 2);
      return Object.fromEntries(orders.map(({ table, kinds }) => [table, kinds]));
    };
    expect(kindsOf([reading, apart])).to.deep.equal({ t7: ['recent', 'older'], reading: ['recent'] });
    now += 1_999;
    expect(kindsOf([reading, apart])).to.deep.equal({});
    now += 1;
    expect(kindsOf([reading, apart])).to.deep.equal({ t7: ['recent', 'older'], reading: ['recent'] });
    now += 120_000;
    expect(kindsOf([reading])).to.deep.equal({ reading: ['recent', 'older'] });
  });

  it('holds back no first round, but where the server refuses it', () => {
    const first = [countable('a', { isCounted: false, needsOlder: true })];
    spend(schedule.plan(first), first, 500);
    expect(schedule.plan(first).length).to.equal(1);
    spend(schedule.plan(first), first, 500, true);
    expect(schedule.plan(first).length).to.equal(0);
  });

  it('counts what is apart again at once where there is no other look', () => {
    const apart = [countable('a', { isApart: true })];
    spend(schedule.plan(apart), apart, 5_000);
    expect(schedule.plan(apart)).to.deep.equal([]);
    expect(schedule.plan(apart, true)).to.deep.equal([{ table: 'a', kinds: ['recent', 'older'] }]);
  });
});

describe('tables that are apart', () => {
  const names = ['a', 'b', 'c', 'd'];
  const watched = { tables: names.map((name) => watchedOf(name)), leftOut: [] };
  const apart = new Map(names.map((name, place) => [name, { rows: place + 1, seconds: 20 }]));
  const none = lookOf('local').ledger!;
  const textsOf = (snapshot: Snapshot): string[] =>
    snapshot.troubles.filter(({ kind }) => kind === 'apart').map(({ text }) => text.slice(0, 35));
  const rowsApart = (snapshot: Snapshot, limit: number): boolean =>
    parseConditions(`apart>${limit}`)[0]!.holds(snapshot);

  it('are one trouble where there are more than three', () => {
    const four = snapshotOf({ watched, apart });
    expect(textsOf(four)).to.deep.equal(['4 tables hold other counts on local']);
    expect([rowsApart(four, 3), rowsApart(four, 4)]).to.deep.equal([true, false]);
  });

  it('are explained by entries of any writer for that table, and by none for another', () => {
    const writers = [{ table: 'd', pending: 1, missed: 0, oldestSeconds: 3 }];
    const gaps = {
      ranges: 1,
      readings: 5,
      oldest: null,
      tables: [
        { table: 'c', rows: 5 },
        { table: 'x', rows: 1 },
      ],
    };
    const snapshot = snapshotOf({ watched, apart, local: lookOf('local', { ledger: { ...none, gaps, writers } }) });
    expect(textsOf(snapshot)).to.deep.equal([
      'Local holds 2 rows of b more than E',
      'Local holds 1 row of a more than EC',
    ]);
    expect([rowsApart(snapshot, 1), rowsApart(snapshot, 2)]).to.deep.equal([true, false]);
  });

  it('and what other writers entered are known to --fail-on, or fail it where the ledger is not known', () => {
    const writers = ['a', 'b'].map((table) => ({ table, pending: 2, missed: 1, oldestSeconds: 3 }));
    const known = snapshotOf({ watched, local: lookOf('local', { ledger: { ...none, writers } }) });
    const holds = (text: string, snapshot: Snapshot): boolean[] =>
      parseConditions(text).map((each) => each.holds(snapshot));
    expect(holds('writers-pending=4,writers-missed=2,writers-missed>2', known)).to.deep.equal([true, true, false]);
    const unknown = snapshotOf({ watched, local: silent('local', PHASE_2, 'gone') });
    expect(holds('writers-pending>9,writers-missed>9,apart>9,partly-tracked>9', unknown)).to.deep.equal([
      ...[true, true, true, true],
    ]);
  });
});

describe('tracking, as a monitor says it', () => {
  const trackingOf = (changes: Partial<Tracking>): Tracking => {
    return {
      table: tableOf('a'),
      planned: [],
      trackedAt: 'x',
      trackedSeconds: 5,
      problems: [],
      ofNewPartitions: [],
      ...changes,
    };
  };
  const partition = { relation: { name: { schema: 'public', name: 'p' } } } as unknown as Tracking['planned'][number];
  const watched = { tables: [watchedOf('a', { sides: { local: tableOf('a'), ec2: tableOf('a') } })], leftOut: [] };
  const snapshotWith = (here: Partial<Tracking>, there: Partial<Tracking>): Snapshot =>
    snapshotOf({
      watched,
      local: lookOf('local', { trackings: new Map([['a', trackingOf(here)]]) }),
      ec2: lookOf('ec2', { trackings: new Map([['a', trackingOf(there)]]) }),
    });
  const disabled = { problems: ['trigger x on a is disabled'] };

  it('is trouble where triggers are not whole on a side, with the problem', () => {
    const snapshot = snapshotWith({}, disabled);
    expect(snapshot.tables[0]).to.include({ tracking: 'partly tracked', note: 'on EC2 trigger x on a is disabled' });
    expect(snapshot.troubles.map(({ kind }) => kind)).to.deep.equal(['partly-tracked']);
    expect(parseConditions('partly-tracked>0')[0]!.holds(snapshot)).to.equal(true);
    expect(parseConditions('partly-tracked>0')[0]!.holds(snapshotWith({}, {}))).to.equal(false);
  });

  it('is none where partitions that were made since await theirs', () => {
    const lacking = { problems: ['trigger x on p does not exist'], ofNewPartitions: [partition] };
    expect(snapshotWith(lacking, {}).troubles).to.deep.equal([]);
    const sides = [{ side: 'local', tracking: trackingOf(lacking) }] as const;
    expect(describePair('a', sides)).to.include({ state: 'broken', awaitsPartitions: true });
    expect(describePair('a', [...sides, { side: 'ec2', tracking: trackingOf(disabled) }]).awaitsPartitions).to.equal(
      false,
    );
  });
});

describe('the picture of many tables', () => {
  const tables = (count: number): TableSnapshot[] =>
    Array.from({ length: count }, (_, place): TableSnapshot => {
      const counted = place % 3 === 0 ? 'estimate' : 'window';
      const figures = { rows: 1_000, maxTime: counted === 'window' ? '2025-06-30T23:59:59.000000Z' : null };
      return {
        ...{ table: `schema_${place}.table_with_a_rather_long_name_${place}`, counted, tracking: 'untracked' },
        ...{ local: figures, ec2: place === 17 ? { ...figures, rows: 993 } : figures, isNew: false, note: null },
        apart: place === 17 ? { rows: 7, seconds: 60 } : null,
      };
    });
  const picture = (count: number, columns: number, rows = 24): string[] => {
    const snapshot = snapshotOf();
    const shown = { ...snapshot, tables: [...snapshot.tables, ...tables(count)] };
    return renderScreen([shown], { columns, rows, paint: createPaint(false), footer: 'q quit' });
  };

  for (const [count, columns] of [
    [30, 80],
    [30, 100],
    [300, 80],
    [300, 100],
  ] as const) {
    it(`of ${count} fits ${columns} columns: reading tables, the worst of the rest, totals, the state of all`, () => {
      const lines = picture(count, columns);
      expect(lines.length).to.be.at.most(24);
      for (const line of lines) expect(line.length, line).to.be.at.most(columns);
      const first = lines.findIndex((line) => line.startsWith('rows of the last'));
      const [water, moisture, others, worst, total] = lines.slice(first + 1, first + 6);
      expect([water, moisture, others].map((line) => line?.split(' ')[0])).to.deep.equal([
        ...['water_level_readings', 'moisture_readings', 'sensor_readings'],
      ]);
      expect(worst).to.match(
        columns === 80 ? /^schema_17\.table_with_a… .* 7$/ : /^schema_17\.table_with_a_rather_long_name_17 .* 7$/,
      );
      expect(total).to.match(new RegExp(`^all ${3 + (count / 3) * 2} counted ones`));
      expect(lines.find((line) => line.startsWith('tables'))).to.match(
        /^tables +\d+ \(\d+ untracked\); \d+ estimated$/,
      );
      expect(lines.at(-1)).to.equal('q quit');
    });
  }

  it('shows an estimate as one, and nothing apart of it', () => {
    expect(picture(6, 100, 80).find((line) => line.startsWith('schema_3.'))).to.match(/~1,000 +~1,000$/);
  });

  it('tells of other writers in a line of their own', () => {
    const writers = [{ table: 'orders', pending: 3, missed: 2, oldestSeconds: 40 }];
    const ledger = { ...lookOf('local').ledger!, writers };
    const snapshot = snapshotOf({ local: lookOf('local', { ledger }) });
    const lines = renderScreen([snapshot], { columns: 80, rows: 24, paint: createPaint(false), footer: null });
    expect(lines).to.include('writers     pending 3  missed 2, the oldest 40 s: orders 5');
  });
});
