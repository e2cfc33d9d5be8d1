import { expect } from 'chai';
import { adviseOn } from '../../src/lib/cli/advice.js';
import type { Database } from '../../src/lib/db/database.js';
import type { ReadingTable } from '../../src/lib/domain/reading.js';
import { EVERY_TABLE } from '../../src/lib/domain/table-patterns.js';
import { readSideCatalog } from '../../src/lib/repository/monitor/side-catalog.js';
import { CountSchedule, type Countable } from '../../src/lib/operations/monitor/count-schedule.js';
import { SideWatch, type LookRequest, type SideLook } from '../../src/lib/operations/monitor/side-watch.js';
import { planWatched } from '../../src/lib/operations/monitor/watched-tables.js';
import {
  readSoak,
  recordSamples,
  thinSamples,
  type Sample,
  type SampleFigures,
} from '../../src/lib/repository/monitor/samples.js';
import { PreparedPair } from '../support/backfilled.js';

const TABLE: ReadingTable = 'water_level_readings';
const HOUR_MICROS = 3_600_000_000;
const NOTHING: LookRequest = { counts: [], tracking: null };

/** A watch of one side that counts the newest rows of one table with each look, and its older ones as the schedule says. */
class WatchOfOne {
  readonly watch: SideWatch;
  readonly #schedule: CountSchedule;

  constructor(database: Database, windowMicros: number, now: () => number) {
    this.watch = new SideWatch(database, windowMicros, adviseOn, now);
    this.#schedule = new CountSchedule(now);
  }

  async look(): Promise<SideLook> {
    if (this.watch.catalog === null) await this.watch.readCatalog();
    const catalogs = { local: this.watch.catalog, ec2: null };
    const request = { catalogs, primary: 'local', selection: EVERY_TABLE, recorded: [], advise: adviseOn } as const;
    const { sides, axes } = planWatched(request).tables.find((each) => each.table === TABLE)!;
    const due = this.#schedule.plan([this.#countable]).flatMap(({ kinds }) => kinds);
    const kinds = ['recent' as const, ...due.filter((kind) => kind === 'older')];
    const counts = [{ name: TABLE, kinds, table: { ...sides!.local, axis: axes!.local } }];
    const look = await this.watch.look({ counts, tracking: null });
    this.#schedule.spent(look.counted, [this.#countable]);
    return look;
  }

  get #countable(): Countable {
    const { counts } = this.watch;
    const known = { isCounted: counts.isCounted(TABLE), needsOlder: counts.needsOlder(TABLE) };
    return { table: TABLE, isReading: true, isApart: false, ...known };
  }
}

