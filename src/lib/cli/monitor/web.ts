import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:http';
import { serve } from '../../http/serve.js';
import type { Snapshot } from '../../operations/monitor/snapshot.js';
import { LIVE_PAGE, renderLiveBody } from './live-page.js';

/** As many looks as the plots show: ten minutes at an interval of 2 s. */
const HISTORY = 300;
const HOST = '127.0.0.1';

/** Nothing is loaded from elsewhere, and no other page shows this one. */
const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
  'cache-control': 'no-store',
};

/** The live picture as a page on loopback. */
export class LiveWeb {
  #history: readonly Snapshot[] = [];
  readonly #watching = new Set<ServerResponse>();
  #server: Server | undefined;

  constructor(private readonly port: number) {}

  /** Throws a UsageError where the port cannot be had. Returns the address of the page. */
  async open(): Promise<string> {
    this.#server = await serve({ host: HOST, port: this.port }, 'web', (request, response) => {
      this.#answer(request, response);
    });
    return `http://${HOST}:${this.port}/`;
  }

  show(snapshot: Snapshot): void {
    this.#history = [...this.#history, snapshot].slice(-HISTORY);
    if (this.#watching.size === 0) return;
    const picture = this.#picture();
    for (const response of this.#watching) response.write(picture);
  }

  close(): void {
    for (const response of this.#watching) response.end();
    this.#server?.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    // Another site's name that leads to this address is none of ours.
    if (!/^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/.test(request.headers.host ?? '')) {
      response.writeHead(403).end();
    } else if (request.url === '/') response.writeHead(200, HEADERS).end(LIVE_PAGE);
    else if (request.url === '/pictures') this.#stream(response);
    else response.writeHead(404).end();
  }

  #stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(this.#picture());
    this.#watching.add(response);
    response.on('close', () => this.#watching.delete(response));
  }

  #picture(): string {
    return `data: ${JSON.stringify(renderLiveBody(this.#history))}\n\n`;
  }
}
