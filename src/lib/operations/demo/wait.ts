import { setTimeout as delay } from 'node:timers/promises';
import { InterruptedError } from '../../errors.js';

/** Throws an InterruptedError as soon as the demo is told to stop. */
export async function wait(ms: number, stop: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal: stop }).catch(() => {
    throw new InterruptedError('the demo was stopped');
  });
}
