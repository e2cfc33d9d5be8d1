import { createHash } from 'node:crypto';
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { UnreachableError } from '../errors.js';
import { TIMES } from '../timing.js';

/** The most that one call to SQS receives, deletes, extends or sends. */
export const SQS_BATCH = 10;

export interface QueueConnection {
  readonly queueUrl: string;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined;
}

/** A call that stops silently is given up, so that its poller goes on; longer than any long poll here, in ms. */
const TIMEOUTS = {
  connectionTimeout: 5_000,
  requestTimeout: TIMES.queueAnswerMs,
  socketTimeout: TIMES.queueAnswerMs,
  throwOnRequestTimeout: true,
};

/** A message in hand: ours until its visibility timeout passes. */
export interface ReceivedMessage {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  /** When it was sent, by SQS's clock, in ms since 1970; null where the queue does not say. */
  readonly sentAtMs: number | null;
}

/** An item of a batch call that SQS did not confirm, and the code that it gave for it. */
export interface Unconfirmed<Item> {
  readonly item: Item;
  readonly code: string;
}

export interface QueueState {
  /** Messages that could be received now, by SQS's own approximate count. */
  readonly visible: number;
  readonly inFlight: number;
  readonly delayed: number;
  readonly visibilityTimeoutSeconds: number;
}

/** One SQS queue: receive, delete, extend visibility, send. Errors are those of the SDK. */
export class Queue {
  readonly url: string;
  readonly #client: SQSClient;

  constructor({ queueUrl, region, endpoint, credentials }: QueueConnection) {
    this.url = queueUrl;
    this.#client = new SQSClient({
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials }),
      maxAttempts: 2,
      requestHandler: TIMEOUTS,
      // Else the SDK sorts its middleware anew at every call, which costs a tenth of it; nothing here changes it.
      cacheMiddleware: true,
      // The SDK would refuse a whole answer for one message; checksums are compared here instead.
      md5: false,
    });
    this.#client.middlewareStack.add(rememberAction, { step: 'initialize' });
  }

  /** By its name, which ends so for each FIFO queue and for no other. */
  get isFifo(): boolean {
    return new URL(this.url).pathname.endsWith('.fifo');
  }

  /**
   * Long-polls for up to `maxMessages`, ten at most; an empty answer after `waitSeconds` is not an error. Messages whose
   * body is not what their checksum says are left out and named to `onDamaged`, by their ids; SQS delivers them again.
   */
  async receive(
    maxMessages: number,
    waitSeconds: number,
    onDamaged: (messageIds: readonly string[]) => void = () => undefined,
  ): Promise<ReceivedMessage[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: this.url,
      MaxNumberOfMessages: Math.min(maxMessages, SQS_BATCH),
      WaitTimeSeconds: waitSeconds,
      MessageSystemAttributeNames: ['SentTimestamp'],
    });
    const { Messages: messages = [] } = await this.#client.send(command);
    const damaged = messages.filter(({ Body: body = '', MD5OfBody: checksum }) => isDamaged(body, checksum));
    if (damaged.length > 0) onDamaged(damaged.map(({ MessageId: id = '' }) => id));
    const whole = damaged.length === 0 ? messages : messages.filter((message) => !damaged.includes(message));
    return whole.map(({ MessageId = '', ReceiptHandle = '', Body = '', Attributes: attributes = {} }) => ({
      messageId: MessageId,
      receiptHandle: ReceiptHandle,
      body: Body,
      sentAtMs: attributes.SentTimestamp === undefined ? null : Number(attributes.SentTimestamp),
    }));
  }

  /** Deletes up to ten messages; returns those that SQS did not confirm, for a later try. */
  async delete(messages: readonly ReceivedMessage[]): Promise<Unconfirmed<ReceivedMessage>[]> {
    const entries = messages.map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle }));
    const answer = await this.#client.send(new DeleteMessageBatchCommand({ QueueUrl: this.url, Entries: entries }));
    return unconfirmedOf(messages, answer);
  }

  /** Keeps up to ten messages invisible to others for another `seconds`; returns those that SQS did not confirm. */
  async extendVisibility(
    messages: readonly ReceivedMessage[],
    seconds: number,
  ): Promise<Unconfirmed<ReceivedMessage>[]> {
    const entries = messages.map(({ receiptHandle }, index) => ({
      Id: String(index),
      ReceiptHandle: receiptHandle,
      VisibilityTimeout: seconds,
    }));
    const answer = await this.#client.send(
      new ChangeMessageVisibilityBatchCommand({ QueueUrl: this.url, Entries: entries }),
    );
    return unconfirmedOf(messages, answer);
  }

  /** Sends up to ten bodies; returns those that SQS did not take, or not as they are. */
  async send(bodies: readonly string[]): Promise<Unconfirmed<string>[]> {
    const entries = bodies.map((body, index) => ({ Id: String(index), MessageBody: body }));
    const answer = await this.#client.send(new SendMessageBatchCommand({ QueueUrl: this.url, Entries: entries }));
    const { Successful: taken = [], Failed: failed = [] } = answer;
    const damaged = taken.filter(({ Id: id, MD5OfMessageBody: sum }) => isDamaged(bodies[Number(id)] ?? '', sum));
    return unconfirmedOf(bodies, {
      Successful: taken.filter((each) => !damaged.includes(each)),
      Failed: [...failed, ...damaged.map(({ Id: id }) => ({ Id: id, Code: 'wrong checksum' }))],
    });
  }

  async readState(): Promise<QueueState> {
    return await this.#readStateOf(this.url);
  }

  /**
   * Messages in the queue to which SQS moves what was received too often, by its approximate count; null where there is
   * no such queue.
   */
  async readDeadLetters(): Promise<number | null> {
    const command = new GetQueueAttributesCommand({ QueueUrl: this.url, AttributeNames: ['RedrivePolicy'] });
    const { Attributes: attributes = {} } = await this.#client.send(command);
    const { deadLetterTargetArn } = JSON.parse(attributes.RedrivePolicy ?? '{}') as { deadLetterTargetArn?: string };
    if (deadLetterTargetArn === undefined) return null;
    // arn:aws:sqs:REGION:ACCOUNT:NAME
    const [account, name] = deadLetterTargetArn.split(':').slice(-2);
    const { QueueUrl: url = '' } = await this.#client.send(
      new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account }),
    );
    const { visible, inFlight } = await this.#readStateOf(url);
    return visible + inFlight;
  }

  async #readStateOf(url: string): Promise<QueueState> {
    const command = new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['All'] });
    const { Attributes: attributes = {} } = await this.#client.send(command);
    return {
      visible: Number(attributes.ApproximateNumberOfMessages ?? 0),
      inFlight: Number(attributes.ApproximateNumberOfMessagesNotVisible ?? 0),
      delayed: Number(attributes.ApproximateNumberOfMessagesDelayed ?? 0),
      visibilityTimeoutSeconds: Number(attributes.VisibilityTimeout ?? 30),
    };
  }

  close(): void {
    this.#client.destroy();
  }
}

