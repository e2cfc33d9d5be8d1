import { setTimeout as delay } from 'node:timers/promises';

/** Resolves after so many ms, at once where there are none to wait, and early when `signal` aborts; never throws. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** A call, as TypeScript takes `signal.aborted` for what a loop found it to be before it waited. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
