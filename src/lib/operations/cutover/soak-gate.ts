import { type Database } from '../../db/database.js';
import type { MigrationState } from '../../domain/migration.js';
import { counted } from '../../domain/words.js';
import {
  countConsumersSince,
  readAgeSeconds,
  readTimeBefore,
  type Verdicts,
} from '../../repository/cutover/evidence.js';
import { readSoak, SAMPLE_EVERY_SECONDS } from '../../repository/monitor/samples.js';

import type { Measured } from './cutover-report.js';

/** No longer than this part of the soak may it have been unwatched in one piece. */
const HOLES_OF_A_SOAK = 12;

export interface SoakOptions {
  readonly state: MigrationState;
  readonly minSoakMs: number;
  /** Every table of the migration is tracked: what any program writes stands in the ledger, also where there is no queue. */
  readonly allTracked: boolean;
}

/**
 * Phase 2 has lasted long enough, and was watched, used and compared in that time; `readVerdictsSince` finds the
 * comparisons that ended since a time.
 */
export async function measureSoak(
  { pool }: Pick<Database, 'pool'>,
  { state, minSoakMs, allTracked }: SoakOptions,
  readVerdictsSince: (since: string) => Promise<Verdicts>,
): Promise<Measured> {
  const since = state.phaseSince ?? '';
  const seconds = await readAgeSeconds(pool, since);
  const hours = (ms: number): string => (ms / 3_600_000).toFixed(ms < 3_600_000 ? 2 : 1);
  const age = `${hours(seconds * 1000)} h in phase 2`;
  if (seconds * 1000 < minSoakMs) {
    const detail = `${age}, ${hours(minSoakMs)} h wanted`;
    return { passed: false, detail, advice: { code: 'soak-short' } };
  }
  const { identical } = await readVerdictsSince(since);
  const begin = await readTimeBefore(pool, minSoakMs);
  const { different } = await readVerdictsSince(begin);
  if (different !== null) {
    const detail = `${age}; a comparison that ended at ${different} found an unexplained difference`;
    return { passed: false, detail, advice: { code: 'soak-disturbed', facts: { hours: hours(minSoakMs) } } };
  }
  if (identical === 0) {
    return {
      passed: false,
      detail: `${age}, and no comparison was made in it`,
      advice: { code: 'soak-uncompared' },
    };
  }
  const consumers = await countConsumersSince(pool, since);
  if (consumers === 0 && !allTracked) {
    const detail = `${age}, and no consumer ran in it`;
    return { passed: false, detail, advice: { code: 'soak-unused' } };
  }
  const { largestHoleSeconds, samples, unexplained } = await readSoak({ pool }, begin);
  const holeLimitSeconds = Math.max(SAMPLE_EVERY_SECONDS * 6, minSoakMs / 1000 / HOLES_OF_A_SOAK);
  if (largestHoleSeconds > holeLimitSeconds) {
    const unwatched = samples === 0 ? 'no monitor' : `for ${hours(largestHoleSeconds * 1000)} h no monitor`;
    return {
      passed: false,
      detail: `${age}, and ${unwatched} watched it`,
      advice: { code: 'soak-unwatched' },
    };
  }
  const seen =
    samples === 0
      ? 'no monitor watched it'
      : `a monitor saw it ${counted(samples, 'time')}, ${unexplained} of them with trouble that an outage of EC2 does not explain`;
  return {
    passed: true,
    detail: `${age}; ${counted(identical, 'identical comparison')}, none different; ${consumers === 0 ? 'no consumer, every table is tracked' : counted(consumers, 'consumer')}; ${seen}`,
  };
}