/** The checksum is there to notice what a faulty way did to the body; not every server gives one. */
function isDamaged(body: string, checksum: string | undefined): boolean {
  return checksum !== undefined && createHash('md5').update(body).digest('hex') !== checksum;
}

interface BatchAnswer {
  readonly Successful?: readonly { readonly Id?: string | undefined }[] | undefined;
  readonly Failed?: readonly { readonly Id?: string | undefined; readonly Code?: string | undefined }[] | undefined;
}

/** Returns the items of a batch call that its answer does not confirm. The entries are named by their places. */
function unconfirmedOf<Item>(
  items: readonly Item[],
  { Successful: successful = [], Failed: failed = [] }: BatchAnswer,
): Unconfirmed<Item>[] {
  const confirmed = new Set(successful.map(({ Id: id }) => Number(id)));
  const codes = new Map(failed.map(({ Id: id, Code: code }) => [Number(id), code]));
  return items.flatMap((item, index) =>
    confirmed.has(index) ? [] : [{ item, code: codes.get(index) ?? 'not mentioned' }],
  );
}

/** `InternalError, ReceiptHandleIsInvalid`: each code once. */
export function describeCodes(unconfirmed: readonly Unconfirmed<unknown>[]): string {
  return [...new Set(unconfirmed.map(({ code }) => code))].toSorted().join(', ');
}

/** Which call an error of the SDK was the answer to, as `GetQueueAttributes`. */
const ACTIONS = new WeakMap<object, string>();

function rememberAction<Args, Output>(
  next: (args: Args) => Promise<Output>,
  { commandName = '' }: { readonly commandName?: string },
): (args: Args) => Promise<Output> {
  return async (args) => {
    try {
      return await next(args);
    } catch (error) {
      if (typeof error === 'object' && error !== null) ACTIONS.set(error, commandName.replace(/Command$/, ''));
      throw error;
    }
  };
}

const MISSING_QUEUE = new Set(['QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue', 'InvalidAddress']);
/** The credentials are right, and a policy does not allow the call. */
const MISSING_RIGHT = new Set(['AccessDenied', 'AccessDeniedException']);
const REFUSED_CREDENTIALS = new Set([
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
]);

/** Turns an error of the SDK into one that tells a missing queue, a missing right, refused credentials and a network fault apart. */
export function asQueueError(error: unknown, queueUrl: string): UnreachableError {
  const { name = '', message = '', code } = error as { name?: string; message?: string; code?: string };
  const where = `the queue ${queueUrl}`;
  if (MISSING_QUEUE.has(name)) {
    return new UnreachableError(`${where} does not exist`, {
      code: 'queue-missing',
      cause: error,
    });
  }
  if (REFUSED_CREDENTIALS.has(name)) {
    return new UnreachableError(`${where} refused the credentials (${name})`, {
      code: 'queue-credentials-refused',
      cause: error,
    });
  }
  const action = ACTIONS.get(error as object);
  if (MISSING_RIGHT.has(name) && action !== undefined) {
    return new UnreachableError(`${where} does not allow ${action} to these credentials (${name})`, {
      code: 'queue-right-missing',
      facts: { action },
      cause: error,
    });
  }
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
  if (status !== undefined && error instanceof SyntaxError) {
    return new UnreachableError(`${where} cannot be reached: what answers there is no queue (HTTP ${status})`, {
      code: 'queue-unreachable',
      cause: error,
    });
  }
  if (status !== undefined) {
    return new UnreachableError(`${where} refused the call (${name}): ${message}`, {
      code: 'queue-call-refused',
      cause: error,
    });
  }
  const detail = code ?? (message === '' ? name : message);
  return new UnreachableError(`${where} cannot be reached: ${detail}`, { code: 'queue-unreachable', cause: error });
}
