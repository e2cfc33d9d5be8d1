import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { createPaint } from '../../src/lib/cli/output.js';
import { fitLine } from '../../src/lib/cli/text-layout.js';
import { renderLine } from '../../src/lib/cli/monitor/presenter.js';
import { renderLiveBody, renderLivePage } from '../../src/lib/cli/monitor/live-page.js';
import { renderReportPage } from '../../src/lib/cli/monitor/report-page.js';
import { worstTables } from '../../src/lib/cli/monitor/worst-tables.js';
import { renderScreen, sparkline } from '../../src/lib/cli/monitor/screen.js';
import { describeCalm, describePhase, formatClock } from '../../src/lib/cli/monitor/wording.js';
import { latencyBucket, latencyQuantile, NO_LATENCIES } from '../../src/lib/domain/latency.js';
import { UsageError } from '../../src/lib/errors.js';
import { RecentWaits } from '../../src/lib/operations/consume/consume-summary.js';
import { parseConditions } from '../../src/lib/operations/monitor/conditions.js';
import { findGapEpisodes, findIncidents } from '../../src/lib/operations/monitor/incidents.js';
import { ApartCounts } from '../../src/lib/operations/monitor/apart-counts.js';
import type { Looks } from '../../src/lib/operations/monitor/compose-snapshot.js';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import type { ReportedTable } from '../../src/lib/operations/monitor/reported-tables.js';
import type { SideLook } from '../../src/lib/operations/monitor/side-watch.js';
import type { Apart, Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { unexplainedOf } from '../../src/lib/operations/monitor/trouble.js';
import { WriteMeter } from '../../src/lib/repository/write/write-meter.js';
import { WindowCounts, type CountedTable } from '../../src/lib/repository/monitor/window-counts.js';
import type { AxisType } from '../../src/lib/repository/tables/axis.js';
import type { Sample, SampleFigures } from '../../src/lib/repository/monitor/samples.js';
import { comparisonOf, consumerOf, lookOf, NOW, PHASE_2, silent, snapshotOf, statusOf } from '../support/monitored.js';

const GAPS = {
  entries: { pending: 1, missed: 4, refused: 0 },
  readings: { pending: 9, missed: 80, refused: 0 },
  gaps: {
    ranges: 2,
    readings: 80,
    oldest: '2025-06-30 23:00:00+00',
    tables: [{ table: 'water_level_readings', rows: 80 }],
  },
  writers: [],
};

/** The picture of a terminal of 80 columns and 24 rows, without colour. */
function pictureOf(history: readonly Snapshot[]): string[] {
  return renderScreen(history, { columns: 80, rows: 24, paint: createPaint(false), footer: null });
}

function kinds({ troubles }: Snapshot): string[] {
  return troubles.map(({ kind }) => kind);
}

describe('what a look says', () => {
  it('healthy: nothing is wrong, rates and latencies are those of living consumers', () => {
    const snapshot = snapshotOf();
    expect(snapshot).to.deep.include({ health: 'healthy', troubles: [], phase: 2, writeMode: 'dual-write', epoch: 3 });
    expect(snapshot.rates).to.deep.equal({ in: 50, toSecondary: 50 });
    expect(snapshot.sides.local).to.include({ writeP50Ms: 4, writeP99Ms: 5 });
    expect(snapshot.sides.ec2.writeP50Ms).to.equal(null);
    expect(snapshot.queue).to.include({ visible: 3, longestWaitSeconds: 0.4 });
  });

  it('EC2 silent: says so, keeps what the ledger tells, and all of it is explained', () => {
    const open = consumerOf({ status: statusOf({ breaker: { state: 'open', reason: 'gone' } }) });
    const snapshot = snapshotOf({
      local: lookOf('local', { consumers: [open], ledger: GAPS, lagSeconds: 90 }),
      ec2: silent('ec2', PHASE_2, 'connect ECONNREFUSED'),
    });
    expect(snapshot.health).to.equal('trouble');
    expect(kinds(snapshot)).to.deep.equal(['secondary-silent', 'breaker-open', 'gaps', 'lag']);
    expect(unexplainedOf(snapshot.troubles)).to.deep.equal([]);
    expect(snapshot.tables[0]).to.deep.include({ ec2: null });
    expect(snapshot.gaps).to.deep.include({ ranges: 2, oldest: '2025-06-30T23:00:00.000000Z' });
  });

  it('recovering: both sides answer, and gaps are all that is left', () => {
    const snapshot = snapshotOf({ local: lookOf('local', { ledger: GAPS, lagSeconds: 40 }) });
    expect(snapshot.health).to.equal('recovering');
  });

  it('local silent: what only the primary knows is unknown, not zero', () => {
    const snapshot = snapshotOf({ local: silent('local', PHASE_2, 'gone') });
    expect(snapshot).to.include({ health: 'trouble', phase: 2, lagSeconds: null, gaps: null, consumers: null });
    expect(snapshot.rates).to.deep.equal({ in: null, toSecondary: null });
    expect(unexplainedOf(snapshot.troubles)).to.deep.equal(['primary-silent']);
  });

  it('messages wait while nobody receives: trouble, with the reason, for --fail-on too', () => {
    const intake = { messages: 600, inHand: 0, longestWaitMs: 0, pollAgeMs: 95_000, pollFailure: 'ExpiredToken' };
    const deaf = consumerOf({ status: statusOf({ intake }) });
    const queue = { answers: true, problem: null, visible: 500, inFlight: 0, delayed: 0, deadLetters: 0 };
    const snapshot = snapshotOf({ local: lookOf('local', { consumers: [deaf, consumerOf()] }), queue });
    expect(snapshot.health).to.equal('trouble');
    expect(snapshot.troubles).to.deep.equal([
      {
        kind: 'not-receiving',
        text: '1 of 2 consumers receives nothing; 500 messages wait (ExpiredToken)',
        tables: [],
      },
    ]);
    expect(unexplainedOf(snapshot.troubles)).to.deep.equal(['not-receiving']);
    for (const condition of ['troubles>0', 'not-receiving>0']) {
      expect(parseConditions(condition)[0]?.holds(snapshot), condition).to.equal(true);
      expect(parseConditions(condition)[0]?.holds(snapshotOf()), condition).to.equal(false);
    }
  });

  it('the side with the higher epoch says who is the primary, and its ledger counts', () => {
    const state = { ...PHASE_2, phase: 3 as const, primary: 'ec2' as const, epoch: 4, keepLocalCurrent: true };
    const snapshot = snapshotOf({ ec2: lookOf('ec2', { state, ledger: GAPS, consumers: [consumerOf()] }) });
    expect(snapshot).to.include({ primary: 'ec2', epoch: 4, phase: 3 });
    expect(snapshot.gaps?.ranges).to.equal(2);
  });

  it('in phase 3 local is behind on purpose: no trouble, and the picture says so', () => {
    const state = { ...PHASE_2, phase: 3, primary: 'ec2', writeMode: 'ec2-only', epoch: 4 } as const;
    const consumers = [consumerOf({ writeMode: 'ec2-only' })];
    const snapshot = snapshotOf({ ec2: lookOf('ec2', { state, ledger: GAPS, consumers, lagSeconds: 400 }) });
    expect(snapshot).to.deep.include({ health: 'healthy', troubles: [], writeMode: 'ec2-only' });
    expect(describeCalm(snapshot)).to.match(/kept as it was at the switch \(80 readings behind, as intended\)/);
  });

  it('shows the newest comparison, whichever side was the primary then', () => {
    const state = { ...PHASE_2, phase: 3, primary: 'ec2', epoch: 4 } as const;
    const before = comparisonOf();
    const after = comparisonOf({ finishedAt: '2025-06-30T23:30:00.500000Z' });
    const local = lookOf('local', { comparison: before });
    expect(snapshotOf({ local, ec2: lookOf('ec2', { state }) }).comparison?.finishedAt).to.match(/T23:00:00/);
    const ec2 = lookOf('ec2', { state, comparison: after });
    expect(snapshotOf({ local, ec2 }).comparison?.finishedAt).to.match(/T23:30:00\.5/);
  });

  it('in phase 3 nothing is late or lacking that is left behind on purpose, for --fail-on and the line of a log too', () => {
    const state = { ...PHASE_2, phase: 3, primary: 'ec2', writeMode: 'ec2-only', epoch: 4 } as const;
    const snapshot = snapshotOf({ ec2: lookOf('ec2', { state, ledger: GAPS, lagSeconds: 400 }) });
    expect(snapshot).to.deep.include({ lagSeconds: 0, soak: null });
    expect(snapshot.gaps?.ranges).to.equal(0);
    expect(snapshot.leftBehind).to.include({ seconds: 400, ranges: 2, readings: 80 });
    for (const { holds } of parseConditions('lag>60s,gaps>0')) expect(holds(snapshot)).to.equal(false);
    expect(renderLine(snapshot))
      .to.contain(' way-back=80 ')
      .and.not.to.match(/lag=|gaps=/);
    const text = pictureOf([snapshot]).join('\n');
    expect(text).to.match(/^way back +80 readings, from 06-30 23:00, for a rollback to bring$/m);
    expect(text)
      .to.match(/^to local +not written: it is kept as it was$/m)
      .and.not.to.match(/^lag|^gaps/m);
  });

  it('tells how long the soak has lasted, in phase 2 alone', () => {
    const since = (hours: number): string => new Date(NOW / 1000 - hours * 3_600_000).toISOString();
    const lasting = snapshotOf({ local: lookOf('local', { state: { ...PHASE_2, phaseSince: since(14.25) } }) });
    expect(lasting.soak).to.deep.equal({ seconds: 51_300, wantedSeconds: 86_400 });
    expect(describePhase(lasting)).to.match(/ · soak 14.2 of 24 h$/);
    expect(renderLine(lasting)).to.contain(' soak=14.2/24h');
    const first = snapshotOf({ local: lookOf('local', { state: { ...PHASE_2, phase: 1 } }) });
    expect(describePhase(first)).to.match(/ · primary local$/);
  });

  it('tells how far a backfill has come, and whether somebody works on it', () => {
    const backfill = {
      ...{ running: true, startedAt: '2025-06-30T23:50:00.000000Z' },
      ...{ units: 30, unitsDone: 12, rows: 1_200_000, rowsDone: 504_000 },
    };
    const looking = (changes: Partial<typeof backfill>): string =>
      pictureOf([snapshotOf({ ec2: lookOf('ec2', { backfill: { ...backfill, ...changes } }) })]).join('\n');
    expect(looking({})).to.match(/^backfill +42 % of 1,200,000 rows to EC2 \(12 of 30 units\), since 06-30 23:50$/m);
    expect(looking({ running: false })).to.match(
      /^backfill +interrupted at 42 % of 1,200,000 rows to EC2 \(12 of 30 units\)$/m,
    );
    expect(looking({ units: 0 })).to.match(/^backfill +of EC2: being planned/m);
  });

  it('shows no latencies of a secondary that is silent or left out: they are those of before', () => {
    const local = NO_LATENCIES.map((_, place) => (place === 3 ? 100 : 0));
    const timed = (breaker: 'open' | 'closed'): Looks['local'] =>
      lookOf('local', {
        consumers: [
          consumerOf({
            status: statusOf({ latencies: { local, ec2: local }, breaker: { state: breaker, reason: null } }),
          }),
        ],
      });
    const p50 = (changes: Partial<Looks>): (number | null)[] => {
      const { sides } = snapshotOf(changes);
      return [sides.local.writeP50Ms, sides.ec2.writeP50Ms];
    };
    expect(p50({ local: timed('closed') })).to.deep.equal([4, 4]);
    expect(p50({ local: timed('open') })).to.deep.equal([4, null]);
    expect(p50({ local: timed('closed'), ec2: silent('ec2', PHASE_2, 'gone') })).to.deep.equal([4, null]);
  });

  it('claims no phase and no primary while both sides are silent', () => {
    const looks = { local: silent('local', PHASE_2, 'gone'), ec2: silent('ec2', PHASE_2, 'gone') };
    expect(describePhase(snapshotOf(looks))).to.equal('phase ? · primary ? · no side answers that knows');
  });

  it('no consumer, dead letters, an unexplained difference and an overdue change are unexplained', () => {
    const attempt = { token: 'x', targetPhase: 3 as const, deadline: '2025-06-30T23:59:00.000000Z' };
    const comparison = comparisonOf({ verdict: 'different', unexplained: 2 });
    const state = { ...PHASE_2, writeMode: 'draining' as const, attempt };
    const snapshot = snapshotOf({
      local: lookOf('local', { consumers: [consumerOf({ alive: false })], comparison, state }),
      queue: { answers: true, problem: null, visible: 3, inFlight: 0, delayed: 0, deadLetters: 1 },
    });
    const expected = ['change-overdue', 'no-consumer', 'dead-letters', 'different'];
    expect(kinds(snapshot)).to.deep.equal(expected);
    expect(unexplainedOf(snapshot.troubles)).to.deep.equal(expected);
    expect(snapshot.consumers?.[0]?.state).to.equal('lost');
  });
});

describe('counts of both sides that are apart', () => {
  const COUNTED = { table: 'water_level_readings', kind: 'recent', costMs: 1, isRefused: false } as const;
  const side = (name: 'local' | 'ec2', rows: number | null, to = 300, isCounted = true): SideLook => {
    const settled = rows === null ? null : { rows, from: 0, to };
    const tables = new Map([['water_level_readings', { rows: 9, newest: null, settled }]]);
    return lookOf(name, { tables, counted: isCounted ? [COUNTED] : [] });
  };
  const kindsOf = (apart: ReadonlyMap<string, Apart>, changes: Partial<Looks> = {}): string[] =>
    kinds(snapshotOf({ apart, ...changes }));

  it('are trouble once they stay so for ten seconds in one direction from count to count, and none once they meet', () => {
    const counts = new ApartCounts();
    const seconds = (local: number | null, at: number, isCounted = true): number | undefined =>
      counts
        .take(side('local', local, 300, isCounted), side('ec2', 5, 300, isCounted), at * 1000)
        .get('water_level_readings')?.seconds;
    expect(seconds(7, 0)).to.equal(0);
    expect(seconds(null, 4), 'while some are to be counted again').to.equal(0);
    expect(seconds(7, 11, false), 'not counted again').to.equal(0);
    expect(seconds(8, 12)).to.equal(12);
    expect(seconds(8, 100, false), 'known to be so when it was counted last').to.equal(12);
    expect(seconds(4, 113), 'the other way round').to.equal(0);
    expect(seconds(5, 114)).to.equal(undefined);
  });

  it('say nothing of each other where they are of other times: one clock is already in the next bucket', () => {
    const counts = new ApartCounts();
    expect(counts.take(side('local', 7, 301), side('ec2', 5, 300), 0).size).to.equal(0);
    expect(counts.take(side('local', 7, 301), side('ec2', 5, 301), 1).size).to.equal(1);
  });

  it('are unexplained trouble, unless the ledger knows what is missing or local is written alone', () => {
    const apart = new Map([['water_level_readings', { rows: 2, seconds: 10 }]]);
    expect(kindsOf(apart)).to.deep.equal(['apart']);
    expect(unexplainedOf(snapshotOf({ apart }).troubles)).to.deep.equal(['apart']);
    expect(kindsOf(new Map([['water_level_readings', { rows: 2, seconds: 9.9 }]]))).to.deep.equal([]);
    const tables = [{ table: 'water_level_readings', rows: 2 }];
    const gaps = { ranges: 1, readings: 2, oldest: null, tables };
    const ledger = { ...lookOf('local').ledger!, gaps };
    expect(kindsOf(apart, { local: lookOf('local', { ledger }) })).to.deep.equal(['gaps']);
    const [condition] = parseConditions('apart>0');
    expect(condition!.holds(snapshotOf({ apart }))).to.equal(true);
    expect(condition!.holds(snapshotOf({}))).to.equal(false);
  });
});

describe('the counts of a window', () => {
  const SECOND = 1_000_000;
  const table = (type: AxisType): CountedTable => ({
    ...{ name: { schema: 'odd schema', name: 'a "table"' }, hasHeirs: true, axis: { column: 'created at', type } },
  });

  it('go on from where they were full the last time, however long nobody counted', () => {
    const counts = new WindowCounts(3_600 * SECOND);
    const first = counts.recent(table('timestamp with time zone'), NOW);
    expect(first.values).to.deep.equal(['2025-06-30T23:59:40.000000Z']);
    counts.take(first.parse([]));
    const later = counts.recent(table('timestamp with time zone'), NOW + 300 * SECOND);
    expect(later.values, 'not 00:04:40').to.deep.equal(['2025-06-30T23:59:40.000000Z']);
    counts.take(later.parse([]));
    const next = counts.recent(table('timestamp with time zone'), NOW + 302 * SECOND);
    expect(next.values).to.deep.equal(['2025-07-01T00:04:40.000000Z']);
  });

  it('settle no later than they were counted, and not while rows may have changed anywhere', () => {
    const counts = new WindowCounts(3_600 * SECOND);
    counts.takeOlder(counts.older(table('date'), NOW).parse([]), NOW);
    counts.take(counts.recent(table('date'), NOW).parse([]));
    const settled = counts.figures(NOW).settled;
    expect(counts.figures(NOW + 60 * SECOND).settled?.to).to.equal(settled?.to);
    counts.touchAll();
    expect(counts.figures(NOW).settled).to.equal(null);
    counts.takeOlder(counts.older(table('date'), NOW).parse([]), NOW);
    expect(counts.figures(NOW).settled).to.deep.equal(settled);
  });

  it('ask for a range in the type of the axis, of the table alone and whatever its name', () => {
    const { text, values } = new WindowCounts(3_600 * SECOND).older(table('date'), NOW);
    expect(text).to.match(/from only "odd schema"\."a ""table""" where "created at" >= /);
    expect(text).to.contain(`and "created at" >= ('1970-01-01'::date + $1::int)`);
    expect(values, 'midnight of that day is not before the range').to.deep.equal(['20270', '20270']);
  });

  it('take a range of thousands of years in no time', () => {
    const counts = new WindowCounts(3_600 * SECOND);
    counts.touch({ from: -8e15, to: 8e15 });
    expect(counts.recent(table('date'), NOW).values?.length).to.equal(1);
  });
});

describe('--fail-on', () => {
  const holds = (text: string, snapshot: Snapshot): boolean[] =>
    parseConditions(text).map((each) => each.holds(snapshot));

  it('holds in each direction, with units', () => {
    const snapshot = snapshotOf({ local: lookOf('local', { lagSeconds: 61, ledger: GAPS }) });
    expect(holds('lag>60s, gaps>0', snapshot)).to.deep.equal([true, true]);
    expect(holds('lag>2m,gaps>2,lag<=61s,gaps=2,gaps!=2,in<10,in>=50', snapshot)).to.deep.equal([
      ...[false, false, true, true, false, false, true],
    ]);
    expect(holds('wait>300ms,wait>500ms,local-p99>4ms,ec2-p99>1ms', snapshot)).to.deep.equal([
      true,
      false,
      true,
      false,
    ]);
  });

  it('what is not known fails', () => {
    expect(holds('lag>60s,gaps>0,silent>0', snapshotOf({ local: silent('local', PHASE_2, '') }))).to.deep.equal([
      ...[true, true, true],
    ]);
  });

  for (const [text, says] of [
    ['lag', '--fail-on cannot be "lag"'],
    ['lag>60', 'lag in --fail-on is a duration, not "60"'],
    ['lag>s', 'lag in --fail-on is a duration, not "s"'],
    ['gaps>0s', 'gaps in --fail-on is a number, not "0s"'],
    ['gap>1', '--fail-on knows no figure "gap"; did you mean gaps?'],
    ['gaps=>1', 'gaps in --fail-on is a number, not ">1"'],
    ['', '--fail-on cannot be ""'],
    ['gaps>0,', '--fail-on cannot be ""'],
  ] as const) {
    it(`"${text}" is a usage error that says what is wrong with it`, () => {
      expect(() => parseConditions(text))
        .to.throw(UsageError, says)
        .that.satisfies((error: unknown) => /^(write|name) /.test(nextStepFor(error) ?? ''));
    });
  }
});

describe('the picture in text', () => {
  const many = Array.from({ length: 30 }, (_, pid) => consumerOf({ pid, host: 'a-host-with-a-long-name.example.org' }));
  const busy = snapshotOf({ local: lookOf('local', { consumers: many, ledger: GAPS, lagSeconds: 4000 }) });

  for (const [columns, rows] of [
    [80, 24],
    [80, 50],
    [40, 10],
    [200, 60],
  ] as const) {
    it(`fits ${columns} columns and ${rows} rows`, () => {
      const lines = renderScreen([busy, busy], { columns, rows, paint: createPaint(false), footer: 'q quit' });
      expect(lines.length).to.be.at.most(rows);
      for (const line of lines) expect(line.length, line).to.be.at.most(columns);
    });
  }

  it('says of which hosts and databases it speaks, and no user and no password', () => {
    const snapshot = snapshotOf({ ec2: silent('ec2', PHASE_2, 'gone') });
    expect(pictureOf([snapshot])).to.include(
      '  local 10.0.0.5:5433/sensor_data   EC2 ec2.example.org:5432/sensor_data',
    );
    expect(JSON.stringify(snapshot)).not.to.contain('secret');
    expect(pictureOf([snapshotOf({ ec2: null })])).to.include('  local 10.0.0.5:5433/sensor_data   EC2 not configured');
    const address = { host: 'ec2-203-0-113-25.ap-southeast-7.compute.amazonaws.com', port: 5432, name: 'sensor_data' };
    const far = pictureOf([snapshotOf({ ec2: lookOf('ec2', { database: address }) })]);
    expect(far).to.include(`  EC2 ${address.host}:5432/sensor_data`);
  });

  it('shows an error in full where there is room, and cut where there is not', () => {
    const text =
      'connect ECONNREFUSED 203.0.113.25:5432: is the server running on that host and accepting connections?';
    const failing = consumerOf({ status: statusOf({ lastError: { side: 'ec2', text, agoMs: 3000 } }) });
    const textOf = (count: number): string =>
      pictureOf([
        snapshotOf({ local: lookOf('local', { consumers: Array.from({ length: count }, () => failing) }) }),
      ]).join('\n');
    expect(textOf(1).replaceAll(/\s+/g, ' ')).to.contain(text);
    expect(textOf(4)).to.match(/ 5 s ago: connect ECONNR…$/m);
  });

  it('a trouble longer than the screen is wide goes on in the next line', () => {
    const problem = 'connect ECONNREFUSED 203.0.113.25:5432 (check that the server runs and that EC2_DB_HOST is right)';
    const lines = pictureOf([snapshotOf({ ec2: silent('ec2', PHASE_2, problem) })]);
    expect(lines.join(' ').replaceAll(/\s+/g, ' ')).to.contain(problem);
    for (const line of lines) expect(line.length, line).to.be.at.most(80);
  });

  it('a time of another year has its year', () => {
    expect(formatClock('2025-07-01T04:03:00.000000Z', '2025-07-01T05:00:00.000000Z')).to.equal('04:03:00');
    expect(formatClock('2025-06-19T04:03:00.000000Z', '2025-07-01T05:00:00.000000Z')).to.equal('06-19 04:03');
    expect(formatClock('2024-07-19T04:03:00.000000Z', '2025-07-01T05:00:00.000000Z')).to.equal('2024-07-19');
    expect(formatClock('-0044-03-15T04:03:00.000000Z', '2025-07-01T05:00:00.000000Z')).to.equal('-0044-03-15');
  });

  describe('of 30 tables', () => {
    const tables = Array.from({ length: 30 }, (_, place) => ({
      table: `schema_${place}.table_with_a_rather_long_name`,
      local: { rows: 100, maxTime: '2025-06-30T23:59:59.000000Z' },
      ec2: { rows: place === 17 ? 93 : 100, maxTime: '2025-06-30T23:59:58.000000Z' },
      apart: place === 17 ? { rows: 7, seconds: 60 } : null,
      ...({ counted: 'window', tracking: 'tracked', isNew: false, note: null } as const),
    }));

    it('shows the worst and all of them as one line, and fits', () => {
      const lines = pictureOf([{ ...snapshotOf(), tables }]);
      expect(lines.length).to.be.at.most(24);
      expect(lines.filter((line) => line.startsWith('schema_')).length).to.equal(4);
      expect(lines.find((line) => line.startsWith('schema_'))).to.match(/^schema_17\.table_with_a… {2}.* 7$/);
      expect(lines.find((line) => line.startsWith('all 30 tables'))).to.match(/3,000 .* 2,993 .* 7$/);
    });

    it('says so on the page, and of a total that is not known nothing', () => {
      const html = renderLiveBody([{ ...snapshotOf(), tables }]);
      expect(html).to.contain('<td>all 30 tables</td><td class="number">3,000</td>');
      expect(html.match(/<td>schema_/g)?.length).to.equal(14);
      const unknown = worstTables([{ ...tables[0]!, ec2: null }, ...tables.slice(1)], 4).at(-1);
      expect(unknown?.ec2).to.equal(null);
    });
  });

  it('a full screen of 80 columns loses no figure to its edge', () => {
    const wide = renderScreen([busy], { columns: 1000, rows: 24, paint: createPaint(false), footer: null });
    const figures = wide.filter((line) => /^(?:in |to |lag|gaps|tables|queue|quarantine|compare)/.test(line));
    expect(figures.length).to.equal(8);
    for (const line of figures) expect(line.trimEnd().length, line).to.be.at.most(80);
    const rows = pictureOf([busy]).filter((line) => /^(?:rows|water)/.test(line));
    expect(rows.map((line) => /(?:apart|=)$/.test(line))).to.deep.equal([true, true]);
  });

  it('says unknown as ?, and never colours where colour is off', () => {
    const snapshot = snapshotOf({ local: silent('local', PHASE_2, 'a\u001b[31mred') });
    const text = renderScreen([snapshot], { columns: 80, rows: 24, paint: createPaint(false), footer: null }).join(
      '\n',
    );
    expect(text)
      .to.match(/lag +\?/)
      .and.to.match(/consumers +\?/);
    expect(text).not.to.contain('\u001b');
    expect(renderLine(snapshot)).to.match(/^2025-07-01T00:00:00Z trouble .*lag=\? gaps=\?.*Local does not answer/);
  });

  it('a painted line is cut by what is seen of it, and shows that it was', () => {
    const paint = createPaint(true);
    expect(fitLine(`ab${paint('cdef', 'red')}`, 4)).to.equal('ab\u001b[31mc…\u001b[39m');
    expect(fitLine(`ab${paint('cd', 'red')}`, 4)).to.equal('ab\u001b[31mcd\u001b[0m');
    expect(fitLine(`abc${paint('def', 'red')}ghi`, 4)).to.equal('abc…');
  });

  it('a sparkline shows the newest values, its highest full, the unknown blank', () => {
    expect(sparkline([9, 0, null, 7], 3)).to.equal('▁ █');
    expect(sparkline([0.1], 3, 1)).to.equal('  ▂');
  });
});

describe('what consumers measure', () => {
  it('quantiles lie within the bucket of the call that they name', () => {
    const counts = [...NO_LATENCIES];
    for (const ms of [4, 4, 4, 90]) counts[latencyBucket(ms)]! += 1;
    expect(latencyQuantile(counts, 0.5)).to.be.within(3, 5);
    expect(latencyQuantile(counts, 0.99)).to.be.within(70, 100);
    expect(latencyQuantile(NO_LATENCIES, 0.5)).to.equal(null);
    expect(latencyQuantile([...NO_LATENCIES.slice(1), 1], 0.5)).to.equal(30_000);
  });

  it('rates are those since the heartbeat before; latencies those of a minute', () => {
    let now = 0;
    const meter = new WriteMeter(() => now);
    const breaker = { state: 'closed', reason: null } as const;
    meter.written('local', 4, 50, true);
    meter.settled({ confirmed: 30, missed: 20, refused: 0 });
    meter.failed('ec2', 'gone');
    now = 5_000;
    const first = meter.readStatus(breaker);
    expect(first.rates).to.deep.equal({ accepted: 10, confirmed: 6, healed: 0 });
    expect(first.lastError).to.deep.equal({ side: 'ec2', text: 'gone', agoMs: 5_000 });
    now = 10_000;
    const second = meter.readStatus(breaker);
    expect(second.rates.accepted).to.equal(0);
    expect(second.latencies.local).to.deep.equal(first.latencies.local);
    now = 70_000;
    expect(meter.readStatus(breaker).latencies.local).to.deep.equal(NO_LATENCIES);
  });

  it('the longest wait is that of the last minute', () => {
    let now = 100_000;
    const waits = new RecentWaits(() => now);
    expect(waits.longestMs).to.equal(null);
    waits.add({ sentAtMs: 90_000 });
    now += 30_000;
    waits.add({ sentAtMs: now - 5_000 });
    expect(waits.longestMs).to.equal(10_000);
    now += 31_000;
    expect(waits.longestMs).to.equal(5_000);
    now += 60_000;
    expect(waits.longestMs).to.equal(null);
  });
});

describe('what a report finds in samples', () => {
  const at = (second: number): string =>
    `2025-07-01T00:${String(Math.floor(second / 60)).padStart(2, '0')}:${String(second % 60).padStart(2, '0')}.000000Z`;
  const sample = (second: number, troubles: string[], gapRanges: number | null, gapReadings = 0): Sample => ({
    takenAt: at(second),
    ...{ phase: 2, epoch: 3, troubles, unexplained: troubles.filter((kind) => kind === 'no-consumer') },
    figures: { gapRanges, gapReadings } as SampleFigures,
    tables: gapReadings > 0 ? [{ kind: 'gaps', table: 'water_level_readings', rows: gapReadings }] : [],
  });
  const samples = [
    sample(0, [], 0),
    sample(10, ['secondary-silent', 'gaps'], 1, 5),
    sample(20, ['gaps', 'no-consumer'], 1, 9),
    sample(30, [], null),
    sample(40, [], 0),
    sample(200, ['gaps'], 2, 3),
  ];

  it('incidents begin, end, or last; and a time without samples is one', () => {
    expect(findIncidents(samples, at(240)).map(({ tables }) => tables)).to.deep.equal([
      ...[[], [{ table: 'water_level_readings', rows: 9 }], [], [], [{ table: 'water_level_readings', rows: 3 }]],
    ]);
    const found = findIncidents(samples, at(240)).map(({ kind, from, to, explained }) => [kind, from, to, explained]);
    expect(found).to.deep.equal([
      ['secondary-silent', at(10), at(20), true],
      ['gaps', at(10), at(30), true],
      ['no-consumer', at(20), at(30), false],
      ['not-watched', at(40), at(200), false],
      ['gaps', at(200), null, true],
    ]);
  });

  it('a gap is open until the ledger was seen empty', () => {
    expect(findGapEpisodes(samples)).to.deep.equal([
      { opened: at(10), closed: at(40), mostReadings: 9 },
      { opened: at(200), closed: null, mostReadings: 3 },
    ]);
  });
});

describe('the page', () => {
  it('says what its bands mean, and which databases it is about', () => {
    const html = renderLiveBody([snapshotOf()]);
    expect(html).to.contain('Red band: TROUBLE').and.to.contain('EC2 ec2.example.org:5432/sensor_data');
  });

  it('has something to read before the first look, and without JavaScript', () => {
    expect(renderLivePage([])).to.contain('The first look at both sides and the queue is under way.');
    const page = renderLivePage([snapshotOf()]);
    expect(page).to.contain('<noscript><meta http-equiv="refresh" content="5"></noscript>');
    expect(page.slice(0, page.indexOf('<script')))
      .to.contain('HEALTHY')
      .and.to.contain('water_level_readings');
  });
});

describe('the report', () => {
  const change = { at: '2025-07-01T01:00:00Z', by: 'ops', reason: null, overriddenGates: [] } as const;
  const PROVEN: Omit<ReportedTable, 'table'> = {
    ...{ proven: '2025-07-01T12:00:00Z', ageSeconds: 60, different: null, note: null },
    tracking: 'tracked',
  };
  const report: MonitorReport = {
    tables: [
      { ...PROVEN, table: 'old', proven: '2025-07-01T02:00:00Z', ageSeconds: 7_200 },
      {
        ...PROVEN,
        table: 'never',
        proven: null,
        ageSeconds: null,
        tracking: 'partly tracked',
        note: 'on EC2 it has no triggers',
      },
      { ...PROVEN, table: 'young' },
    ],
    leftOut: [{ table: 'logs', reason: 'TABLES_EXCEPT names it' }],
    ...{
      since: '2025-07-01T00:00:00Z',
      until: '2025-07-02T00:00:00Z',
      phase: 2,
      epoch: 6,
      notRead: [],
      samples: [],
      gaps: [],
    },
    databases: { local: lookOf('local').database, ec2: lookOf('ec2').database },
    soak: { samples: 1, first: null, last: null, largestHoleSeconds: 1, troubled: 0, unexplained: 0 },
    incidents: [
      {
        ...{ kind: 'apart', from: '2025-07-01T00:00:00Z', to: null, seconds: 60, explained: false },
        tables: ['a', 'b', 'c', 'd', 'e'].map((table, place) => ({ table, rows: 50 - place })),
      },
    ],
    comparisons: [
      comparisonOf({ kind: 'all', tables: ['a', 'b'].map((table) => ({ table, knownGap: 0, unexplained: 0 })) }),
      comparisonOf({ verdict: 'different', unexplained: 3, tables: [{ table: 'a', knownGap: 0, unexplained: 3 }] }),
      comparisonOf({ kind: 'range', from: null, to: null }),
    ],
    changes: [
      { ...change, phaseBefore: 3, phase: 2, targetPhase: null, writeMode: 'dual-write', epoch: 6 },
      { ...change, phaseBefore: 3, phase: 3, targetPhase: 2, writeMode: 'draining', epoch: 5 },
      { ...change, phaseBefore: 3, phase: 3, targetPhase: null, writeMode: 'ec2-only', epoch: 4 },
      { ...change, phaseBefore: 2, phase: 3, targetPhase: null, writeMode: 'ec2-only', epoch: 3 },
      { ...change, phaseBefore: 2, phase: 2, targetPhase: 3, writeMode: 'draining', epoch: 2 },
      { ...change, phaseBefore: null, phase: 1, targetPhase: null, writeMode: 'dual-write', epoch: 1 },
    ],
    gates: [{ name: 'ledger', passed: false, detail: '3 missed entries', next: 'sensorctl backfill' }],
  };
  const html = renderReportPage(report);

  it('says which databases it is about, and what to do for a gate that is not met', () => {
    expect(html).to.contain('Between local 10.0.0.5:5433/sensor_data and EC2 ec2.example.org:5432/sensor_data.');
    expect(html).to.contain('<td>3 missed entries</td><td>sensorctl backfill</td>');
  });

  it('says of a comparison its times and tables, of an incident the tables and rows', () => {
    expect(html).to.contain('<td>all: 2025-06-30 22:00:00 to 2025-06-30 23:00:00</td><td>2: a, b</td>');
    expect(html).to.contain('<td>the last: 2025-06-30 22:00:00 to 2025-06-30 23:00:00</td><td>1: a 3</td>');
    expect(html).to.contain('<td>nothing with a time</td>');
    expect(html).to.contain('<td>a 50, b 49, c 48, 2 tables more</td>');
  });

  it('says of each table how old its proof is and whether it is tracked, the worst first, and what is left out', () => {
    const rows = [...html.matchAll(/<td>(old|never|young)<\/td>.*?<\/tr>/g)].map(([row]) =>
      row.replaceAll(/<[^>]+>/g, '|').replaceAll(/\|+/g, '|'),
    );
    expect(rows).to.deep.equal([
      '|never|NO|-|-|partly tracked|on EC2 it has no triggers|',
      '|old|2025-07-01 02:00:00|2.0 h ago|-|tracked|-|',
      '|young|2025-07-01 12:00:00|60 s ago|-|tracked|-|',
    ]);
    expect(html)
      .to.contain('3 tables, 2 proven, 2 tracked.')
      .and.to.contain('Left out: logs (TABLES_EXCEPT names it).');
    expect(renderReportPage({ ...report, tables: null })).to.contain('both sides have to answer');
  });

  it('reads a rollback as one, and a change that went back by itself', () => {
    for (const text of [
      ...['rolled back from phase 3 to 2, dual-write', 'rollback from phase 3 to 2 begins: consumers pause'],
      ...['it goes back: phase 3 goes on, ec2-only', 'phase 3 begins, ec2-only'],
      ...['switch from phase 2 to 3 begins: consumers pause', 'phase 1 begins, dual-write'],
    ]) {
      expect(html).to.contain(`<td>${text}</td>`);
    }
  });

  it('says what its bands mean', () => {
    expect(html).to.contain('Red band: an incident other than gaps and lag, or a time that nobody watched');
  });
});
