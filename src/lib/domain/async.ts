import { setTimeout as delay } from 'node:timers/promises';

/** The pause before try `attempt` (1 is the first retry), in ms: doubling from `baseMs`, half of it jitter, at most `limitMs`. */
export function backoffMs(attempt: number, baseMs: number, limitMs = 30_000, random = Math.random): number {
  const full = Math.min(baseMs * 2 ** (attempt - 1), limitMs);
  return full / 2 + (full / 2) * random();
}

/** Resolves after so many ms, at once where there are none to wait, and early when `signal` aborts; never throws. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** A call, as TypeScript takes `signal.aborted` for what a loop found it to be before it waited. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Works on all items side by side until each has ended; the first that fails lets the others end what is in their hands. */
export async function workTogether<Item>(
  items: readonly Item[],
  stop: AbortSignal,
  work: (item: Item, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([stop, failed.signal]);
  const outcomes = await Promise.allSettled(
    items.map((item) =>
      work(item, either).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (outcomes.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}
