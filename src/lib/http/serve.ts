import { createServer, type RequestListener, type Server } from 'node:http';
import { UsageError } from '../errors.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Answers requests until it is closed; `what` names its flags. Throws a UsageError where the port cannot be had. */
export async function serve(
  { host, port }: Address,
  what: 'health' | 'metrics' | 'web',
  answer: RequestListener,
): Promise<Server> {
  const server = createServer(answer);
  server.unref();
  return await new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const message = `the ${what} port ${host}:${port} cannot be opened: ${error.message}`;
      reject(new UsageError(message, { next: `choose another --${what}-port`, cause: error }));
    });
    server.listen(port, host, () => resolve(server));
  });
}
