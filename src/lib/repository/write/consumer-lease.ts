import type { Queryable } from '../../db/database.js';
import type { WriteMode } from '../../domain/side.js';
import { TIMES } from '../../timing.js';
import type { ConsumerStatus } from './consumer-status.js';

/** Longer than any statement, lock or idle-in-transaction timeout of a session, so that no transaction outlives it. */
export const LEASE_MS = TIMES.leaseMs;
export const HEARTBEAT_MS = TIMES.heartbeatMs;

const LEASE_END = `clock_timestamp() + make_interval(secs => ${LEASE_MS / 1000})`;

const REGISTER = `
  insert into sensorctl.consumer (consumer_id, host, pid, write_mode, lease_until)
  values ($1, $2, $3, $4, ${LEASE_END})`;

const RENEW = `
  update sensorctl.consumer set lease_until = ${LEASE_END},
    status = coalesce($2, status), status_at = case when $2::jsonb is null then status_at else clock_timestamp() end
  where consumer_id = $1 and ended_at is null`;

const END = 'update sensorctl.consumer set ended_at = clock_timestamp() where consumer_id = $1 and ended_at is null';

export interface ConsumerIdentity {
  readonly consumerId: string;
  readonly host: string;
  readonly pid: number;
  readonly writeMode: WriteMode;
}

/** Makes a consumer known; its pending entries count as its own while it renews the lease, by the database's clock. */
export async function registerConsumer(primary: Queryable, consumer: ConsumerIdentity): Promise<void> {
  await primary.query(REGISTER, [consumer.consumerId, consumer.host, consumer.pid, consumer.writeMode]);
}

/** Renews the lease and tells how the consumer fares; false when somebody has recorded it as ended meanwhile. */
export async function renewLease(
  primary: Queryable,
  consumerId: string,
  status: ConsumerStatus | null = null,
): Promise<boolean> {
  const text = status === null ? null : JSON.stringify(status);
  return (await primary.query(RENEW, [consumerId, text])).rowCount === 1;
}

/** Gives the lease up: whatever is still pending counts as missed from now on. */
export async function endConsumer(primary: Queryable, consumerId: string): Promise<void> {
  await primary.query(END, [consumerId]);
}
