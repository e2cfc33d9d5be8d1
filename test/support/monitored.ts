// A snapshot in which all is well, for tests that change one thing of it.
import { type MigrationState, NO_PHASE } from '../../src/lib/domain/migration.js';
import { NO_LATENCIES } from '../../src/lib/domain/latency.js';
import { READING_TABLES } from '../../src/lib/domain/reading.js';
import type { Side } from '../../src/lib/domain/side.js';
import { composeSnapshot, type Looks } from '../../src/lib/operations/monitor/compose-snapshot.js';
import { silentLook, type SideLook } from '../../src/lib/operations/monitor/side-watch.js';
import type { ComparisonFigures } from '../../src/lib/repository/monitor/last-comparison.js';
import type { Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import type { WatchedTable } from '../../src/lib/operations/monitor/watched-tables.js';
import type { ConsumerStatus } from '../../src/lib/repository/write/consumer-session.js';
import type { KnownConsumer } from '../../src/lib/repository/monitor/consumer-list.js';

/** 2025-07-01T00:00:00Z in µs. */
export const NOW = 1_751_328_000_000_000;

export const PHASE_2: MigrationState = {
  ...{ ...NO_PHASE, phase: 2, writeMode: 'dual-write', epoch: 3, phaseSince: '2025-06-30T00:00:00.000000Z' },
};

export function statusOf(changes: Partial<ConsumerStatus> = {}): ConsumerStatus {
  const local = NO_LATENCIES.map((_, place) => (place === 3 ? 100 : 0));
  return {
    rates: { accepted: 50, confirmed: 48, healed: 2 },
    totals: { accepted: 500, confirmed: 480, missed: 20, refused: 0, healed: 20 },
    latencies: { local, ec2: [...NO_LATENCIES] },
    breaker: { state: 'closed', reason: null },
    lastError: null,
    intake: { messages: 600, inHand: 7, longestWaitMs: 400, pollAgeMs: 200, pollFailure: null },
    ...changes,
  };
}

export function consumerOf(changes: Partial<KnownConsumer> = {}): KnownConsumer {
  return {
    ...{ consumerId: '6a2d', host: 'ingest-1', pid: 42, writeMode: 'dual-write', alive: true, upSeconds: 60 },
    ...{ status: statusOf(), statusAgeSeconds: 2 },
    ...changes,
  };
}

export function lookOf(side: Side, changes: Partial<SideLook> = {}): SideLook {
  const none = { pending: 0, missed: 0, refused: 0 };
  return {
    ...{ side, answers: true, problem: null, now: NOW, state: PHASE_2, lagSeconds: 0, quarantine: 0 },
    ...{ comparison: null, backfill: null, database: ADDRESSES[side] },
    ...{ consumers: side === 'local' ? [consumerOf()] : [], touched: [], counted: [] },
    ...{ recorded: [], trackings: null, trackingCostMs: null },
    ledger: { entries: none, readings: none, gaps: { ranges: 0, readings: 0, oldest: null, tables: [] }, writers: [] },
    tables: new Map([
      ['water_level_readings', { rows: 1234, newest: NOW - 1_000_000, settled: { rows: 1200, from: 0, to: 300 } }],
    ]),
    ...changes,
  };
}

const ADDRESSES = {
  local: { host: '10.0.0.5', port: 5433, name: 'sensor_data' },
  ec2: { host: 'ec2.example.org', port: 5432, name: 'sensor_data' },
};

/** A side that says nothing, for this reason. */
export function silent(side: Side, state: MigrationState, problem: string): SideLook {
  const { host, port, name } = ADDRESSES[side];
  const connection = {
    host,
    port,
    database: name,
    user: 'u',
    password: 'secret',
    sslMode: 'disable',
    sslRootCert: undefined,
  } as const;
  return silentLook({ side, connection }, state, problem);
}

/** A comparison that found both sides equal. */
export function comparisonOf(changes: Partial<ComparisonFigures> = {}): ComparisonFigures {
  return {
    ...{ verdict: 'identical', kind: 'window', knownGap: 0, unexplained: 0 },
    ...{ startedAt: '2025-06-30T22:59:00.000000Z', finishedAt: '2025-06-30T23:00:00.000000Z' },
    ...{ from: '2025-06-30T22:00:00.000000Z', to: '2025-06-30T23:00:00.000000Z' },
    tables: [{ table: 'water_level_readings', knownGap: 0, unexplained: 0 }],
    ...changes,
  };
}

/** A table whose rows of the window are counted. */
export function watchedOf(table: string, changes: Partial<WatchedTable> = {}): WatchedTable {
  const estimates = { local: null, ec2: null };
  return { table, counted: 'window', sides: null, axes: null, estimates, isNew: false, note: null, ...changes };
}

export function snapshotOf(changes: Partial<Looks> = {}): Snapshot {
  return composeSnapshot({
    ...{ local: lookOf('local'), ec2: lookOf('ec2'), windowSeconds: 3600, apart: new Map(), now: NOW },
    queue: { answers: true, problem: null, visible: 3, inFlight: 7, delayed: 0, deadLetters: 0 },
    watched: { tables: READING_TABLES.map((table) => watchedOf(table)), leftOut: [] },
    ...changes,
  });
}