describe('a watch of one side', () => {
  let pair: PreparedPair;
  let now = 0;
  let one: WatchOfOne;
  let watch: SideWatch;

  before(async () => {
    pair = await PreparedPair.open('monitor watch');
  });

  after(async () => {
    await pair.close();
  });

  beforeEach(async () => {
    await pair.here.query(`truncate ${TABLE}, sensorctl.ledger, sensorctl.unproven`);
    now = 0;
    one = new WatchOfOne(pair.local, HOUR_MICROS, () => now);
    watch = one.watch;
  });

  async function insert(sensorId: string, age: string): Promise<void> {
    await pair.here.query(`insert into ${TABLE} (time, sensor_id, level_cm) values (now() - $2::interval, $1, 1)`, [
      sensorId,
      age,
    ]);
  }

  async function enter(age: string): Promise<void> {
    await pair.here.query(
      `insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
       select gen_random_uuid(), gen_random_uuid(), $2,
         tstzmultirange(tstzrange(now() - $1::interval, now() - $1::interval + interval '1 second')), 1, 'missed'`,
      [age, TABLE],
    );
  }

  async function rows(): Promise<number | undefined> {
    const look = await one.look();
    watch.counts.touch(look.touched);
    expect(look.problem).to.equal(null);
    return look.tables.get(TABLE)?.rows;
  }

  it('counts the window, then only what is new and what dual write touched', async () => {
    await insert('old', '50 minutes');
    await insert('outside', '2 hours');
    await insert('new', '1 second');
    expect(await rows()).to.equal(2);
    await insert('newer', '1 second');
    expect(await rows(), 'a new one is seen at once').to.equal(3);
    await insert('late', '30 minutes');
    expect(await rows(), 'nothing told of a late one').to.equal(3);
    await insert('late and told', '40 minutes');
    await enter('40 minutes');
    await rows();
    expect(await rows(), 'a late one that the ledger tells of').to.equal(4);
    now += 200_000;
    expect(await rows(), 'everything, once in a while').to.equal(5);
  });

  for (const time of ['9999-12-31', 'infinity', '-infinity', '0044-03-15 BC', '294276-12-31']) {
    it(`counts on beside a row at ${time}, which lies in no window`, async () => {
      await insert('now', '1 second');
      await pair.here.query(`insert into ${TABLE} (time, sensor_id, level_cm) values ($1, 'sentinel', 1)`, [time]);
      expect(await rows()).to.equal(1);
      const { newest } = (await one.look()).tables.get(TABLE)!;
      expect(newest).to.be.within((Date.now() - 60_000) * 1000, Date.now() * 1000);
    });
  }

  it('counts everything again where the ledger names rows by their keys, and says nothing of both sides until then', async () => {
    await rows();
    await insert('late', '30 minutes');
    await pair.here.query(
      `insert into sensorctl.ledger (table_name, state, times, readings, keys) values ($1, 'missed', '{}', 1, '[["late", "x"]]')`,
      [TABLE],
    );
    const look = await one.look();
    expect(look.tables.get(TABLE)?.rows, 'nothing told of it before').to.equal(0);
    watch.counts.touch(look.touched);
    now += 60_000;
    const after = await one.look();
    expect(after.tables.get(TABLE)?.rows).to.equal(1);
    expect(after.tables.get(TABLE)?.settled?.rows).to.equal(1);
  });

  it('counts what other programs entered beside the batches of consumers, by table, with the oldest', async () => {
    await enter('10 minutes');
    await pair.here.query(
      `insert into sensorctl.ledger (table_name, state, times, readings, keys, whole_table, committed_at) values
        ('orders', 'missed', '{}', 1, '[["1"]]', false, now() - interval '40 seconds'),
        ('orders', 'missed', '{}', 1, '[["2"]]', false, now()), ('logs', 'missed', '{}', 0, null, true, now())`,
    );
    const { ledger } = await watch.look(NOTHING);
    expect(ledger?.entries).to.deep.equal({ pending: 0, missed: 4, refused: 0 });
    expect(ledger?.writers.map(({ table, pending, missed }) => [table, pending, missed])).to.deep.equal([
      ['orders', 0, 2],
      ['logs', 0, 1],
    ]);
    expect(ledger?.writers[0]?.oldestSeconds).to.be.within(40, 60);
  });

  it('tells the newest time of the window', async () => {
    await insert('older', '59 minutes');
    await insert('newest', '58 minutes');
    const look = await one.look();
    const { newest } = look.tables.get(TABLE)!;
    expect((look.now! - newest!) / 60_000_000).to.be.within(58, 58.5);
  });

  it('counts the whole of a wide window in slices, none of them twice', async () => {
    one = new WatchOfOne(pair.local, 24 * HOUR_MICROS, () => now);
    watch = one.watch;
    for (const age of ['1 second', '7 hours', '13 hours', '23 hours']) await insert(age, age);
    const seen: (number | undefined)[] = [];
    while (!watch.counts.isCounted(TABLE)) seen.push(await rows());
    expect(seen.at(-1)).to.equal(4);
    expect(
      seen.slice(0, -1).every((count) => count === undefined),
      'no figure before',
    ).to.equal(true);
  });

  it('reads lag and gaps off the ledger', async () => {
    await enter('10 minutes');
    await enter('10 minutes');
    await enter('30 minutes');
    const { lagSeconds, ledger } = await watch.look(NOTHING);
    expect(lagSeconds).to.be.within(0, 30);
    expect(ledger?.entries).to.deep.equal({ pending: 0, missed: 3, refused: 0 });
    expect(ledger?.gaps).to.include({ ranges: 2, readings: 3 });
    await pair.here.query('truncate sensorctl.ledger');
    expect((await watch.look(NOTHING)).lagSeconds).to.equal(0);
    expect((await watch.look(NOTHING)).ledger?.gaps.ranges, 'known at once, whatever the pace').to.equal(0);
  });

  it('a question that costs much is asked seldom', async () => {
    await watch.look(NOTHING);
    await enter('10 minutes');
    expect((await watch.look(NOTHING)).ledger?.gaps.ranges, 'not asked again yet').to.equal(0);
    now += 600_001;
    expect((await watch.look(NOTHING)).ledger?.gaps.ranges).to.equal(1);
  });

  it('a side without the schema answers, and says what to do', async () => {
    await pair.there.query('drop schema sensorctl cascade');
    const look = await new WatchOfOne(pair.ec2, HOUR_MICROS, () => now).look();
    expect(look).to.include({ answers: true, lagSeconds: null, ledger: null });
    expect(look.problem).to.match(/sensorctl.*does not exist.*sensorctl init --side ec2/);
    expect(look.tables.get(TABLE)?.rows, 'the readings are counted all the same').to.equal(0);
  });
});

