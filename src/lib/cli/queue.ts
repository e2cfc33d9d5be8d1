import type { Settings } from '../config.js';
import { UsageError } from '../errors.js';
import type { QueueConnection } from '../queue/queue.js';

/** The queue of the settings; throws a UsageError where SQS_QUEUE_URL is not set. */
export function queueConnection({ queue }: Settings): QueueConnection {
  const { queueUrl } = queue;
  if (queueUrl === undefined) throw new UsageError('SQS_QUEUE_URL is not set', { next: 'set it in .env.local' });
  return { ...queue, queueUrl };
}
