import { CommandLineError } from './advice.js';
import type { Settings } from '../config.js';
import { Queue } from '../queue/queue.js';

/** Opens the queue of the settings; throws a UsageError where SQS_QUEUE_URL is not set. */
export function openQueue({ queue }: Settings): Queue {
  const { queueUrl } = queue;
  if (queueUrl === undefined) throw new CommandLineError('SQS_QUEUE_URL is not set', 'set it in .env.local');
  return new Queue({ ...queue, queueUrl });
}
