import { CommandLineError } from './advice.js';
import { openSide, withDatabases } from './open-sides.js';
import type { Settings } from '../config.js';
import type { Database } from '../db/database.js';
import type { Logger } from '../logger.js';
import { Queue } from '../queue/queue.js';

/** Opens the queue of the settings; throws a UsageError where SQS_QUEUE_URL is not set. */
export function openQueue({ queue }: Settings): Queue {
  const { queueUrl } = queue;
  if (queueUrl === undefined) throw new CommandLineError('SQS_QUEUE_URL is not set', 'set it in .env.local');
  return new Queue({ ...queue, queueUrl });
}

/** The databases and the queue that a monitor watches; null where the settings do not name one. */
export interface Monitored {
  readonly local: Database;
  readonly ec2: Database | null;
  readonly queue: Queue | null;
}

/** Opens both sides and the queue for `work`, and closes them; none of them has to answer. */
export async function withMonitored<Result>(
  settings: Settings,
  logger: Logger,
  work: (monitored: Monitored) => Promise<Result>,
): Promise<Result> {
  const local = openSide('local', settings, 'monitor', logger);
  const ec2 = settings.ec2 === null ? null : openSide('ec2', settings, 'monitor', logger);
  const queue = settings.queue.queueUrl === undefined ? null : openQueue(settings);
  return await withDatabases(ec2 === null ? [local] : [local, ec2], () => work({ local, ec2, queue })).finally(() =>
    queue?.close(),
  );
}
