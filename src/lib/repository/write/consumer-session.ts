import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Database } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import { NO_LATENCIES } from '../../domain/latency.js';
import { repeatEvery, singleFlight, type Repeating } from '../../domain/retry.js';
import type { DeclaredTables } from '../../domain/row.js';
import { sideTitle, type WriteMode } from '../../domain/side.js';
import { UnreachableError, UsageError, type SensorctlError } from '../../errors.js';
import type { Logger } from '../../logger.js';
import { TIMES } from '../../timing.js';
import { assertBookkeeping } from '../ledger/bookkeeping-schema.js';
import { compactLedger, markUnclaimed } from '../ledger/ledger.js';
import { findRestoring, readDurability } from '../tables/durability.js';
import { findLoss, findObstacles, type Obstacle } from '../tables/declared-tables.js';
import { assertServer } from '../tables/reading-tables.js';

/** Longer than any statement, lock or idle-in-transaction timeout of a session, so that no transaction outlives it. */
export const LEASE_MS = TIMES.leaseMs;

const REGISTER = `
  insert into sensorctl.consumer (consumer_id, host, pid, write_mode, lease_until)
  values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => ${LEASE_MS / 1000}))`;

const RENEW_LEASE = `
  update sensorctl.consumer set lease_until = clock_timestamp() + make_interval(secs => ${LEASE_MS / 1000}),
    status = $2, status_at = clock_timestamp()
  where consumer_id = $1 and ended_at is null`;

const END = 'update sensorctl.consumer set ended_at = clock_timestamp() where consumer_id = $1 and ended_at is null';

const count = z.number().default(0);
const latencies = z.array(z.number()).length(NO_LATENCIES.length);

/** The part of the status that only a consumer of a queue has. */
const INTAKE = z.object({
  /** Messages committed since it started. */
  messages: count,
  /** Messages received and not yet acknowledged. */
  inHand: count,
  /** The longest that a message received in the last minute had been in the queue, in ms; null where none came. */
  longestWaitMs: z.number().nullable().default(null),
  /** Time since the queue answered a poll, in ms, and what it said of the last one that it refused; null in older versions. */
  pollAgeMs: z.number().nullable().default(null),
  pollFailure: z.string().nullable().default(null),
});

/** The status that a consumer stores with each heartbeat, in `sensorctl.consumer`. */
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

const BEATS_A_COMPACTION = 12;
const BEATS_A_CHECK = 12;

export interface SessionOptions {
  readonly primary: Database;
  /** The tables of the decoder. */
  readonly declared: DeclaredTables;
  /** Null where the primary alone is written. */
  readonly secondary: Database | null;
  readonly consumer: { readonly host: string; readonly pid: number };
  readonly writeMode: WriteMode;
  /** Read at each heartbeat. */
  readonly readStatus: () => ConsumerStatus;
  /** Called from time to time: what the secondary's catalogs said is old. */
  readonly forgetTables: () => void;
  /** Called with why nothing may be written to the secondary, and with null once it may. */
  readonly onSecondaryUnfit: (error: Error | null) => void;
  /** Called once the primary has become one that it would not have been opened on. */
  readonly onUnfit: (error: Error) => void;
  readonly logger: Logger;
}

/**
 * How the primary knows this consumer: by an id, and by a lease that heartbeats renew. What a consumer has pending is its own
 * while its lease lasts, and counts as missed afterwards; all by the clock of the database.
 */
export class ConsumerSession {
  /** Ids of the batches that are being written or sent. An id is here before the ledger can hold it. */
  readonly inFlight = new Set<string>();
  #consumerId = randomUUID();
  #renewedAt = performance.now();
  #beats = 0;
  #unfit: Error | null = null;
  /** Sides of which the log has said that a crash loses what they confirm. */
  readonly #frail = new Set<Database>();
  #isStopped = false;
  #heartbeat: Repeating | undefined;
  readonly #check = singleFlight(() => this.#checkSides());

  private constructor(private readonly options: SessionOptions) {}

  /** Makes this consumer known to the primary. */
  static async open(options: SessionOptions): Promise<ConsumerSession> {
    const session = new ConsumerSession(options);
    await session.#register();
    session.#heartbeat = repeatEvery(TIMES.heartbeatMs, () => session.#beat());
    return session;
  }

  /** Under which id the ledger knows this consumer; another one after it was recorded as ended by mistake. */
  get consumerId(): string {
    return this.#consumerId;
  }

  /** How long ago the lease was renewed, in ms. */
  get leaseAgeMs(): number {
    return performance.now() - this.#renewedAt;
  }

