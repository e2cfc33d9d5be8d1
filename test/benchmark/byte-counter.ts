import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';

/** A port of 127.0.0.1 that leads to a server, and counts what the server sends. */
export interface ByteCounter {
  readonly port: number;
  readonly received: () => number;
  readonly close: () => void;
}

export async function openByteCounter(target: { host: string; port: number }): Promise<ByteCounter> {
  let received = 0;
  const server = createServer((client) => {
    const upstream = connect(target);
    upstream.on('data', (chunk: Buffer) => (received += chunk.length));
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, received: () => received, close: () => void server.close() };
}
