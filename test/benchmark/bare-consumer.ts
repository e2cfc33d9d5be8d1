// The limit that the queue and the SDK set, the SDK set up as sensorctl sets it up: receives and deletes, and does nothing
// else. Takes the number of receive loops as its argument; SIGTERM ends it after its polls.
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

const queueUrl = process.env.SQS_QUEUE_URL!;
const sqs = new SQSClient({ cacheMiddleware: true });
const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());

await Promise.all(Array.from({ length: Number(process.argv[2]) }, () => receiveAndDelete()));

async function receiveAndDelete(): Promise<void> {
  while (!stopping.signal.aborted) {
    const { Messages: messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }),
    );
    if (messages.length === 0) continue;
    const entries = messages.map((message, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries: entries }));
  }
}
