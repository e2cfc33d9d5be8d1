import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { LATENCY_BOUNDS_MS } from '../../domain/latency.js';
import type { IntakeStatus } from '../../repository/write/consumer-session.js';
import type { WriteEvent, WriteMeter } from '../../repository/write/write-meter.js';
import type { BreakerState } from '../../repository/write/circuit-breaker.js';

export interface MeteredConsumer {
  readonly meter: WriteMeter;
  /** The repository of the roles that the consumer has now. */
  readonly current: {
    readonly breaker: { readonly state: BreakerState };
    readonly session: { readonly leaseAgeMs: number };
  };
}

/** The messages of the consumer so far. */
export interface ReceiveFigures extends IntakeStatus {
  readonly quarantined: number;
  readonly unacknowledged: number;
  /** Time since the queue answered a poll, in ms. */
  readonly pollAgeMs: number;
}

const SIDES = ['local', 'ec2'] as const;
const BREAKER_STATES: readonly BreakerState[] = ['closed', 'open', 'probing'];
const BATCH_BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/** The metrics of one consumer, in base units; those of both databases and the queue are the monitor's. */
export function createConsumerMetrics(consumer: MeteredConsumer, readFigures: () => ReceiveFigures): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const onEvent = countWrites(registry);
  consumer.meter.listen(onEvent);
  countMessages(registry, readFigures);
  const registers = [registry];
  new Gauge({
    name: 'sensorctl_breaker_state',
    help: 'Circuit breaker of the secondary: 1 for the state it is in.',
    labelNames: ['state'],
    registers,
    collect() {
      for (const state of BREAKER_STATES) this.set({ state }, state === consumer.current.breaker.state ? 1 : 0);
    },
  });
  new Gauge({
    name: 'sensorctl_lease_age_seconds',
    help: 'Time since this consumer renewed its lease; at 30 it counts as dead.',
    registers,
    collect() {
      this.set(consumer.current.session.leaseAgeMs / 1000);
    },
  });
  return registry;
}

function countWrites(registry: Registry): (event: WriteEvent) => void {
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name, help, labelNames, registers });
  const writes = counter('sensorctl_writes_total', 'Batches that a side has confirmed.', 'side');
  const failures = counter('sensorctl_write_failures_total', 'Attempts to write a batch that failed.', 'side');
  const both = counter('sensorctl_dual_writes_total', 'Batches that both sides hold.');
  const missed = counter('sensorctl_dual_write_failures_total', 'Batches that the ledger has as missed.');
  const outcomes = counter('sensorctl_secondary_readings_total', 'Readings by outcome on the secondary.', 'outcome');
  const healed = counter('sensorctl_healed_readings_total', 'Readings that the background repair has brought.');
  const durations = new Histogram({
    name: 'sensorctl_write_duration_seconds',
    help: 'Time that a confirmed write of a batch took.',
    labelNames: ['side'],
    buckets: LATENCY_BOUNDS_MS.map((ms) => ms / 1000),
    registers,
  });
  const sizes = new Histogram({
    name: 'sensorctl_batch_readings',
    help: 'Readings that were new in a batch.',
    labelNames: ['side'],
    buckets: BATCH_BOUNDS,
    registers,
  });
  for (const side of SIDES) {
    for (const metric of [writes, failures]) metric.inc({ side }, 0);
    for (const metric of [durations, sizes]) metric.zero({ side });
  }
  for (const outcome of ['confirmed', 'missed', 'refused']) outcomes.inc({ outcome }, 0);
  return (event) => {
    if (event.kind === 'written') {
      writes.inc({ side: event.side });
      durations.observe({ side: event.side }, event.ms / 1000);
      sizes.observe({ side: event.side }, event.readings);
    } else if (event.kind === 'failed') failures.inc({ side: event.side });
    else if (event.kind === 'healed') healed.inc(event.readings);
    else {
      (event.missed > 0 ? missed : both).inc();
      for (const outcome of ['confirmed', 'missed', 'refused'] as const) outcomes.inc({ outcome }, event[outcome]);
    }
  };
}

function countMessages(registry: Registry, readFigures: () => ReceiveFigures): void {
  const registers = [registry];
  const follow = (name: string, help: string, read: (figures: ReceiveFigures) => number): Counter =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(readFigures()));
      },
    });
  follow('sensorctl_messages_total', 'Messages committed, each delivery counted.', ({ messages }) => messages);
  follow('sensorctl_quarantined_total', 'Messages and readings put into the quarantine.', (each) => each.quarantined);
  follow(
    'sensorctl_unacknowledged_messages_total',
    'Messages whose deletion SQS did not confirm.',
    ({ unacknowledged }) => unacknowledged,
  );
  new Gauge({
    name: 'sensorctl_messages_in_hand',
    help: 'Messages received and not yet acknowledged.',
    registers,
    collect() {
      this.set(readFigures().inHand);
    },
  });
  new Gauge({
    name: 'sensorctl_poll_age_seconds',
    help: 'Time since the queue answered a poll of this consumer; at 60 /healthz says no.',
    registers,
    collect() {
      this.set(readFigures().pollAgeMs / 1000);
    },
  });
  new Gauge({
    name: 'sensorctl_message_wait_seconds',
    help: 'The longest that a message received in the last minute had been in the queue; 0 where none came.',
    registers,
    collect() {
      this.set((readFigures().longestWaitMs ?? 0) / 1000);
    },
  });
}
