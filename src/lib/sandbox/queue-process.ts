// The entry of the queue's process: an SQS emulator on a free port of 127.0.0.1, all in memory, that ends with its parent.
import type { AddressInfo } from 'node:net';

/** The one message that the process sends to its parent. */
export type QueueReport = { readonly port: number } | { readonly failure: string; readonly isMissing: boolean };

const URL_ACTIONS = ['AmazonSQS.CreateQueue', 'AmazonSQS.GetQueueUrl', 'AmazonSQS.ListQueues'];

process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));

serve(process.argv[2] ?? '').then(
  (port) => report({ port }),
  (error: unknown) => {
    const { message, code } = error as NodeJS.ErrnoException;
    report({ failure: message, isMissing: code === 'ERR_MODULE_NOT_FOUND' });
  },
);

function report(message: QueueReport): void {
  process.send?.(message);
}

/**
 * fauxqs names its queues by http://sqs.<region>.localhost:<port>, which not every resolver finds, and the AWS SDK sends
 * to the host in a queue's URL. Here they are named by address, whatever host a client names.
 */
async function serve(region: string): Promise<number> {
  const { buildApp } = await import('fauxqs');
  const app = buildApp({ logger: false, defaultRegion: region });
  const origins = { inner: '', outer: '' };
  app.addHook('preHandler', (request, _reply, done) => {
    const body = request.body as { QueueUrl?: string } | undefined;
    if (body?.QueueUrl) body.QueueUrl = body.QueueUrl.replace(/^https?:\/\/[^/]+/, origins.inner);
    done();
  });
  app.addHook('onSend', (request, _reply, payload, done) => {
    const namesQueues = URL_ACTIONS.includes(String(request.headers['x-amz-target']));
    done(null, namesQueues && typeof payload === 'string' ? payload.replaceAll(origins.inner, origins.outer) : payload);
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  origins.inner = `http://sqs.${region}.localhost:${port}`;
  origins.outer = `http://127.0.0.1:${port}`;
  return port;
}
