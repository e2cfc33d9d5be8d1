// Each gate of a change of phase, measured on two databases where everything is in order but for what a test breaks.
import { expect } from 'chai';
import type pg from 'pg';
import { adviseOn } from '../../src/lib/cli/advice.js';
import { EVERY_TABLE, parseTablePattern } from '../../src/lib/domain/table-patterns.js';
import { ALL_TABLES } from '../../src/lib/repository/tables/reading-tables.js';
import { recordTables } from '../../src/lib/repository/cutover/recorded-tables.js';
import { trackSides } from '../../src/lib/operations/track.js';
import { untrackAll } from '../../src/lib/repository/writers/tracking.js';
import { createChecks } from '../../src/lib/cli/cutover-checks.js';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { MigrationState, Phase } from '../../src/lib/domain/migration.js';
import { unitsOf, type Reading } from '../support/readings.js';
import type { Side } from '../../src/lib/domain/side.js';
import { BOOKKEEPING_VERSION } from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import { measureGates, type Checks } from '../../src/lib/operations/cutover/gates.js';
import type { Gate } from '../../src/lib/operations/cutover/cutover-report.js';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { PreparedPair } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';
import { MEND_CLOCK, skewClockSql } from '../support/skewed-clock.js';

const PRODUCTION = [
  'prepared',
  'tables',
  'schema',
  'ledger',
  'other writers',
  'compare',
  'clock',
  'connections',
  'disk',
];
const EC2_ONLY = [...PRODUCTION, 'soak', 'consumers', 'way back', 'sequences', 'views'];
const WHY = { by: 'a test', reason: null, overriddenGates: [] };
const HOUR_MS = 3_600_000;
/** What other commands find out, where a test is not about it. */
const CONTENT: Checks = {
  verifySchema: () => Promise.resolve({ blocking: 0, warning: 0 }),
  countForeignOnEc2: () => Promise.resolve(0),
  countForeignOnLocal: () => Promise.resolve(0),
};

/** Databases in phase 2 with a living consumer, some readings on both sides, and all of it proven. */
class Ready {
  private constructor(
    readonly pair: PreparedPair,
    private readonly repository: DualWriteRepository,
    readonly state: MigrationState,
  ) {}

  static async open(title: string): Promise<Ready> {
    const pair = await PreparedPair.open(title);
    const first = await recordFirstPhase(pair.local, WHY);
    const state = await changePhase(pair.local, first, { ...WHY, phase: 2 });
    await copyRecord(pair.ec2, state);
    const ready = new Ready(pair, await pair.openRepository(), state);
    await ready.write(20);
    expect((await pair.compare()).verdict).to.equal('identical');
    return ready;
  }

  /** Writes readings to both sides; what they touch is then unproven. */
  async write(count: number): Promise<void> {
    const readings = Array.from({ length: count }, (_, index) => reading(index));
    for (const batch of await this.repository.primary.write({ units: unitsOf(readings), rejects: [] }))
      this.repository.secondary?.enqueue(batch);
    await this.repository.idle();
  }

  async measure(target: Phase, options: Partial<Parameters<typeof measureGates>[0]> = {}): Promise<Gate[]> {
    const { pair, state } = this;
    return await measureGates({
      ...{
        sides: { local: pair.local, ec2: pair.ec2 },
        state,
        target,
        minSoakMs: 0,
        selection: EVERY_TABLE,
        checks: CONTENT,
        dryRun: false,
      },
      ...{ stop: new AbortController().signal, onGate: () => undefined },
      ...options,
    });
  }

  get checks(): Checks {
    const { local, ec2 } = this.pair;
    return createChecks({ local, ec2 }, EVERY_TABLE, new AbortController().signal);
  }

  async close(): Promise<void> {
    await this.repository.close();
    await this.pair.close();
  }
}

