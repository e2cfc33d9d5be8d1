import type { Settings } from '../../config.js';
import type { Database } from '../../db/database.js';
import type { Logger } from '../../logger.js';
import type { Queue } from '../../queue/queue.js';
import { openQueue } from '../queue.js';
import { openSide, withDatabases } from '../sides.js';

/** What a monitor looks at; null is what the settings do not name. */
export interface Monitored {
  readonly local: Database;
  readonly ec2: Database | null;
  readonly queue: Queue | null;
}

/** Lends both sides and the queue for the length of `work`; none of them has to answer. */
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
