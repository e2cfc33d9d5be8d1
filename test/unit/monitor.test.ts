import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { createPaint } from '../../src/lib/cli/output.js';
import { fitLine } from '../../src/lib/cli/text-layout.js';
import { renderLine } from '../../src/lib/cli/monitor/presenter.js';
import { renderScreen, sparkline } from '../../src/lib/cli/monitor/screen.js';
import { describeCalm, describePhase } from '../../src/lib/cli/monitor/wording.js';
import { latencyBucket, latencyQuantile, NO_LATENCIES } from '../../src/lib/domain/latency.js';
import { UsageError } from '../../src/lib/errors.js';
import { RecentWaits } from '../../src/lib/operations/consume/consume-summary.js';
import { parseConditions } from '../../src/lib/operations/monitor/conditions.js';
import { findGapEpisodes, findIncidents } from '../../src/lib/operations/monitor/incidents.js';
import { ApartCounts } from '../../src/lib/operations/monitor/apart-counts.js';
import type { Looks } from '../../src/lib/operations/monitor/compose-snapshot.js';
import { silentLook, type SideLook } from '../../src/lib/operations/monitor/side-watch.js';
import type { Apart, Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { unexplainedOf } from '../../src/lib/operations/monitor/trouble.js';
import { WriteMeter } from '../../src/lib/repository/write/write-meter.js';
import type { Sample, SampleFigures } from '../../src/lib/repository/monitor/samples.js';
import { consumerOf, lookOf, PHASE_2, snapshotOf, statusOf } from '../support/monitored.js';

const GAPS = {
  entries: { pending: 1, missed: 4, refused: 0 },
  readings: { pending: 9, missed: 80, refused: 0 },
  gaps: { ranges: 2, readings: 80, oldest: '2025-06-30 23:00:00+00' },
};

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
      ec2: silentLook('ec2', PHASE_2, 'connect ECONNREFUSED'),
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
    const snapshot = snapshotOf({ local: silentLook('local', PHASE_2, 'gone') });
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
      { kind: 'not-receiving', text: '1 of 2 consumers receives nothing; 500 messages wait (ExpiredToken)' },
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
    const before = { verdict: 'identical', finishedAt: '2025-06-30 23:00:00+00', knownGap: 0, unexplained: 0 } as const;
    const after = { ...before, finishedAt: '2025-06-30 23:30:00.5+00' };
    const local = lookOf('local', { comparison: before });
    expect(snapshotOf({ local, ec2: lookOf('ec2', { state }) }).comparison?.finishedAt).to.match(/T23:00:00/);
    const ec2 = lookOf('ec2', { state, comparison: after });
    expect(snapshotOf({ local, ec2 }).comparison?.finishedAt).to.match(/T23:30:00\.5/);
  });

  it('claims no phase and no primary while both sides are silent', () => {
    const silent = { local: silentLook('local', PHASE_2, 'gone'), ec2: silentLook('ec2', PHASE_2, 'gone') };
    expect(describePhase(snapshotOf(silent))).to.equal('phase ? · primary ? · no side answers that knows');
  });

  it('no consumer, dead letters, an unexplained difference and an overdue change are unexplained', () => {
    const attempt = { token: 'x', targetPhase: 3 as const, deadline: '2025-06-30T23:59:00.000000Z' };
    const comparison = {
      verdict: 'different' as const,
      finishedAt: '2025-06-30 23:00:00+00',
      knownGap: 0,
      unexplained: 2,
    };
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
  const side = (name: 'local' | 'ec2', settled: number | null): SideLook =>
    lookOf(name, { tables: new Map([['water_level_readings', { rows: 9, newest: null, settled }]]) });
  const kindsOf = (apart: ReadonlyMap<string, Apart>, changes: Partial<Looks> = {}): string[] =>
    kinds(snapshotOf({ apart, ...changes }));

  it('are trouble once they stay so for ten seconds in one direction, and none once they meet', () => {
    const counts = new ApartCounts();
    const seconds = (local: number | null, at: number): number | undefined =>
      counts.take(side('local', local), side('ec2', 5), at * 1000).get('water_level_readings')?.seconds;
    expect(seconds(7, 0)).to.equal(0);
    expect(seconds(null, 4), 'while some are to be counted again').to.equal(4);
    expect(seconds(8, 12)).to.equal(12);
    expect(seconds(4, 13), 'the other way round').to.equal(0);
    expect(seconds(5, 14)).to.equal(undefined);
  });

  it('are unexplained trouble, unless the ledger knows what is missing or local is written alone', () => {
    const apart = new Map([['water_level_readings', { rows: 2, seconds: 10 }]]);
    expect(kindsOf(apart)).to.deep.equal(['apart']);
    expect(unexplainedOf(snapshotOf({ apart }).troubles)).to.deep.equal(['apart']);
    expect(kindsOf(new Map([['water_level_readings', { rows: 2, seconds: 9.9 }]]))).to.deep.equal([]);
    const gaps = { ranges: 1, readings: 2, oldest: null };
    const ledger = { ...lookOf('local').ledger!, gaps };
    expect(kindsOf(apart, { local: lookOf('local', { ledger }) })).to.deep.equal(['gaps']);
    const [condition] = parseConditions('apart>0');
    expect(condition!.holds(snapshotOf({ apart }))).to.equal(true);
    expect(condition!.holds(snapshotOf({}))).to.equal(false);
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
    expect(holds('lag>60s,gaps>0,silent>0', snapshotOf({ local: silentLook('local', PHASE_2, '') }))).to.deep.equal([
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

  it('a full screen of 80 columns loses no figure to its edge', () => {
    const wide = renderScreen([busy], { columns: 1000, rows: 24, paint: createPaint(false), footer: null });
    const figures = wide.filter((line) => /^(?:rows|water|in |to |lag|gaps|queue|quarantine|compare)/.test(line));
    expect(figures.length).to.equal(9);
    for (const line of figures) expect(line.trimEnd().length, line).to.be.at.most(80);
  });

  it('says unknown as ?, and never colours where colour is off', () => {
    const snapshot = snapshotOf({ local: silentLook('local', PHASE_2, 'a\u001b[31mred') });
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
