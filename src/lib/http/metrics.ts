import type { Server } from 'node:http';
import type { Registry } from 'prom-client';
import { serve, type Address } from './serve.js';

/** Answers GET /metrics in Prometheus's text format. Throws a UsageError where the port cannot be had. */
export async function serveMetrics(address: Address, registry: Registry): Promise<Server> {
  return await serve(address, 'metrics', (request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
      (error: unknown) => response.writeHead(500).end((error as Error).message),
    );
  });
}
