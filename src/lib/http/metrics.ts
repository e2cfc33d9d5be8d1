import type { Registry } from 'prom-client';
import { serve, type Address, type Endpoint } from './serve.js';

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
