import { setTimeout as delay } from 'node:timers/promises';
import { describeFault } from '../db/sqlstate.js';
import { backoffMs } from '../domain/backoff.js';
import type { Logger } from '../logger.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import { buryConsumers } from './markers.js';
import { repairMissed, type RepairOptions } from './repair.js';

export interface SelfHealingOptions extends Pick<RepairOptions, 'primary' | 'secondary' | 'writer'> {
  readonly breaker: CircuitBreaker;
  /** Rows a second, at most. */
  readonly rowsPerSecond: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

const ENTRIES_A_REPAIR = 20;
const PAGE_ROWS = 1_000;
const IDLE_MS = 1_000;
const BURY_MS = 30_000;
const FAILURE_MS = 2_000;

/**
 * Repairs missed entries in the background while the secondary answers, at a bounded rate, until the signal aborts.
 * Consumers share the work: an entry that one repairs is skipped by the others. Never throws.
 */
export async function healUntilStopped(options: SelfHealingOptions): Promise<void> {
  const { signal, breaker, logger, rowsPerSecond } = options;
  const pause = async (ms: number): Promise<void> => {
    await delay(ms, undefined, { signal }).catch(() => undefined);
  };
  let buriedAt = performance.now();
  const rest = async (): Promise<void> => {
    if (performance.now() - buriedAt > BURY_MS) {
      buriedAt = performance.now();
      await buryConsumers(options.primary, options.secondary);
    }
    await pause(IDLE_MS);
  };
  let failures = 0;
  while (!signal.aborted) {
    if (breaker.state !== 'closed') {
      await pause(IDLE_MS);
      continue;
    }
    try {
      const outcome = await repairMissed({
        ...options,
        entries: ENTRIES_A_REPAIR,
        pageRows: Math.min(PAGE_ROWS, Math.max(1, rowsPerSecond)),
        states: ['missed'],
        pace: (rows) => pause((rows / rowsPerSecond) * 1000),
      });
      failures = 0;
      if (outcome.entries === 0) await rest();
      else logger.info('ledger repaired', { ...outcome });
    } catch (error) {
      failures += 1;
      logger.warn('repair failed, trying again later', { error: describeFault(error) });
      await pause(backoffMs(failures, FAILURE_MS, 60_000));
    }
  }
}
