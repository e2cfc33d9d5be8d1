import { addLatencies, latencyQuantile, NO_LATENCIES } from '../../domain/latency.js';
import { type MigrationState, newerState, USUAL_SOAK_SECONDS } from '../../domain/migration.js';
import type { Side } from '../../domain/side.js';
import { formatInstant, formatInstantText, parseInstant } from '../../domain/time.js';
import type { Apart, ConsumerSnapshot, SideSnapshot, Snapshot } from './monitor-snapshot.js';
import type { QueueLook } from './queue-watch.js';
import type { SideLook } from './side-watch.js';
import { tableSnapshot } from './table-snapshot.js';
import { findTroubles, healthOf } from './trouble.js';
import type { WatchedTables } from './watched-tables.js';
import type { KnownConsumer } from '../../repository/monitor/consumer-list.js';
import type { ConsumerStatus } from '../../repository/write/consumer-session.js';

export interface Looks {
  readonly local: SideLook;
  /** Null where EC2 is not configured. */
  readonly ec2: SideLook | null;
  /** Null where no queue is configured. */
  readonly queue: QueueLook | null;
  readonly watched: WatchedTables;
  readonly windowSeconds: number;
  /** By table, since when its counts are apart. */
  readonly apart: ReadonlyMap<string, Apart>;
  /** This machine's clock in µs since 1970, for when no side tells its own. */
  readonly now: number;
}

/** Three heartbeats: what is older says nothing of now. */
const FRESH_SECONDS = 16;

/** Puts together what both sides, the queue and the consumers said. Pure. */
export function composeSnapshot({ local, ec2, queue, watched, windowSeconds, apart, now }: Looks): Snapshot {
  const state = newerState(local.state, ec2?.state ?? local.state);
  const { primary } = state;
  const lead = primary === 'local' ? local : (ec2 ?? local);
  const statuses = freshStatuses(lead.consumers);
  const isLeftBehind = state.writeMode === 'ec2-only';
  const gaps = gapsOf(lead);
  const figures: Omit<Snapshot, 'health' | 'troubles'> = {
    at: formatInstant(lead.now ?? local.now ?? ec2?.now ?? now),
    phase: state.phase,
    writeMode: state.writeMode ?? modeOfConsumers(lead.consumers),
    epoch: state.epoch,
    primary,
    soak: soakOf(state, lead.now ?? now),
    change: changeOf(state, lead.now ?? now),
    windowSeconds,
    sides: {
      local: sideSnapshot('local', local, writersOf('local', primary, statuses)),
      ec2: sideSnapshot('ec2', ec2, writersOf('ec2', primary, statuses)),
    },
    tables: watched.tables.map((each) => tableSnapshot(each, { local, ec2, apart })),
    leftOut: watched.leftOut,
    lagSeconds: isLeftBehind && lead.lagSeconds !== null ? 0 : lead.lagSeconds,
    ledger: lead.ledger?.entries ?? null,
    gaps: isLeftBehind && gaps !== null ? NO_GAPS : gaps,
    writers: isLeftBehind && gaps !== null ? [] : (lead.ledger?.writers ?? null),
    leftBehind: isLeftBehind && gaps !== null ? { ...gaps, seconds: lead.lagSeconds } : null,
    rates: {
      in: sumRates(lead.consumers, statuses, ({ rates }) => rates.accepted),
      toSecondary: sumRates(lead.consumers, statuses, ({ rates }) => rates.confirmed + rates.healed),
    },
    queue: queue === null ? null : { ...queue, longestWaitSeconds: longestWait(statuses) },
    consumers: lead.consumers?.map(consumerSnapshot) ?? null,
    comparison: newestComparison(local, ec2),
    backfill: newestBackfill(local, ec2),
  };
  const troubles = findTroubles(figures);
  const { at, ...rest } = figures;
  return { at, health: healthOf(troubles), troubles, ...rest };
}

function changeOf({ attempt }: MigrationState, now: number): Snapshot['change'] {
  if (attempt === null) return null;
  const { targetPhase, deadline } = attempt;
  return { targetPhase, deadline, overdue: (parseInstant(deadline) ?? now) < now };
}

function soakOf({ phase, phaseSince }: MigrationState, now: number): Snapshot['soak'] {
  const since = phaseSince === null ? null : parseInstant(phaseSince);
  if (phase !== 2 || since === null) return null;
  return { seconds: Math.round((now - since) / 1e6), wantedSeconds: USUAL_SOAK_SECONDS };
}

/** What a consumer timed before it left the secondary out says nothing of now. */
function writersOf(side: Side, primary: Side, statuses: readonly ConsumerStatus[]): readonly ConsumerStatus[] {
  return side === primary ? statuses : statuses.filter(({ breaker }) => breaker.state === 'closed');
}

