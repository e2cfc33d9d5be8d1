import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Registry } from 'prom-client';
import { UsageError } from '../errors.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A port that answers until it is closed. */
export interface Endpoint {
  /** Gives the port back, and cuts whoever is connected: a client that says nothing holds up no process. */
  close(): void;
}

/** Answers a GET or HEAD of a path. */
export type Answer = (path: string, response: ServerResponse, request: IncomingMessage) => void | Promise<void>;

/** A whole request has to be there in so many ms: those of scrapers and probes are a few hundred bytes. */
const REQUEST_MS = 10_000;
const CHECK_EVERY_MS = 1_000;

/** Nothing is taken for another type than it is sent as, shown inside another page, or kept; a page adds what it needs. */
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** Answers requests until it is closed; `what` names its flags. Throws a UsageError where the port cannot be had. */
export async function serve(
  { host, port }: Address,
  what: 'health' | 'metrics' | 'web',
  answer: Answer,
): Promise<Endpoint> {
  const timeouts = {
    headersTimeout: REQUEST_MS,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: CHECK_EVERY_MS,
  };
  const server = createServer(timeouts, (request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (!isOurName(request.headers.host, host)) response.writeHead(403).end();
    else if (!['GET', 'HEAD'].includes(request.method ?? '')) response.writeHead(405, { allow: 'GET, HEAD' }).end();
    else void respond(answer, request, response);
  });
  server.unref();
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return await new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const message = `the ${what} port ${host}:${port} cannot be opened: ${error.message}`;
      reject(new UsageError(message, { code: 'port-taken', facts: { what }, cause: error }));
    });
    server.listen(port, host, () => resolve({ close }));
  });
}

/** Answers 500 without a reason where the answer fails: outsiders learn nothing of it. */
async function respond(answer: Answer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await answer(request.url ?? '', response, request);
  } catch {
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
}

/**
 * False for a name that only somebody else's DNS leads here: a page of theirs would read what it is answered. Ours are
 * addresses, this machine's own names, and the one that the port was bound by; who sends none is no browser.
 */
function isOurName(host: string | undefined, bound: string): boolean {
  if (host === undefined) return true;
  const name = host
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  const own = hostname().toLowerCase();
  return isIP(name) !== 0 || ['localhost', bound.toLowerCase(), own, own.split('.')[0]].includes(name);
}

/** Answers GET /metrics in Prometheus's text format. Throws a UsageError where the port cannot be had. */
export async function serveMetrics(address: Address, registry: Registry): Promise<Endpoint> {
  return await serve(address, 'metrics', async (path, response) => {
    if (path !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    const text = await registry.metrics();
    response.writeHead(200, { 'content-type': registry.contentType }).end(text);
  });
}
