import type { Server } from 'node:http';
import { serve, type Address } from '../../http/serve.js';
import type { BreakerState } from '../../repository/circuit-breaker.js';

/** How a consumer fares, for whoever watches it. */
export interface ConsumerHealth {
  /** Alive: it polls the queue, or pauses on purpose. */
  readonly healthy: boolean;
  /** Taking messages: it polls, its lease is renewed, and the primary stores what is received. */
  readonly ready: boolean;
  /** Why it is not healthy or not ready; empty when it is both. */
  readonly reasons: readonly string[];
  readonly writeMode: string;
  readonly messages: number;
  readonly messagesInHand: number;
  /** Circuit breaker of the secondary, and the failure that opened it. */
  readonly breaker: { readonly state: BreakerState; readonly reason: string | null };
}

/**
 * Answers GET /healthz and /readyz with 200 or 503 and the whole picture as JSON. Throws a UsageError where the port
 * cannot be had.
 */
export async function serveHealth(address: Address, read: () => ConsumerHealth): Promise<Server> {
  return await serve(address, 'health', (request, response) => {
    const health = read();
    const verdicts: Record<string, boolean> = { '/healthz': health.healthy, '/readyz': health.ready };
    const verdict = verdicts[request.url ?? ''];
    const status = verdict === undefined ? 404 : verdict ? 200 : 503;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(verdict === undefined ? '' : `${JSON.stringify(health)}\n`);
  });
}
