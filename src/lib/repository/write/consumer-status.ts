import { z } from 'zod';
import { NO_LATENCIES } from '../../domain/latency.js';

const count = z.number().default(0);
const latencies = z.array(z.number()).length(NO_LATENCIES.length);

/** What a consumer that takes messages from a queue adds to its status. */
const INTAKE = z.object({
  /** Messages committed since it started. */
  messages: count,
  /** Messages received and not yet acknowledged. */
  inHand: count,
  /** The longest that a message received in the last minute had been in the queue, in ms; null where none came. */
  longestWaitMs: z.number().nullable().default(null),
});

/** What a consumer tells of itself with each heartbeat, as it stands in `sensorctl.consumer`. */
const STATUS = z.object({
  /** Readings a second since the heartbeat before. */
  rates: z.object({ accepted: count, confirmed: count, healed: count }),
  /** Readings since it started. */
  totals: z.object({ accepted: count, confirmed: count, missed: count, refused: count, healed: count }),
  /** Writes of the last minute on each side, by `LATENCY_BOUNDS_MS`. */
  latencies: z.object({ local: latencies, ec2: latencies }),
  breaker: z.object({ state: z.enum(['closed', 'open', 'probing']), reason: z.string().nullable() }),
  /** The last failed write, on either side; `agoMs` is counted back from the heartbeat. */
  lastError: z.object({ side: z.enum(['local', 'ec2']), text: z.string(), agoMs: z.number() }).nullable(),
  intake: INTAKE.nullable().default(null),
});

export type ConsumerStatus = Readonly<z.output<typeof STATUS>>;
export type IntakeStatus = Readonly<z.output<typeof INTAKE>>;

/** Reads a stored status; null for none, and for one that another version wrote in another form. */
export function parseConsumerStatus(text: string | null): ConsumerStatus | null {
  if (text === null) return null;
  return STATUS.safeParse(JSON.parse(text)).data ?? null;
}
