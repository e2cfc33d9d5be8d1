// The times of production, shorter by a factor of ten or so and in their order: for commands that a test has to wait for.
import type { Times } from '../../src/lib/timing.js';
import type { CliSettings } from './cli.js';

/** The variable that gives a command these times, beside those of production. */
export function timesOf(times: Partial<Times>): CliSettings {
  return { SENSORCTL_TEST_TIMES: JSON.stringify(times) };
}

/** A COPY counts as stalled after 3 s instead of 30. */
export const STALLS_SOON = {
  ...{ leaseMs: 3_500, heartbeatMs: 500, primaryCallMs: 1_500, bulkCallMs: 2_500, stalledCopyMs: 3_000 },
} satisfies Partial<Times>;