describe('the gates of a change of phase', function () {
  this.timeout(60_000);
  let ready: Ready;
  let pair: PreparedPair;
  /** On databases of its own: it is looked at for ten seconds, in which batches on their way might settle. */
  let damaged: Promise<{ damaged: Gate[]; mended: Gate[] }>;

  before(async () => {
    damaged = measureDamaged();
    damaged.catch(() => undefined);
    ready = await Ready.open('gates');
    pair = ready.pair;
  });

  after(async () => {
    await damaged.catch(() => undefined);
    await ready.close();
  });

  /** Measures what fails while the damage lasts; nothing may fail when it is mended. */
  async function failing(
    harm: () => Promise<unknown>,
    mend: () => Promise<unknown>,
    { target = 3, ...options }: Partial<Parameters<typeof measureGates>[0]> = {},
  ): Promise<Gate[]> {
    await harm();
    const gates = await ready.measure(target, options).finally(mend);
    expect(failures(await ready.measure(target)), 'once it is mended').to.deep.equal([]);
    return failures(gates);
  }

  it('are all met where everything is in order, and each says what was measured', async () => {
    const two = await ready.measure(2, { checks: ready.checks });
    const three = await ready.measure(3, { checks: ready.checks });
    expect(failures([...two, ...three])).to.deep.equal([]);
    expect(two.map(({ name }) => name)).to.deep.equal(PRODUCTION);
    expect(three.map(({ name }) => name)).to.deep.equal(EC2_ONLY);
    for (const { detail, advice } of three) expect([detail !== '', advice]).to.deep.equal([true, null]);
  });

  it('are few where little is at stake: for phase 1, and on the way back', async () => {
    const names = async (phase: Phase | null, target: Phase): Promise<string[]> => {
      const primary = phase === 3 ? 'ec2' : 'local';
      const gates = await ready.measure(target, { state: { ...ready.state, phase, primary } });
      return gates.map(({ name }) => name);
    };
    expect(await names(null, 1)).to.deep.equal(['prepared']);
    expect(await names(2, 1)).to.deep.equal([]);
    expect(await names(3, 2)).to.deep.equal(['prepared', 'way back', 'other writers', 'sequences', 'views']);
  });

  it('prepared: an older bookkeeping schema on EC2 stops it', async () => {
    const [gate, ...others] = await failing(
      () => pair.there.query(`update sensorctl.schema_version set version = 0 where version = ${BOOKKEEPING_VERSION}`),
      () => pair.there.query(`update sensorctl.schema_version set version = ${BOOKKEEPING_VERSION} where version = 0`),
    );
    expectGate(gate, 'prepared', /older than this version needs/, /sensorctl init --side ec2/);
    expect(others).to.deep.equal([]);
  });

  it('prepared: EC2 without a unique key cannot become the primary, and --force does not help', async () => {
    const [gate] = await failing(
      () => pair.there.query('alter table moisture_readings drop constraint moisture_readings_key'),
      () =>
        pair.there.query('alter table moisture_readings add constraint moisture_readings_key unique (sensor_id, time)'),
    );
    expectGate(gate, 'prepared', /moisture_readings has no unique key/, /sensorctl init --side ec2 --add-keys/);
    expect(gate?.forcible).to.equal(false);
  });

  it('the key is required on EC2 from phase 2 on', async () => {
    const gates = await failing(
      () => pair.there.query('alter table moisture_readings drop constraint moisture_readings_key'),
      () =>
        pair.there.query('alter table moisture_readings add constraint moisture_readings_key unique (sensor_id, time)'),
      { target: 2, checks: ready.checks },
    );
    expect(gates.map(({ name, forcible }) => [name, forcible])).to.deep.equal([
      ['prepared', false],
      ['schema', true],
    ]);
  });

  it('schema: a column that EC2 lacks stops it', async () => {
    const [tables, gate, ...others] = await failing(
      () => pair.here.query('alter table water_level_readings add column depth_cm numeric(5,2)'),
      () => pair.here.query('alter table water_level_readings drop column depth_cm'),
      { target: 2, checks: ready.checks },
    );
    expectGate(tables, 'tables', /water_level_readings column depth_cm is missing/, /sensorctl verify-schema/);
    expectGate(gate, 'schema', /[1-9]\d* findings? blocks?,/, /sensorctl verify-schema/);
    expect(others).to.deep.equal([]);
  });

  it('ledger: a missed entry stops it', async () => {
    const [gate, ...others] = await failing(
      () => pair.miss('water_level_readings', '2025-07-01T00:00:00Z', '2025-07-01T00:01:00Z'),
      () => pair.here.query('delete from sensorctl.ledger'),
    );
    expectGate(gate, 'ledger', /1 missed entry,/, /sensorctl backfill/);
    expect(others).to.deep.equal([]);
  });

  it('ledger: what a dead consumer left pending stops it', async () => {
    const [gate] = await failing(
      () =>
        pair.here.query(`insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
          values (gen_random_uuid(), gen_random_uuid(), 'water_level_readings', '{[2025-07-01,2025-07-02)}', 1, 'pending')`),
      () => pair.here.query('delete from sensorctl.ledger'),
    );
    expectGate(gate, 'ledger', /1 missed entry,/, /sensorctl backfill/);
  });

  it('ledger: a reading that EC2 refuses for good stops it', async () => {
    const [gate, ...others] = await failing(
      () =>
        pair.here.query(`insert into sensorctl.ledger
            (batch_id, consumer_id, table_name, times, readings, state, sensor_id, reason)
          values (gen_random_uuid(), gen_random_uuid(), 'water_level_readings', '{[2025-07-01,2025-07-02)}', 1,
            'refused', 'A', '23514: a test')`),
      () => pair.here.query('delete from sensorctl.ledger'),
    );
    expectGate(gate, 'ledger', /1 reading that EC2 refuses/, /sensorctl backfill/);
    expect(others).to.deep.equal([]);
  });

  it('compare: where nothing was ever compared, it says how', async () => {
    await pair.here.query('create table sensorctl.test_kept as table sensorctl.comparison');
    const gates = await failing(
      () => pair.here.query('delete from sensorctl.comparison'),
      () =>
        pair.here.query(`insert into sensorctl.comparison overriding system value table sensorctl.test_kept;
          drop table sensorctl.test_kept`),
    );
    expect(gates.map(({ name }) => name)).to.deep.equal(['compare', 'soak']);
    expectGate(gates[0], 'compare', /no comparison of all of water_level_readings/, /sensorctl compare --all/);
    expectGate(gates[1], 'soak', /no comparison was made/, /sensorctl compare --window 1h/);
  });

  for (const [what, tables] of [
    ['of an hour', `jsonb_agg(entry || '{"whole": false}')`],
    ['of some tables', `jsonb_agg(entry) filter (where entry->>'table' = 'moisture_readings')`],
  ] as const) {
    it(`compare: an identical comparison ${what} alone does not prove everything`, async () => {
      await pair.here.query(
        'create table sensorctl.test_kept as select comparison_id, report from sensorctl.comparison',
      );
      const gates = await failing(
        () =>
          pair.here.query(`update sensorctl.comparison set report = jsonb_set(report, '{tables}', (
            select ${tables} from jsonb_array_elements(report->'tables') as entry))`),
        () =>
          pair.here
            .query(`update sensorctl.comparison as known set report = kept.report from sensorctl.test_kept as kept
              where known.comparison_id = kept.comparison_id; drop table sensorctl.test_kept`),
        { target: 2 },
      );
      expect(gates.map(({ name }) => name)).to.deep.equal(['compare']);
    });
  }

  for (const [what, change] of [
    [
      'from before the migration began, when batches entered no ledger',
      "started_at = (select min(changed_at) from sensorctl.state_history) - interval '1 second'",
    ],
    ['with another EC2', `scope = jsonb_set(scope, '{between,1}', '"another 1"')`],
  ] as const) {
    it(`compare: an identical comparison ${what}, proves nothing`, async () => {
      await pair.here.query('create table sensorctl.test_kept as table sensorctl.comparison');
      const gates = await failing(
        () => pair.here.query(`update sensorctl.comparison set ${change}`),
        () =>
          pair.here.query(`update sensorctl.comparison as known set (started_at, scope) = (kept.started_at, kept.scope)
            from sensorctl.test_kept as kept where known.comparison_id = kept.comparison_id; drop table sensorctl.test_kept`),
        { target: 2 },
      );
      expect(gates.map(({ name }) => name)).to.deep.equal(['compare']);
      expectGate(gates[0], 'compare', /was identical since the migration began/, /sensorctl compare --all/);
    });
  }

  it('tables: one that is new since the phase was recorded stops it, until it is proven or excepted', async () => {
    await recordTables(pair.here, [...ALL_TABLES]);
    const create = 'create table added (id integer primary key); insert into added values (1)';
    await Promise.all([pair.here.query(create), pair.there.query(create)]);
    const [gate, compared] = failures(await ready.measure(2));
    expectGate(gate, 'tables', /new since the phase was recorded, and not proven: added/, /compare --all takes a new/);
    expectGate(compared, 'compare', /no comparison of all of added/, /sensorctl compare --all/);
    const selection = { tables: [], except: [parseTablePattern('added')!] };
    const without = await ready.measure(2, { selection });
    expect(failures(without)).to.deep.equal([]);
    expect(without.find(({ name }) => name === 'tables')?.detail).to.match(
      /4 tables; left out: added \(TABLES_EXCEPT names it\)/,
    );
    await pair.compare({ tables: ['added'] });
    expect(failures(await ready.measure(2))).to.deep.equal([]);
    await recordTables(pair.here, [...ALL_TABLES, 'added']);
    await Promise.all([pair.here, pair.there].map((side) => side.query('drop table added')));
    const [gone] = failures(await ready.measure(2));
    expectGate(gone, 'tables', /no longer there: added/, /TABLES_EXCEPT/);
    await recordTables(pair.here, []);
  });

  it('compare: a proof older than an hour is none for the switch, and says whose it is', async () => {
    const shift = (by: string): Promise<unknown> =>
      pair.here.query(`update sensorctl.comparison set finished_at = finished_at ${by} interval '2 hours'`);
    const [gate] = await failing(
      () => shift('-'),
      () => shift('+'),
    );
    expectGate(gate, 'compare', /not proven, the oldest proof of \S+Z \(\w+\): water_level_readings/, /compare --all/);
    await shift('-');
    expect(failures(await ready.measure(2))).to.deep.equal([]);
    await shift('+');
  });

  it('other writers: of an untracked table it says how old the proof is, and what that does not cover', async () => {
    const gate = (await ready.measure(2)).find(({ name }) => name === 'other writers');
    expect(gate?.passed).to.equal(true);
    expect(gate?.detail).to.match(
      /0 tables tracked; .* by comparisons alone; not covered: .*water_level_readings \d+ (?:s|min) ago/,
    );
  });

  describe('where tables are tracked', () => {
    const tracked = ['sensor_registry', 'water_level_readings'];
    before(async () => {
      await trackSides([pair.local, pair.ec2], { tables: tracked, dryRun: false });
    });

    after(async () => {
      for (const side of [pair.local, pair.ec2]) {
        await untrackAll(side);
        await side.pool.query('delete from sensorctl.tracked_table');
      }
    });

    it('a comparison from before their triggers were made proves nothing of them, and one from after it does', async () => {
      const [gate, ...others] = failures(await ready.measure(2));
      expectGate(
        gate,
        'compare',
        /no comparison of all of (?!.*moisture)(?=.*sensor_registry).*water_level_readings.* or since its triggers were made/,
        /sensorctl compare --all/,
      );
      expect(others).to.deep.equal([]);
      expect((await pair.compare()).verdict).to.equal('identical');
      expect(failures(await ready.measure(3))).to.deep.equal([]);
    });

    it('their proof need not be of the last hour: what was written since stands in the ledger', async () => {
      const shift = (by: string): Promise<unknown> =>
        pair.here.query(`update sensorctl.comparison set finished_at = finished_at ${by} interval '2 hours'`);
      await shift('-');
      const [gate] = failures(await ready.measure(3));
      await shift('+');
      expectGate(gate, 'compare', /not proven, .*: (?!.*water_level)(?=.*moisture_readings)/, /compare --all/);
    });

    for (const [what, harm] of [
      ['disabled', 'alter table public.water_level_readings disable trigger sensorctl_gate'],
      ['gone', 'drop trigger sensorctl_gate on public.water_level_readings'],
      [
        'disabled and enabled again: what was written meanwhile is in no entry',
        `alter table public.water_level_readings disable trigger sensorctl_gate;
         alter table public.water_level_readings enable always trigger sensorctl_gate`,
      ],
    ] as const) {
      for (const side of ['local', 'ec2'] as const) {
        it(`a trigger on ${side} that was ${what}, stops it, and a new one needs a new proof`, async () => {
          await pair[side].pool.query(harm);
          const [gate] = failures(await ready.measure(3));
          expectGate(gate, 'other writers', /the triggers of water_level_readings are not whole on/, /init --track/);
          await trackSides([pair.local, pair.ec2], { tables: tracked, dryRun: false });
          const [compared, ...others] = failures(await ready.measure(3));
          expectGate(compared, 'compare', /all of water_level_readings, .* its triggers were made/, /compare --all/);
          expect(others).to.deep.equal([]);
          expect((await pair.compare()).verdict).to.equal('identical');
          expect(failures(await ready.measure(3))).to.deep.equal([]);
        });
      }
    }

    it('on the way back only what is not tracked is looked at on local', async () => {
      const asked: (readonly string[])[] = [];
      const countForeignOnLocal = (tables: readonly string[]): Promise<number> => Promise.resolve(asked.push(tables));
      const gates = await ready.measure(2, {
        ...{ state: { ...ready.state, phase: 3, primary: 'ec2' }, checks: { ...CONTENT, countForeignOnLocal } },
      });
      expect(asked.flat().toSorted()).to.deep.equal(['moisture_readings', 'sensor_readings']);
      const [gate] = failures(gates);
      expectGate(gate, 'other writers', /local holds 1 row of the last hour/, /backfill --direction local-to-ec2/);
    });

    it('without a queue there is no consumer: the soak counts where every table is tracked', async () => {
      const write = (mode: string): Promise<unknown> =>
        pair.here.query('update sensorctl.consumer set write_mode = $1', [mode]);
      const hour = { minSoakMs: HOUR_MS, state: await backdated(2 * HOUR_MS) };
      const soak = async (): Promise<Gate | undefined> =>
        (await ready.measure(3, hour)).find(({ name }) => name === 'soak');
      await write('local-only');
      expectGate(await soak(), 'soak', /no consumer ran in it/, /without a queue: sensorctl init --track/);
      await trackSides([pair.local, pair.ec2], {
        tables: [...tracked, 'moisture_readings', 'sensor_readings'],
        dryRun: false,
      });
      expectGate(await soak(), 'soak', /no monitor watched it/, /sensorctl monitor/);
      await write('dual-write');
    });
  });

  it('compare: a comparison with another EC2 takes back what was proven before it', async () => {
    const gates = await failing(
      () =>
        pair.here.query(`insert into sensorctl.comparison (scope, progress, finished_at, verdict, report)
          select jsonb_set(scope, '{between,1}', '"another 1"'), '{}', clock_timestamp(), 'identical', report
          from sensorctl.comparison order by comparison_id limit 1`),
      () => pair.here.query("delete from sensorctl.comparison where scope->'between'->>1 = 'another 1'"),
      { target: 2 },
    );
    expect(gates.map(({ name }) => name)).to.deep.equal(['compare']);
  });

  it('compare and soak: a difference that was found since the last proof of everything stops both', async () => {
    const gates = await failing(
      async () => {
        await pair.there.query("update water_level_readings set rssi = -1 where sensor_id = 'S-3'");
        expect((await pair.compare()).verdict).to.equal('different');
        await pair.there.query("update water_level_readings set rssi = null where sensor_id = 'S-3'");
      },
      async () => {
        expect((await pair.compare()).verdict).to.equal('identical');
        await pair.here.query("delete from sensorctl.comparison where verdict = 'different'");
      },
      { minSoakMs: 0, state: await backdated(HOUR_MS) },
    );
    expect(gates.map(({ name }) => name)).to.deep.equal(['compare']);
    expectGate(gates[0], 'compare', /found differences/, /sensorctl compare --all/);
  });

  it('soak: an unexplained difference within it stops it, though everything was proven since', async () => {
    const [gate, ...others] = await failing(
      async () => {
        await pair.there.query("update water_level_readings set rssi = -1 where sensor_id = 'S-3'");
        await pair.compare();
        await pair.there.query("update water_level_readings set rssi = null where sensor_id = 'S-3'");
        expect((await pair.compare()).verdict).to.equal('identical');
      },
      () => pair.here.query("delete from sensorctl.comparison where verdict = 'different'"),
      { minSoakMs: HOUR_MS, state: await backdated(2 * HOUR_MS) },
    );
    expectGate(gate, 'soak', /found an unexplained difference/, /begin anew/);
    expect(others).to.deep.equal([]);
  });

  it('clock: a server whose clock is 1.5 s off stops it, on either side', async () => {
    for (const side of ['local', 'ec2'] as const) {
      const pool = side === 'local' ? pair.here : pair.there;
      await pool.query(skewClockSql('1.5 seconds'));
      const gates = await onNewSessions(side, (sides) => ready.measure(2, { sides })).finally(() =>
        pool.query(MEND_CLOCK),
      );
      const gate = gates.find((each) => each.name === 'clock');
      expectGate(gate, 'clock', /^1[45]\d\d ms apart, measured to \d+ ms$/, /NTP/);
    }
  });

  it('connections: an EC2 that has only few left stops it', async () => {
    const { rows } = await pair.there.query<{ name: string }>('select current_database() as name');
    const limit = `alter database ${rows[0]?.name ?? ''} connection limit`;
    const [gate, ...others] = await failing(
      () => pair.there.query(`${limit} 4`),
      () => pair.there.query(`${limit} -1`),
    );
    expectGate(gate, 'connections', /free on EC2, 5 wanted/, /max_connections.*EC2_POOL_MAX/);
    expect(others).to.deep.equal([]);
  });

  it('disk: a replication slot that nobody reads stops it', async () => {
    const [gate, ...others] = await failing(
      () => pair.there.query("select pg_create_physical_replication_slot('gates_idle', true)"),
      () => pair.there.query("select pg_drop_replication_slot('gates_idle')"),
    );
    expectGate(gate, 'disk', /1 replication slot that nobody reads keeps/, /pg_replication_slots/);
    expect(others).to.deep.equal([]);
  });

  it('soak: too short a time in phase 2 stops it', async () => {
    const [gate, ...others] = await failing(
      () => Promise.resolve(),
      () => Promise.resolve(),
      { minSoakMs: 24 * HOUR_MS, state: await backdated(23 * HOUR_MS) },
    );
    expectGate(gate, 'soak', /^23\.0 h in phase 2, 24\.0 h wanted$/, /sensorctl monitor/);
    expect(others).to.deep.equal([]);
  });

  it('soak: an hour in which no consumer ran in dual write is no evidence', async () => {
    const write = (mode: string): Promise<unknown> =>
      pair.here.query('update sensorctl.consumer set write_mode = $1', [mode]);
    const hour = { minSoakMs: HOUR_MS, state: await backdated(2 * HOUR_MS) };
    const [gate] = await failing(
      () => write('local-only'),
      () => write('dual-write'),
      hour,
    );
    expectGate(gate, 'soak', /no consumer ran in it/, /sensorctl consume/);
  });

  it('soak: an hour that no monitor watched, or not for a sixth of it, is no evidence; one that it watched is', async () => {
    const watch = (minutes: string): Promise<unknown> =>
      pair.here.query(`insert into sensorctl.sample (taken_at, phase, epoch, troubles, unexplained, figures)
        select clock_timestamp() - minute * interval '1 minute', 2, 2, '{}', '{}', '{}'
        from generate_series(0, 60, 4) as minute where minute not in (${minutes})`);
    const forget = (): Promise<unknown> => pair.here.query('delete from sensorctl.sample');
    const hour = { minSoakMs: HOUR_MS, state: await backdated(2 * HOUR_MS) };
    const [unwatched, ...others] = await failing(() => Promise.resolve(), forget, hour);
    expectGate(unwatched, 'soak', /and no monitor watched it/, /sensorctl monitor, left running/);
    expect(others).to.deep.equal([]);
    const [broken] = await failing(() => watch('20, 24'), forget, hour);
    expectGate(broken, 'soak', /and for 0\.20 h no monitor watched it/, /sensorctl monitor, left running/);
    expect(await failing(() => watch('20'), forget, hour)).to.have.length(1);
    expect(await failing(() => watch('-1'), forget, hour)).to.deep.equal([]);
  });

  it('consumers: one that has been silent stops it and is named, until it counts as gone', async () => {
    const silent = (seconds: number) => (): Promise<unknown> =>
      pair.here.query(
        `insert into sensorctl.consumer (consumer_id, host, pid, write_mode, lease_until)
         values (gen_random_uuid(), 'field-7', 4711, 'dual-write', clock_timestamp() - make_interval(secs => $1))`,
        [seconds],
      );
    const forget = (): Promise<unknown> => pair.here.query("delete from sensorctl.consumer where host = 'field-7'");
    const [gate, ...others] = await failing(silent(40), forget);
    expectGate(gate, 'consumers', /field-7, process 4711, has been silent for 4\d s/, /300 s of silence/);
    expect(others).to.deep.equal([]);
    expect(await failing(silent(301), forget)).to.deep.equal([]);
  });

  it('consumers: one that is held back to local stops it, and is told from a dead one', async () => {
    let heldBack: DualWriteRepository | undefined;
    const [gate, ...others] = await failing(
      async () => (heldBack = await pair.openRepository('local-only')),
      async () => await heldBack?.close(),
    );
    expectGate(gate, 'consumers', /writes to local only/, /ENABLE_DUAL_WRITE=false/);
    expect(others).to.deep.equal([]);
  });

  it('way back: a local that takes no writes stops it, also a rollback', async () => {
    const { rows } = await pair.here.query<{ name: string }>('select current_database() as name');
    const { name } = rows[0]!;
    await pair.here.query(`alter database ${name} set default_transaction_read_only = on`);
    const [forward, back] = await onNewSessions('local', async (sides) => [
      await ready.measure(3, { sides }),
      await ready.measure(2, { sides, state: { ...ready.state, phase: 3, primary: 'ec2' } }),
    ]).finally(() => resetDatabase(pair.here, name));
    for (const gates of [forward ?? [], back ?? []]) {
      const gate = gates.find((each) => each.name === 'way back');
      expectGate(gate, 'way back', /local does not take writes: .*read-only/, /mend local/);
    }
  });

  it('way back: a row that only EC2 has stops it', async () => {
    const [gate, ...others] = await failing(
      () =>
        pair.there.query(
          "insert into water_level_readings (time, sensor_id, level_cm) values (clock_timestamp() - interval '10 minutes', 'LOST', 1)",
        ),
      () => pair.there.query("delete from water_level_readings where sensor_id = 'LOST'"),
      { checks: ready.checks },
    );
    expectGate(gate, 'way back', /EC2 holds 1 row of the last hour that local lacks/, /sensorctl compare/);
    expect(others).to.deep.equal([]);
  });

  it('that cannot be measured are not met, and say why', async () => {
    const checks: Checks = { ...CONTENT, verifySchema: () => Promise.reject(new Error('the catalog is on fire')) };
    const [gate, ...others] = failures(await ready.measure(2, { checks }));
    expectGate(gate, 'schema', /could not be measured: the catalog is on fire/, /try again/);
    expect(others).to.deep.equal([]);
  });

  it('compare: what was damaged by hand on EC2 since the last proof stops it, and is proven once it is mended', async () => {
    const outcome = await damaged;
    const [gate, ...others] = failures(outcome.damaged);
    expectGate(gate, 'compare', /water_level_readings differ in what was written/, /sensorctl compare --window 1h/);
    expect(others).to.deep.equal([]);
    expect(failures(outcome.mended)).to.deep.equal([]);
  });

  /** The record of phase 2, as if it had begun so long ago. */
  async function backdated(ms: number): Promise<MigrationState> {
    const { rows } = await pair.here.query<{ since: string }>(
      'select (clock_timestamp() - make_interval(secs => $1))::text as since',
      [ms / 1000],
    );
    return { ...ready.state, phaseSince: rows[0]?.since ?? '' };
  }

  /** Lends sides of which one is opened anew: what a database says of its sessions holds for new ones. */
  async function onNewSessions<Result>(
    side: Side,
    work: (sides: Record<Side, Database>) => Promise<Result>,
  ): Promise<Result> {
    const connection = pair[side].connection;
    const fresh = openDatabase({
      ...{ side, connection, poolMax: 3, callTimeoutMs: 20_000, applicationName: 'sensorctl test' },
    });
    try {
      return await work({ local: pair.local, ec2: pair.ec2, [side]: fresh });
    } finally {
      await closeDatabase(fresh);
    }
  }
});

