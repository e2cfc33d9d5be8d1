import { backoffMs, pause } from './async.js';

/*
 * The one place in which something is tried again, joined, limited in time, or waited for.
 *
 * p-retry was looked at: it never repeats a TypeError, which may well be for one batch alone here, and its pauses do not
 * depend on the error.
 */

/** How one piece of work is tried again. */
export interface RetryOptions {
  /** Attempts in all; without it there is no limit. */
  readonly attempts?: number;
  /** The pause before the next attempt, in ms: fixed, or by the number of attempts that failed and the last error. */
  readonly pauseMs: number | ((failures: number, error: unknown) => number);
  /** Whether another attempt may succeed; without it every error may pass. */
  readonly retryIf?: (error: unknown, attempt: number) => boolean;
  /** Called after each attempt that failed; `pauseMs` is null where it was the last one. */
  readonly onFailedAttempt?: (failed: FailedAttempt) => void;
  /** Ends the pause and the attempts: `withRetries` then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface FailedAttempt {
  readonly error: unknown;
  /** Counted from 1. */
  readonly attempt: number;
  readonly pauseMs: number | null;
}

const NEVER = new AbortController().signal;

/** Does the work until it succeeds, and returns its result; throws the last error where the options allow no further attempt. */
export async function withRetries<Result>(
  work: (attempt: number) => Promise<Result>,
  options: RetryOptions,
): Promise<Result> {
  const { attempts = Infinity, retryIf = () => true, onFailedAttempt, signal = NEVER } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work(attempt);
    } catch (error) {
      const isLast = attempt >= attempts || !retryIf(error, attempt);
      const pauseMs = typeof options.pauseMs === 'number' ? options.pauseMs : options.pauseMs(attempt, error);
      onFailedAttempt?.({ error, attempt, pauseMs: isLast ? null : pauseMs });
      if (isLast) throw error;
      await pause(pauseMs, signal);
    }
    signal.throwIfAborted();
  }
}

/** Pauses that double from `baseMs` up to `limitMs`, half of each random. */
export function backoff(baseMs: number, limitMs?: number): (failures: number) => number {
  return (failures) => backoffMs(failures, baseMs, limitMs);
}

/** Asks again and again until there is an answer; null once the signal aborts. Throws what `ask` throws. */
export async function pollUntil<Answer>(
  ask: () => Promise<Answer | null>,
  {
    everyMs,
    signal = NEVER,
  }: { readonly everyMs: number | ((asked: number) => number); readonly signal?: AbortSignal },
): Promise<Answer | null> {
  for (let asked = 1; !signal.aborted; asked += 1) {
    const answer = await ask();
    if (answer !== null) return answer;
    await pause(typeof everyMs === 'number' ? everyMs : everyMs(asked), signal);
  }
  return null;
}

/** A function of which one call is under way at a time: whoever calls meanwhile gets the result of that one. */
export interface SingleFlight<Arguments extends unknown[], Result> {
  (...args: Arguments): Promise<Result>;
  /** The call that is under way. */
  readonly current: Promise<Result> | null;
}

export function singleFlight<Arguments extends unknown[], Result>(
  work: (...args: Arguments) => Promise<Result>,
): SingleFlight<Arguments, Result> {
  let current: Promise<Result> | null = null;
  const call = (...args: Arguments): Promise<Result> => {
    current ??= work(...args).finally(() => (current = null));
    return current;
  };
  return Object.defineProperty(call, 'current', { get: () => current }) as SingleFlight<Arguments, Result>;
}

/** Work that is done at an interval, never twice at a time. */
export interface Repeating {
  /** Starts no more; resolves when the one that is under way has ended. */
  stop(): Promise<void>;
}

/** Does the work every `everyMs`, where the one before has ended; it must not throw. */
export function repeatEvery(everyMs: number, work: () => Promise<void>): Repeating {
  const once = singleFlight(work);
  const timer = setInterval(() => void once(), everyMs);
  return {
    stop: async () => {
      clearInterval(timer);
      await once.current;
    },
  };
}

/**
 * The result of the work, or what `late` returns (or throws) where it takes longer than `ms`: what it brings later is lost.
 * Leaves no timer behind.
 */
export async function withDeadline<Result, Late>(
  work: Promise<Result>,
  ms: number,
  late: () => Late,
): Promise<Result | Late> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  try {
    return await Promise.race([work, deadline.then(late)]);
  } finally {
    clearTimeout(timer);
  }
}

/** Those who wait for something to change: each looks again whenever somebody says that it has. */
export class WaitList {
  #waiting: (() => void)[] = [];

  /** Wakes all who wait. */
  notify(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves once the condition holds, or after `withinMs`. */
  async until(isMet: () => boolean, withinMs = Infinity): Promise<void> {
    const endsAt = performance.now() + withinMs;
    while (!isMet() && performance.now() < endsAt) {
      const change = new Promise<void>((resolve) => this.#waiting.push(resolve));
      await (withinMs === Infinity ? change : withDeadline(change, endsAt - performance.now(), () => undefined));
    }
  }
}
