import { parseConsumerStatus, type ConsumerStatus } from '../write/consumer-session.js';
import type { Question, Row } from '../../db/ask-together.js';

/** A consumer that has not said goodbye. */
export interface KnownConsumer {
  readonly consumerId: string;
  readonly host: string;
  readonly pid: number;
  readonly writeMode: string;
  /** Its lease runs; else it is taken for dead. */
  readonly alive: boolean;
  readonly upSeconds: number;
  /** What it told last, and how long ago; null before its first heartbeat. */
  readonly status: ConsumerStatus | null;
  readonly statusAgeSeconds: number | null;
}

/** Those that died stay in view for so long. */
const LOST_IN_VIEW = "interval '10 minutes'";
const AT_MOST = 200;

const LIST = `
  select consumer_id as "consumerId", host, pid, write_mode as "writeMode", lease_until > clock_timestamp() as alive,
    extract(epoch from clock_timestamp() - started_at)::float8 as "upSeconds",
    status::text as status, extract(epoch from clock_timestamp() - status_at)::float8 as "statusAgeSeconds"
  from sensorctl.consumer
  where ended_at is null and lease_until > clock_timestamp() - ${LOST_IN_VIEW}
  order by started_at limit ${AT_MOST}`;

export const KNOWN_CONSUMERS: Question<readonly KnownConsumer[]> = { text: LIST, parse: (rows) => rows.map(parse) };

function parse(row: Row): KnownConsumer {
  const age = row.statusAgeSeconds;
  return {
    ...(row as unknown as KnownConsumer),
    upSeconds: Number(row.upSeconds),
    status: parseConsumerStatus(row.status as string | null),
    statusAgeSeconds: age === null ? null : Number(age),
  };
}
