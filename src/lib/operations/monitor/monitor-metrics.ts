import { Gauge, Registry } from 'prom-client';
import { parseInstant } from '../../domain/time.js';
import { countWriters, type Snapshot, TRACKINGS, TROUBLE_KINDS } from './monitor-snapshot.js';

/** A value and its labels; null is not known, and not served. */
type Value = readonly [value: number | null | undefined, labels?: Readonly<Record<string, string>>];

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (snapshot: Snapshot) => readonly Value[];
}

const SIDES = ['local', 'ec2'] as const;
const WRITE_MODES = ['local-only', 'dual-write', 'ec2-only', 'draining'];

/** The metrics of the last look that `monitor --metrics-port` serves, in base units. */
const METRICS: readonly Metric[] = [
  plain('sensorctl_look_timestamp_seconds', 'When the monitor looked last.', ({ at }) => unixSeconds(at)),
  of('sensorctl_up', 'Whether the side answers.', ['side'], ({ sides }) =>
    SIDES.map((side) => [flag(sides[side].answers), { side }]),
  ),
  plain('sensorctl_phase', 'Phase on record; 0 where none is.', ({ phase }) => phase ?? 0),
  plain('sensorctl_epoch', 'Epoch on record.', ({ epoch }) => epoch),
  of('sensorctl_write_mode', 'Write mode: 1 for the one in force.', ['mode'], ({ writeMode }) =>
    WRITE_MODES.map((mode) => [mode === writeMode ? 1 : 0, { mode }]),
  ),
  of('sensorctl_primary', 'Which side is the primary.', ['side'], ({ primary }) =>
    SIDES.map((side) => [side === primary ? 1 : 0, { side }]),
  ),
  plain(
    'sensorctl_lag_seconds',
    'Time since the commit of the oldest batch that the secondary has not confirmed.',
    ({ lagSeconds }) => lagSeconds,
  ),
  of('sensorctl_ledger_entries', 'Ledger entries by state.', ['state'], ({ ledger }) =>
    Object.entries(ledger ?? {}).map(([state, entries]) => [entries, { state }]),
  ),
  plain('sensorctl_gaps', 'Time ranges in which the secondary lacks readings.', ({ gaps }) => gaps?.ranges),
  plain('sensorctl_gap_readings', 'Readings that the secondary lacks.', ({ gaps }) => gaps?.readings),
  plain('sensorctl_oldest_gap_timestamp_seconds', 'Where the oldest gap begins.', ({ gaps }) =>
    gaps?.oldest == null ? null : unixSeconds(gaps.oldest),
  ),
  of('sensorctl_window_rows', 'Rows in the window of the monitor.', ['side', 'table'], ({ tables }) =>
    tables
      .filter(({ counted }) => counted === 'window')
      .flatMap(({ table, ...counts }) => SIDES.map((side): Value => [counts[side]?.rows, { side, table }])),
  ),
  of('sensorctl_tables', 'Tables of the migration by how other writers are covered.', ['tracking'], ({ tables }) =>
    TRACKINGS.map((tracking) => [tables.filter((each) => each.tracking === tracking).length, { tracking }]),
  ),
  of('sensorctl_writer_entries', 'Ledger entries of other writers by state.', ['state'], ({ writers }) =>
    (['pending', 'missed'] as const).map((state) => [countWriters(writers, state), { state }]),
  ),
  of(
    'sensorctl_newest_reading_timestamp_seconds',
    'Newest time of a reading in the window.',
    ['side', 'table'],
    ({ tables }) =>
      tables.flatMap(({ table, ...counts }) =>
        SIDES.map((side): Value => {
          const time = counts[side]?.maxTime ?? null;
          return [time === null ? null : unixSeconds(time), { side, table }];
        }),
      ),
  ),
  of('sensorctl_readings_per_second', 'Readings that a role has taken.', ['role'], ({ rates }) => [
    [rates.in, { role: 'primary' }],
    [rates.toSecondary, { role: 'secondary' }],
  ]),
  of(
    'sensorctl_write_latency_seconds',
    'Latency of the last minute over all consumers.',
    ['side', 'quantile'],
    ({ sides }) =>
      SIDES.flatMap((side): Value[] => [
        [seconds(sides[side].writeP50Ms), { side, quantile: '0.5' }],
        [seconds(sides[side].writeP99Ms), { side, quantile: '0.99' }],
      ]),
  ),
  plain('sensorctl_queue_up', 'Whether the queue answers.', ({ queue }) =>
    queue === null ? null : flag(queue.answers),
  ),
  of('sensorctl_queue_messages', 'Messages by state, by count of SQS.', ['state'], ({ queue }) => [
    [queue?.visible, { state: 'visible' }],
    [queue?.inFlight, { state: 'in_flight' }],
    [queue?.delayed, { state: 'delayed' }],
  ]),
  plain(
    'sensorctl_queue_wait_seconds',
    'The longest wait of a message received in the last minute.',
    ({ queue }) => queue?.longestWaitSeconds,
  ),
  plain('sensorctl_dead_letter_messages', 'Messages in the dead-letter queue.', ({ queue }) => queue?.deadLetters),
  of('sensorctl_consumers', 'Consumers by state.', ['state'], ({ consumers }) =>
    consumers === null
      ? []
      : (['running', 'starting', 'lost'] as const).map((state) => [
          consumers.filter((each) => each.state === state).length,
          { state },
        ]),
  ),
  of('sensorctl_consumer_breaker_closed', 'Whether a consumer writes to the secondary.', ['host', 'pid'], (snapshot) =>
    (snapshot.consumers ?? [])
      .filter(({ state, breaker }) => state === 'running' && breaker !== null)
      .map(({ host, pid, breaker }) => [breaker === 'closed' ? 1 : 0, { host, pid: String(pid) }]),
  ),
  of('sensorctl_quarantine_records', 'Open records of the quarantine.', ['side'], ({ sides }) =>
    SIDES.map((side) => [sides[side].quarantine, { side }]),
  ),
  plain('sensorctl_last_comparison_timestamp_seconds', 'When the last comparison finished.', ({ comparison }) =>
    comparison === null ? null : unixSeconds(comparison.finishedAt),
  ),
  plain(
    'sensorctl_last_comparison_identical',
    'Whether the last comparison found both sides equal.',
    ({ comparison }) => (comparison === null ? null : flag(comparison.verdict === 'identical')),
  ),
  of('sensorctl_trouble', 'What is wrong, by kind.', ['kind'], ({ troubles }) =>
    TROUBLE_KINDS.map((kind) => [flag(troubles.some((trouble) => trouble.kind === kind)), { kind }]),
  ),
];

