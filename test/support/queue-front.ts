// A server on loopback in front of the queue, which answers some calls itself and forwards the others, whole or in part.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { CliSettings } from './cli.js';

const JSON_TYPE = { 'content-type': 'application/x-amz-json-1.0' };

export interface Call {
  /** `ReceiveMessage`, `DeleteMessageBatch`, … */
  readonly action: string;
  /** Of a batch call. */
  readonly entries: readonly BatchEntry[];
  readonly response: ServerResponse;
  /** Hands the call to the queue, and its answer back. */
  readonly forward: () => Promise<void>;
  /** The same for some entries of a batch call alone; SQS "fails" the others. */
  readonly forwardSome: (isForwarded: (entry: BatchEntry, place: number) => boolean) => Promise<void>;
  /** The same for the whole call, with what becomes of the answer on its way back. */
  readonly forwardChanged: (change: (answer: Record<string, unknown>) => object) => Promise<void>;
  /** Answers with this text. */
  readonly reply: (status: number, text: string) => void;
  /** Answers with an error of this type. */
  readonly refuse: (type: string) => void;
}

export interface BatchEntry {
  readonly Id: string;
  readonly ReceiptHandle: string;
}

/** What becomes of a call; the connection is cut where this fails. */
export type Answer = (call: Call) => void | Promise<void>;

export class QueueFront {
  private constructor(
    private readonly server: Server,
    /** Leads the program to the front instead of the queue. */
    readonly settings: CliSettings,
  ) {}

  static async open(
    { AWS_ENDPOINT_URL_SQS: endpoint = '', SQS_QUEUE_URL: queueUrl = '' }: CliSettings,
    answer: Answer,
  ) {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const call = callOf(request, response, { endpoint, body: Buffer.concat(chunks).toString() });
        void Promise.resolve(answer(call)).catch(() => response.destroy());
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    const url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    return new QueueFront(server, {
      AWS_ENDPOINT_URL_SQS: url,
      SQS_QUEUE_URL: `${url}${new URL(queueUrl).pathname}`,
    });
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function callOf(
  request: IncomingMessage,
  response: ServerResponse,
  { endpoint, body }: { endpoint: string; body: string },
): Call {
  const target = String(request.headers['x-amz-target']);
  const input = JSON.parse(body) as { readonly Entries?: BatchEntry[] };
  const entries = input.Entries ?? [];
  const reply = (status: number, text: string): void => {
    response.writeHead(status, JSON_TYPE);
    response.end(text);
  };
  const ask = async (sent: string): Promise<{ status: number; text: string }> => {
    const headers = { ...JSON_TYPE, 'x-amz-target': target };
    const answer = await fetch(endpoint, { method: 'POST', headers, body: sent });
    return { status: answer.status, text: await answer.text() };
  };
  return {
    action: target.replace('AmazonSQS.', ''),
    entries,
    response,
    forward: async () => {
      const { status, text } = await ask(body);
      reply(status, text);
    },
    forwardChanged: async (change) => {
      const { status, text } = await ask(body);
      reply(status, JSON.stringify(change(JSON.parse(text) as Record<string, unknown>)));
    },
    reply,
    forwardSome: async (isForwarded) => {
      const forwarded = entries.filter(isForwarded);
      const failed = entries.filter((entry) => !forwarded.includes(entry));
      const { text } =
        forwarded.length === 0 ? { text: '{}' } : await ask(JSON.stringify({ ...input, Entries: forwarded }));
      const { Successful = [], Failed = [] } = JSON.parse(text) as Record<string, object[]>;
      const faults = failed.map(({ Id }) => ({ Id, Code: 'InternalError', SenderFault: false }));
      reply(200, JSON.stringify({ Successful, Failed: [...Failed, ...faults] }));
    },
    refuse: (type) =>
      reply(400, JSON.stringify({ __type: `com.amazonaws.sqs#${type}`, message: 'refused by the test' })),
  };
}
