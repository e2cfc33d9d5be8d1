import { printableJson } from '../../domain/printable.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { serve, type Address, type Endpoint } from '../../http/serve.js';
import type { BreakerState } from '../../repository/write/circuit-breaker.js';
import { LEASE_MS } from '../../repository/write/consumer-session.js';
import { TIMES } from '../../timing.js';

/** The state of a consumer, for whoever watches it. */
export interface ConsumerHealth {
  /** Alive: the queue answers its polls, or it pauses on purpose. */
  readonly healthy: boolean;
  /** Taking messages: polls are answered, its lease is renewed, and the primary stores what is received. */
  readonly ready: boolean;
  /** Why it is not healthy or not ready; empty when it is both. */
  readonly reasons: readonly string[];
  readonly writeMode: string;
  readonly messages: number;
  readonly messagesInHand: number;
  /** Circuit breaker of the secondary, and the failure that opened it. */
  readonly breaker: { readonly state: BreakerState; readonly reason: string | null };
}

/** The facts that health is judged by. */
export interface Vitals {
  /** The primary does not take batches, and nothing is received until it does. */
  readonly paused: boolean;
  readonly primary: Side;
  /** Time since the queue answered a poll, or since the start; and what it said of the last one that it refused. */
  readonly pollAgeMs: number;
  readonly pollFailure: string | null;
  readonly leaseAgeMs: number;
}

/** Alive is who gets answers from the queue, or pauses on purpose; ready who besides has its lease and a primary that stores. */
export function judgeVitals(vitals: Vitals): Pick<ConsumerHealth, 'healthy' | 'ready' | 'reasons'> {
  const { paused, primary, pollAgeMs, pollFailure, leaseAgeMs } = vitals;
  const seconds = Math.floor(pollAgeMs / 1000);
  const why = pollFailure === null ? '' : `: ${pollFailure}`;
  const polls =
    paused || pollAgeMs < TIMES.pollSilenceMs ? [] : [`the queue has answered no poll for ${seconds} s${why}`];
  const lease = leaseAgeMs < LEASE_MS ? [] : ['the lease could not be renewed'];
  const store = paused ? [`${sideTitle(primary)} does not take batches; receiving pauses`] : [];
  const reasons = [...polls, ...lease, ...store];
  return { healthy: polls.length === 0, ready: reasons.length === 0, reasons };
}

/**
 * Answers GET /healthz and /readyz with 200 or 503 and the whole picture as JSON. Throws a UsageError where the port
 * cannot be had.
 */
export async function serveHealth(address: Address, read: () => ConsumerHealth): Promise<Endpoint> {
  return await serve(address, 'health', (path, response) => {
    const health = read();
    const verdicts: Readonly<Record<string, boolean>> = { '/healthz': health.healthy, '/readyz': health.ready };
    const verdict = verdicts[path];
    const status = verdict === undefined ? 404 : verdict ? 200 : 503;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(verdict === undefined ? '' : `${printableJson(health)}\n`);
  });
}