/** The metrics of both databases, the queue and the fleet, as `readSnapshot` saw them last; none before the first look. */
export function createMonitorMetrics(readSnapshot: () => Snapshot | null): Registry {
  const registry = new Registry();
  for (const { name, help, labels, read } of METRICS) {
    new Gauge({
      name,
      help,
      labelNames: [...labels],
      registers: [registry],
      collect() {
        this.reset();
        const snapshot = readSnapshot();
        for (const [value, given = {}] of snapshot === null ? [] : read(snapshot)) {
          if (value != null) this.set({ ...given }, value);
        }
        // A gauge without labels begins at 0, which would be a value.
        if (labels.length === 0 && (snapshot === null || read(snapshot)[0]?.[0] == null)) this.remove();
      },
    });
  }
  return registry;
}

function of(name: string, help: string, labels: readonly string[], read: Metric['read']): Metric {
  return { name, help, labels, read };
}

function plain(name: string, help: string, read: (snapshot: Snapshot) => Value[0]): Metric {
  return { name, help, labels: [], read: (snapshot) => [[read(snapshot)]] };
}

function flag(value: boolean | null): number | null {
  return value === null ? null : value ? 1 : 0;
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}

function unixSeconds(time: string): number | null {
  const micros = parseInstant(time);
  return micros === null ? null : micros / 1e6;
}
