import type { ServerResponse } from 'node:http';
import { serve, type Endpoint } from '../../http/serve.js';
import type { Snapshot } from '../../operations/monitor/snapshot.js';
import { hashSource } from './html.js';
import { LIVE_PAGE, LIVE_SCRIPT, renderLiveBody } from './live-page.js';
import { PAGE_STYLE } from './page-style.js';

/** As many looks as the plots show: ten minutes at an interval of 2 s. */
const HISTORY = 300;
const HOST = '127.0.0.1';

/** Nothing is loaded from elsewhere, nothing runs but the page's own script, and no other page shows this one. */
const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src ${hashSource(PAGE_STYLE)}; script-src ${hashSource(LIVE_SCRIPT)}; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
};

/** The live picture as a page on loopback. */
export class LiveWeb {
  #history: readonly Snapshot[] = [];
  readonly #watching = new Set<ServerResponse>();
  #endpoint: Endpoint | undefined;

  constructor(private readonly port: number) {}

  /** Throws a UsageError where the port cannot be had. Returns the address of the page. */
  async open(): Promise<string> {
    this.#endpoint = await serve({ host: HOST, port: this.port }, 'web', (path, response) =>
      this.#answer(path, response),
    );
    return `http://${HOST}:${this.port}/`;
  }

  show(snapshot: Snapshot): void {
    this.#history = [...this.#history, snapshot].slice(-HISTORY);
    if (this.#watching.size === 0) return;
    const picture = this.#picture();
    for (const response of this.#watching) response.write(picture);
  }

  close(): void {
    this.#endpoint?.close();
  }

  #answer(path: string, response: ServerResponse): void {
    if (path === '/') response.writeHead(200, HEADERS).end(LIVE_PAGE);
    else if (path === '/pictures') this.#stream(response);
    else response.writeHead(404).end();
  }

  #stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(this.#picture());
    this.#watching.add(response);
    response.on('close', () => this.#watching.delete(response));
  }

  #picture(): string {
    return `data: ${JSON.stringify(renderLiveBody(this.#history))}\n\n`;
  }
}
