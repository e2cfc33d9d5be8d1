import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { UnreachableError, UsageError } from '../errors.js';
import { forkEntry } from './helper-process.js';
import type { QueueReport } from './queue-process.js';

export interface QueueOptions {
  /** Default 30, as in SQS. */
  visibilityTimeoutSeconds?: number;
  /** After so many receives a message moves to the dead-letter queue. Default 5. */
  maxReceiveCount?: number;
}

const REGION = 'us-east-1';

/** An SQS emulator in a process of its own. */
export class QueueServer {
  readonly region = REGION;
  /** The emulator takes any credentials; the AWS SDK insists on some. */
  readonly accessKeyId = 'sandbox';
  readonly secretAccessKey = 'sandbox';
  readonly endpoint: string;

  constructor(
    private readonly child: ChildProcess,
    port: number,
  ) {
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** Creates the queue and its dead-letter queue, `<name>-dead-letters`. Returns the URL of the queue. */
  async createQueue(name: string, options: QueueOptions = {}): Promise<string> {
    const deadLetters = await this.call('CreateQueue', { QueueName: `${name}-dead-letters` });
    const { Attributes } = await this.call('GetQueueAttributes', { ...deadLetters, AttributeNames: ['QueueArn'] });
    const redrive = { deadLetterTargetArn: Attributes?.QueueArn, maxReceiveCount: options.maxReceiveCount ?? 5 };
    const attributes = {
      VisibilityTimeout: String(options.visibilityTimeoutSeconds ?? 30),
      RedrivePolicy: JSON.stringify(redrive),
    };
    const { QueueUrl } = await this.call('CreateQueue', { QueueName: name, Attributes: attributes });
    return QueueUrl ?? '';
  }

  /** Ends the process; what was in the queues is gone. */
  async stop(): Promise<void> {
    if (!this.child.connected) return;
    const exited = once(this.child, 'exit');
    this.child.disconnect();
    await exited;
  }

  /** The AWS JSON protocol by hand: the SDK would take longer to load than the emulator to start. */
  private async call(action: string, input: object): Promise<QueueAnswer> {
    const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': `AmazonSQS.${action}` };
    const response = await fetch(this.endpoint, { method: 'POST', headers, body: JSON.stringify(input) });
    const answer = (await response.json()) as QueueAnswer;
    if (!response.ok) {
      throw new UnreachableError(`The sandbox queue refused ${action}: ${answer.message ?? ''}`, {
        code: 'sandbox-queue-refused',
      });
    }
    return answer;
  }
}

interface QueueAnswer {
  readonly QueueUrl?: string;
  readonly Attributes?: Readonly<Record<string, string>>;
  readonly message?: string;
}

/** Starts the emulator on a free port of 127.0.0.1. It ends with this process. Throws UsageError if it is not installed. */
export async function startQueue(): Promise<QueueServer> {
  const child = forkEntry('queue-process', [REGION]);
  const report = await Promise.race([firstReport(child), failureOf(child)]);
  if ('port' in report) return new QueueServer(child, report.port);
  child.disconnect();
  if (!report.isMissing) {
    throw new UnreachableError(`The sandbox queue did not start: ${report.failure}`, {
      code: 'sandbox-queue-not-started',
    });
  }
  throw new UsageError('The sandbox needs the optional package fauxqs, which is not installed here.', {
    code: 'package-missing',
  });
}

async function firstReport(child: ChildProcess): Promise<QueueReport> {
  const [report] = (await once(child, 'message')) as [QueueReport];
  return report;
}

async function failureOf(child: ChildProcess): Promise<QueueReport> {
  const [code] = (await once(child, 'exit')) as [number | null];
  return { failure: `its process ended with code ${String(code)}`, isMissing: false };
}
