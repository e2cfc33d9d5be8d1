import type { Settings } from '../config.js';
import { UsageError } from '../errors.js';
import { Queue } from '../queue/queue.js';

/** Opens the queue of the settings; throws a UsageError where SQS_QUEUE_URL is not set. */
export function openQueue({ queue }: Settings): Queue {
  const { queueUrl } = queue;
  if (queueUrl === undefined) throw new UsageError('SQS_QUEUE_URL is not set', { next: 'set it in .env.local' });
  return new Queue({ ...queue, queueUrl });
}
