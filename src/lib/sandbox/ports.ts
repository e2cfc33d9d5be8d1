import { randomInt } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

// Below the range that kernels give to outgoing connections: a stopped server finds its port free again.
const FIRST_PORT = 15_000;
const LAST_PORT = 32_000;
const HOST = '127.0.0.1';

/** The reservations of this process. */
const tokens = new Map<number, Socket>();

/** A port of 127.0.0.1 that nobody listens on; it is this process's until that ends, or calls `releasePort`. */
export async function findFreePort(): Promise<number> {
  const port = randomInt(FIRST_PORT, LAST_PORT);
  return (await reservePort(port)) ? port : findFreePort();
}

/**
 * Tells whether the port of 127.0.0.1 is the caller's from now on, listened on or not: nobody listens on it, and nobody
 * has reserved it. Whoever asks here holds the UDP port of the same number, which nothing else uses: the kernel gives it
 * to one process alone, and has it back however that ends.
 */
export async function reservePort(port: number): Promise<boolean> {
  const token = await holdToken(port);
  if (token === undefined) return false;
  tokens.set(port, token);
  if (await isPortFree(port)) return true;
  releasePort(port);
  return false;
}

/** Lets others have the port again. */
export function releasePort(port: number): void {
  tokens.get(port)?.close();
  tokens.delete(port);
}

/** Returns whether a server could listen on the port of 127.0.0.1 now. */
export async function isPortFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ host: HOST, port, exclusive: true });
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

async function holdToken(port: number): Promise<Socket | undefined> {
  const token = createSocket('udp4').unref();
  try {
    token.bind({ address: HOST, port, exclusive: true });
    await once(token, 'listening');
    return token;
  } catch {
    token.close();
    return undefined;
  }
}