async function measureDamaged(): Promise<{ damaged: Gate[]; mended: Gate[] }> {
  const ready = await Ready.open('gates damaged');
  try {
    await ready.write(5);
    await eventually('what was written is unproven', async () => {
      const { rowCount } = await ready.pair.here.query('select from sensorctl.unproven');
      return (rowCount ?? 0) > 0;
    });
    await ready.pair.there.query("update water_level_readings set rssi = -1 where sensor_id = 'S-3'");
    const damaged = await ready.measure(3);
    await ready.pair.there.query("update water_level_readings set rssi = null where sensor_id = 'S-3'");
    return { damaged, mended: await ready.measure(3) };
  } finally {
    await ready.close();
  }
}

async function resetDatabase(pool: pg.Pool, name: string): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('set default_transaction_read_only = off');
    await client.query(`alter database ${name} reset all`);
  } finally {
    client.release();
  }
}

let written = 0;

/** Of sensor S-0, S-1, …, each a minute after the one before. */
function reading(index: number): Reading {
  const time = new Date(Date.UTC(2025, 6, 1) + (written += 1) * 60_000).toISOString();
  return {
    table: 'water_level_readings',
    time,
    sensorId: `S-${index}`,
    sensorType: 'water-level',
    values: { level_cm: 1 },
  };
}

function failures(gates: readonly Gate[]): Gate[] {
  return gates.filter(({ passed }) => !passed);
}

function expectGate(gate: Gate | undefined, name: string, detail: RegExp, next: RegExp): void {
  expect(gate).to.include({ name, passed: false });
  expect(gate?.detail).to.match(detail);
  expect(adviseOn(gate!.advice!)).to.match(next);
}
