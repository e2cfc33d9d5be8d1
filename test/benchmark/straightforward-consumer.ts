// The peer of `consume --dual-write`: the consumer that most people write first. One receive loop; for each of the ten
// messages, in parallel, one INSERT a reading on local and then one on EC2; then the ten are deleted. SIGTERM ends it after its poll: the queue
// would give the answer of a poll that is cut off to nobody, and hide ten messages for 30 s.
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import pg from 'pg';

import { READING_COLUMNS } from '../../src/lib/decoders/guide-tables.js';
import type { Reading } from '../../src/lib/decoders/message.js';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';

const { env } = process;
const queueUrl = env.SQS_QUEUE_URL!;
const telemetry = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };

const sqs = new SQSClient({});
const local = new pg.Pool({
  host: env.TIMESCALE_HOST,
  port: Number(env.TIMESCALE_PORT),
  database: env.TIMESCALE_DB,
  user: env.TIMESCALE_USER,
  password: env.TIMESCALE_PASSWORD,
  max: 20,
});
const ec2 = new pg.Pool({
  host: env.EC2_DB_HOST,
  port: Number(env.EC2_DB_PORT),
  database: env.EC2_DB_NAME,
  user: env.EC2_DB_USER,
  password: env.EC2_DB_PASSWORD,
  max: 10,
});

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());

while (!stopping.signal.aborted) {
  const { Messages: messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }),
  );
  if (messages.length === 0) continue;
  await Promise.all(messages.map((message) => store(message.Body!)));
  const entries = messages.map((message, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle }));
  await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries: entries }));
}
await Promise.all([local.end(), ec2.end()]);

/** What a database refuses is given up, where sensorctl keeps it in the quarantine. */
async function store(body: string): Promise<void> {
  for (const reading of decodeMessage(body, telemetry).readings) {
    try {
      await insert(local, reading);
      await insert(ec2, reading);
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
    }
  }
}

async function insert(pool: pg.Pool, { table, time, sensorId, values }: Reading): Promise<void> {
  const columns = Object.keys(READING_COLUMNS[table]).filter((column) => column !== 'time' && column !== 'sensor_id');
  const parameters = columns.map((_, index) => `$${index + 3}`);
  await pool.query(
    `insert into ${table} (time, sensor_id, ${columns.join(', ')})
     values ($1, $2, ${parameters.join(', ')}) on conflict (sensor_id, time) do nothing`,
    [time, sensorId, ...columns.map((column) => values[column] ?? null)],
  );
}
