import { setTimeout as delay } from 'node:timers/promises';
import { counted } from '../domain/words.js';
import { pause } from '../domain/async.js';
import { UnreachableError, UsageError } from '../errors.js';
import { asQueueError, describeCodes, SQS_BATCH, type Queue, type Unconfirmed } from '../queue/queue.js';

export { readBodies } from '../queue/message-files.js';

export interface ReplayOptions {
  readonly queue: Queue;
  readonly bodies: AsyncIterable<string> | Iterable<string>;
  /** Messages a second; Infinity for as fast as the queue takes them. */
  readonly rate: number;
  readonly stop: AbortSignal;
  readonly onProgress?: (sent: number) => void;
}

export interface ReplaySummary {
  readonly sent: number;
  readonly seconds: number;
}

const SENDS_SIDE_BY_SIDE = 8;
const TRIES = 5;
const RETRY_MS = 200;

/** Sends each body as a message, ten a call; stops early, with what was sent, when told to. Throws an UnreachableError, or a UsageError for a FIFO queue. */
export async function replay({ queue, bodies, rate, stop, onProgress }: ReplayOptions): Promise<ReplaySummary> {
  if (queue.isFifo) {
    throw new UsageError(`the queue ${queue.url} is a FIFO queue; replay sends to standard queues alone`, {
      code: 'queue-is-fifo',
    });
  }
  const startedAt = performance.now();
  const sending = new Set<Promise<unknown>>();
  let taken = 0;
  let sent = 0;
  let failure: Error | undefined;
  for await (const group of groupsOf(bodies, SQS_BATCH)) {
    if (stop.aborted || failure !== undefined) break;
    taken += group.length;
    const send = sendAll(queue, group).then(() => {
      sent += group.length;
      onProgress?.(sent);
    });
    const tracked = send.catch((error: unknown) => (failure ??= error as Error)).finally(() => sending.delete(tracked));
    sending.add(tracked);
    if (sending.size >= SENDS_SIDE_BY_SIDE) await Promise.race(sending);
    const dueMs = (taken / rate) * 1000 - (performance.now() - startedAt);
    if (dueMs > 1) await pause(dueMs, stop);
  }
  await Promise.all(sending);
  throwIfFailed(failure);
  return { sent, seconds: Math.round(performance.now() - startedAt) / 1000 };
}

function throwIfFailed(failure: Error | undefined): void {
  if (failure !== undefined) throw failure;
}

async function* groupsOf(bodies: AsyncIterable<string> | Iterable<string>, size: number): AsyncGenerator<string[]> {
  let group: string[] = [];
  for await (const body of bodies) {
    group.push(body);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function sendAll(queue: Queue, bodies: readonly string[]): Promise<void> {
  let left = [...bodies];
  for (let attempt = 1; left.length > 0; attempt += 1) {
    let unconfirmed: Unconfirmed<string>[] = [];
    try {
      unconfirmed = await queue.send(left);
      left = unconfirmed.map(({ item }) => item);
    } catch (error) {
      if (attempt === TRIES) throw asQueueError(error, queue.url);
    }
    if (left.length > 0 && attempt === TRIES) {
      const refused = `${left.length} of ${counted(bodies.length, 'message')} (${describeCodes(unconfirmed)})`;
      throw new UnreachableError(`the queue ${queue.url} refused ${refused}`, { code: 'messages-refused' });
    }
    if (left.length > 0) await delay(RETRY_MS * attempt);
  }
}