describe('samples', () => {
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('monitor samples');
  });

  after(async () => {
    await pair.close();
  });

  const sample = (takenAt: string, unexplained: string[] = [], explained: string[] = []): Sample => ({
    ...{ takenAt, phase: 2, epoch: 1, troubles: [...unexplained, ...explained], unexplained },
    figures: {} as SampleFigures,
    tables: [],
  });

  async function timeAgo(age: string): Promise<string> {
    const { rows } = await pair.here.query<{ time: string }>('select (now() - $1::interval)::text as time', [age]);
    return rows[0]!.time;
  }

  it('a soak tells how many, from when to when, the largest hole, and the trouble', async () => {
    await recordSamples(pair.local.pool, [
      sample(await timeAgo('50 minutes')),
      sample(await timeAgo('40 minutes'), [], ['gaps']),
      sample(await timeAgo('39 minutes'), ['no-consumer'], ['gaps']),
      sample(await timeAgo('10 minutes')),
    ]);
    await recordSamples(pair.local.pool, [sample(await timeAgo('10 minutes 3 seconds'))]);
    const soak = await readSoak(pair.local, await timeAgo('1 hour'));
    expect(soak).to.include({ samples: 4, troubled: 2, unexplained: 1 });
    expect(soak.largestHoleSeconds).to.be.within(29 * 60 - 5, 29 * 60 + 5);
    expect(await readSoak(pair.local, await timeAgo('5 minutes'))).to.include({ samples: 0, first: null, last: null });
    expect((await readSoak(pair.local, await timeAgo('5 minutes'))).largestHoleSeconds).to.be.within(299, 310);
  });

  it('thins what is old, and keeps what shows trouble', async () => {
    await pair.here.query('truncate sensorctl.sample');
    const { rows } = await pair.here.query<{ time: string }>(
      "select (date_trunc('minute', now() - interval '3 days') + make_interval(secs => n * 10))::text as time from generate_series(0, 11) as n",
    );
    const old = rows.map(({ time }, place) => sample(time, place === 4 ? ['no-consumer'] : []));
    // What is older than a monitor can have kept is not recorded any more.
    await recordSamples(pair.local.pool, [...old, sample(await timeAgo('1 minute'))]);
    expect(await readSoak(pair.local, await timeAgo('100 days'))).to.include({ samples: 1 });
    for (const { takenAt, unexplained } of [...old, sample(await timeAgo('91 days'))])
      await pair.here.query(
        "insert into sensorctl.sample (taken_at, epoch, troubles, unexplained, figures) values ($1, 0, $2, $2, '{}')",
        [takenAt, unexplained],
      );
    await thinSamples(pair.local.pool);
    const soak = await readSoak(pair.local, await timeAgo('100 days'));
    expect(soak).to.include({ samples: 3, unexplained: 1 });
  });
});

describe('the catalogs of a side, of 300 tables', () => {
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('monitor catalogs');
    await pair.here.query(`
      do $$ begin
        for place in 1..300 loop
          execute format('create table %I (id bigint primary key, noted timestamptz not null)', 'Odd "table" ' || place);
        end loop;
      end $$;
      create table parted (id int, at date, primary key (at, id)) partition by range (at);
      create table parted_1 partition of parted for values from ('2025-01-01') to ('2026-01-01');
      insert into parted select n, '2025-02-03' from generate_series(1, 40) as n; analyze parted_1;
      create table keyless (noted timestamptz, note text); insert into keyless select now() from generate_series(1, 7);
      create index on keyless (noted) where note is not null`);
  });

  after(async () => {
    await pair.close();
  });

  it('name each with an estimate and the columns whose ranges an index finds', async () => {
    const { discovery, facts } = await readSideCatalog(pair.local.pool);
    expect(discovery.tables.filter(({ label }) => label.startsWith('Odd ')).length).to.equal(300);
    expect(facts.get('Odd "table" 300')).to.deep.equal({ rows: 0, readable: true, indexed: ['id'] });
    expect(facts.get('parted')).to.deep.equal({ rows: 40, readable: true, indexed: ['at'] });
    expect(facts.get('keyless')?.indexed, 'a partial index finds no range').to.deep.equal([]);
    expect(facts.has('parted_1')).to.equal(false);
  });
});
