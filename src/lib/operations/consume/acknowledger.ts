import { setTimeout as delay } from 'node:timers/promises';
import { backoffMs } from '../../domain/async.js';
import { chunksOf } from '../../domain/chunks.js';
import type { Logger } from '../../logger.js';
import { asQueueError, SQS_BATCH, type Queue, type ReceivedMessage } from '../../queue/queue.js';

const TRIES = 4;
const RETRY_MS = 200;

/**
 * Deletes committed messages, each confirmed by its own entry in the answer. Returns how many SQS did not confirm in
 * the end: these are delivered again, and change nothing.
 */
export async function acknowledge(queue: Queue, messages: readonly ReceivedMessage[], logger: Logger): Promise<number> {
  const unconfirmed = await Promise.all(
    chunksOf(messages, SQS_BATCH).map((group) => deleteGroup(queue, group, logger)),
  );
  return unconfirmed.reduce((sum, count) => sum + count, 0);
}

async function deleteGroup(queue: Queue, messages: ReceivedMessage[], logger: Logger): Promise<number> {
  let left = messages;
  for (let attempt = 1; attempt <= TRIES && left.length > 0; attempt += 1) {
    if (attempt > 1) await delay(backoffMs(attempt - 1, RETRY_MS));
    try {
      left = await queue.delete(left);
    } catch (error) {
      logger.warn('acknowledgement failed', {
        messages: left.length,
        attempt,
        attempts: TRIES,
        error: asQueueError(error, queue.url).message,
      });
    }
  }
  return left.length;
}
