/** Times in ms that belong together: how long something may take, and when others conclude that it has died. */
export interface Times {
  /** Until a consumer that no longer renews its lease counts as dead; longer than any call. */
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** A call on the primary may take so long. */
  readonly primaryCallMs: number;
  /** A call that reads or moves much may take so long. */
  readonly bulkCallMs: number;
  /** No process that lives copies for so long: it has given its call up before. */
  readonly stalledCopyMs: number;
  /** The wait of a receive, in whole seconds. */
  readonly longPollMs: number;
  /** The queue has to answer by then. */
  readonly queueAnswerMs: number;
  /** A consumer that has begun no poll for so long is not healthy. */
  readonly pollSilenceMs: number;
  /** Before a circuit breaker's first probe, and at most. */
  readonly breakerPauseMs: number;
  readonly breakerLongestMs: number;
  /** A decoder may take so long for a message; nothing else runs meanwhile. */
  readonly decodeMs: number;
  /** Between two attempts of a repair that fails, at most. */
  readonly repairRetryLongestMs: number;
  /** Until what could not be repaired is tried again before others. */
  readonly repairAsideMs: number;
}

const PRODUCTION: Times = {
  leaseMs: 30_000,
  heartbeatMs: 5_000,
  primaryCallMs: 15_000,
  bulkCallMs: 28_000,
  stalledCopyMs: 30_000,
  longPollMs: 5_000,
  queueAnswerMs: 15_000,
  pollSilenceMs: 60_000,
  breakerPauseMs: 500,
  breakerLongestMs: 5_000,
  decodeMs: 2_000,
  repairRetryLongestMs: 15_000,
  repairAsideMs: 60_000,
};

/** Each is shorter than the other: what the promises rest on, however short a test makes them. */
const ORDER: readonly (readonly [shorter: keyof Times, longer: keyof Times])[] = [
  ['heartbeatMs', 'leaseMs'],
  ['primaryCallMs', 'bulkCallMs'],
  ['bulkCallMs', 'stalledCopyMs'],
  ['bulkCallMs', 'leaseMs'],
  ['longPollMs', 'queueAnswerMs'],
  ['longPollMs', 'pollSilenceMs'],
  ['breakerPauseMs', 'breakerLongestMs'],
  ['decodeMs', 'leaseMs'],
];

/**
 * Production's times, or those with what a test of this repository changes: SENSORCTL_TEST_TIMES, a JSON object of some
 * of the fields. It is no setting: nothing of an operator's needs it. Throws an Error where the order would not hold.
 */
export function readTimes(json: string | undefined): Times {
  if (json === undefined || json === '') return PRODUCTION;
  const given = JSON.parse(json) as Record<string, unknown>;
  const wrong = Object.entries(given).filter(
    ([name, ms]) => !(name in PRODUCTION) || !Number.isSafeInteger(ms) || Number(ms) <= 0,
  );
  const times = { ...PRODUCTION, ...given };
  const reversed = ORDER.filter(([shorter, longer]) => times[shorter] >= times[longer]);
  const faults = [
    ...wrong.map(([name, ms]) => `${name} (${String(ms)}) is none of the times, or no whole number of ms`),
    ...reversed.map(([shorter, longer]) => `${shorter} (${times[shorter]}) is not below ${longer} (${times[longer]})`),
  ];
  if (faults.length > 0) throw new Error(`SENSORCTL_TEST_TIMES: ${faults.join('; ')}`);
  return times;
}

/** The times of this process; child processes get theirs by the same variable. */
export const TIMES = readTimes(process.env.SENSORCTL_TEST_TIMES);