  /** Throws where the primary has become one that loses rows: no batch is taken any more. */
  assertFit(): void {
    if (this.#unfit !== null) throw this.#unfit;
  }

  /** Ends the heartbeats, and resolves when nothing of the session is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#heartbeat?.stop();
    await this.#check.current;
  }

  /** Gives the lease up: whatever is still pending counts as missed from now on. */
  async end(): Promise<void> {
    const { primary, logger } = this.options;
    await primary.pool.query(END, [this.#consumerId]).catch((error: unknown) => {
      logger.warn('the end of this consumer could not be recorded', { error: describeFault(error) });
    });
  }

  async #register(): Promise<void> {
    const { primary, consumer, writeMode } = this.options;
    await primary.pool.query(REGISTER, [this.#consumerId, consumer.host, consumer.pid, writeMode]);
  }

  async #beat(): Promise<void> {
    const { primary, logger } = this.options;
    try {
      await this.#renewLease();
      await this.#markUnclaimed();
    } catch (error) {
      logger.warn('lease could not be renewed', { error: describeFault(error) });
    }
    this.#beats += 1;
    // Apart from the heartbeat: the secondary may be slow to answer.
    if (this.#beats % BEATS_A_CHECK === 1) void this.#check();
    if (this.#beats % BEATS_A_COMPACTION !== 0) return;
    await compactLedger(primary.pool).catch((error: unknown) => {
      logger.warn('the ledger could not be compacted', { error: describeFault(error) });
    });
  }

  /** Where somebody took this consumer for dead, what it had pending counts as missed, and it goes on under a new id. */
  async #renewLease(): Promise<void> {
    const { primary, readStatus, logger } = this.options;
    const { rowCount } = await primary.pool.query(RENEW_LEASE, [this.#consumerId, JSON.stringify(readStatus())]);
    if (rowCount !== 1) {
      logger.warn('this consumer was recorded as ended; it goes on under a new id');
      this.#consumerId = randomUUID();
      await this.#register();
    }
    this.#renewedAt = performance.now();
  }

  async #markUnclaimed(): Promise<void> {
    const { primary, logger } = this.options;
    try {
      const found = await markUnclaimed(primary.pool, this.#consumerId, [...this.inFlight]);
      if (found > 0) logger.warn('ledger entries of unanswered commits are now missed', { entries: found });
    } catch (error) {
      const problem = 'ledger entries of unanswered commits could not be looked for; the next heartbeat does';
      logger.warn(problem, { error: describeFault(error) });
    }
  }

  /**
   * What loses rows without an error, and may come at any time: compression that is switched on under an old TimescaleDB,
   * TimescaleDB's restoring mode, a server that does not sync.
   */
  async #checkSides(): Promise<void> {
    const { primary, secondary, declared, forgetTables, onUnfit, onSecondaryUnfit } = this.options;
    forgetTables();
    await Promise.all([
      this.#tolerating(async () => {
        const loss = await findLoss(primary, declared);
        const found = loss === null ? await this.#findRestoring(primary) : unfit(loss, primary);
        if (found === null || this.#isStopped) return;
        this.#unfit = found;
        onUnfit(found);
      }),
      this.#tolerating(async () => {
        if (secondary !== null) onSecondaryUnfit(await this.#findRestoring(secondary));
      }),
    ]);
  }

  /** A side that does not answer now does at the next check. */
  async #tolerating(check: () => Promise<void>): Promise<void> {
    await check().catch((error: unknown) => {
      this.options.logger.debug('whether rows are lost could not be read', { error: describeFault(error) });
    });
  }

  async #findRestoring(database: Database): Promise<Error | null> {
    const durability = await readDurability(database.pool);
    if (durability.off.length > 0 && !this.#frail.has(database)) {
      this.#frail.add(database);
      const problem = `a crash of the machine of ${sideTitle(database.side)} loses or damages what it has confirmed`;
      this.options.logger.warn(problem, { off: durability.off.join(', ') });
    }
    return findRestoring(database, durability);
  }
}

/** Throws where a primary is not prepared to take batches. */
export async function assertPrepared(primary: Database, declared: DeclaredTables): Promise<void> {
  await assertServer(primary);
  const restoring = findRestoring(primary, await readDurability(primary.pool));
  if (restoring !== null) throw restoring;
  await assertBookkeeping(primary);
  const [obstacle] = await findObstacles(primary, declared);
  if (obstacle !== undefined) throw unfit(obstacle, primary);
}

function unfit({ table, problem, advice }: Obstacle, { side }: Database): SensorctlError {
  const message = `${table} on ${sideTitle(side)} ${problem}`;
  return advice.code === 'decoder-misfit' ? new UsageError(message, advice) : new UnreachableError(message, advice);
}
