// The times of production, shorter and in their order: for commands that a test has to wait for.
import type { Times } from '../../src/lib/timing.js';
import type { CliSettings } from './cli.js';

/** The variable that gives a command these times, beside those of production. */
export function timesOf(times: Partial<Times>): CliSettings {
  return { SENSORCTL_TEST_TIMES: JSON.stringify(times) };
}

/** A COPY counts as stalled after 7 s instead of 30; a machine with much else to do still keeps up. */
export const STALLS_SOON = {
  ...{ leaseMs: 8_000, heartbeatMs: 1_000, primaryCallMs: 4_000, bulkCallMs: 6_000, stalledCopyMs: 7_000 },
} satisfies Partial<Times>;