/** Where no phase was recorded, what the consumers do counts. */
function modeOfConsumers(consumers: readonly KnownConsumer[] | null): string | null {
  const living = consumers?.filter(({ alive }) => alive) ?? [];
  if (living.length === 0) return null;
  return living.some(({ writeMode }) => writeMode === 'dual-write') ? 'dual-write' : 'local-only';
}

function freshStatuses(consumers: readonly KnownConsumer[] | null): ConsumerStatus[] {
  return (consumers ?? [])
    .filter(({ alive, statusAgeSeconds }) => alive && (statusAgeSeconds ?? Infinity) < FRESH_SECONDS)
    .flatMap(({ status }) => status ?? []);
}

/** Null where consumers run and none has told yet; 0 where none runs. */
function sumRates(
  consumers: readonly KnownConsumer[] | null,
  statuses: readonly ConsumerStatus[],
  rateOf: (status: ConsumerStatus) => number,
): number | null {
  if (consumers === null) return null;
  if (statuses.length === 0 && consumers.some(({ alive }) => alive)) return null;
  return Math.round(statuses.reduce((sum, status) => sum + rateOf(status), 0) * 10) / 10;
}

function longestWait(statuses: readonly ConsumerStatus[]): number | null {
  const waits = statuses.flatMap(({ intake }) => intake?.longestWaitMs ?? []);
  return waits.length === 0 ? null : Math.max(...waits) / 1000;
}

function sideSnapshot(side: Side, look: SideLook | null, statuses: readonly ConsumerStatus[]): SideSnapshot {
  const timed = look?.answers === true ? statuses : [];
  const counts = timed.reduce((sum, { latencies }) => addLatencies(sum, latencies[side]), NO_LATENCIES);
  return {
    database: look?.database ?? null,
    answers: look?.answers ?? null,
    problem: look?.problem ?? null,
    writeP50Ms: roundOrNull(latencyQuantile(counts, 0.5)),
    writeP99Ms: roundOrNull(latencyQuantile(counts, 0.99)),
    quarantine: look?.quarantine ?? null,
  };
}

function roundOrNull(value: number | null): number | null {
  return value === null ? null : Math.round(value * 10) / 10;
}

const NO_GAPS = { ranges: 0, readings: 0, oldest: null, tables: [] } as const;

function gapsOf({ ledger }: SideLook): Snapshot['gaps'] {
  if (ledger === null) return null;
  const { oldest } = ledger.gaps;
  return { ...ledger.gaps, oldest: oldest === null ? null : formatInstantText(oldest) };
}

/** It is recorded on the side that it writes. */
function newestBackfill(...looks: readonly (SideLook | null)[]): Snapshot['backfill'] {
  const found = looks.flatMap((look) => (look?.backfill == null ? [] : [{ ...look.backfill, side: look.side }]));
  return found.toSorted((one, other) => other.startedAt.localeCompare(one.startedAt))[0] ?? null;
}

/** It is recorded on the side that was the primary then. */
function newestComparison(...looks: readonly (SideLook | null)[]): Snapshot['comparison'] {
  const found = looks.flatMap((look) => look?.comparison ?? []);
  return found.toSorted((one, other) => other.finishedAt.localeCompare(one.finishedAt))[0] ?? null;
}

function consumerSnapshot(consumer: KnownConsumer): ConsumerSnapshot {
  const { consumerId, host, pid, writeMode, alive, status, statusAgeSeconds } = consumer;
  const isFresh = alive && (statusAgeSeconds ?? Infinity) < FRESH_SECONDS;
  const intake = isFresh ? status?.intake : null;
  return {
    consumerId,
    host,
    pid,
    writeMode,
    state: alive ? (status === null ? 'starting' : 'running') : 'lost',
    rate: alive ? (status?.rates.accepted ?? null) : null,
    breaker: status?.breaker.state ?? null,
    messagesInHand: alive ? (status?.intake?.inHand ?? null) : null,
    pollAgeSeconds: intake?.pollAgeMs == null ? null : Math.round(intake.pollAgeMs / 1000),
    pollFailure: intake?.pollFailure ?? null,
    lastError: lastErrorOf(status, statusAgeSeconds),
  };
}

function lastErrorOf(status: ConsumerStatus | null, ageSeconds: number | null): ConsumerSnapshot['lastError'] {
  if (status?.lastError == null) return null;
  const { text, agoMs } = status.lastError;
  return { text, agoSeconds: Math.round(agoMs / 1000 + (ageSeconds ?? 0)) };
}
