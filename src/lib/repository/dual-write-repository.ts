import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Database } from '../db/database.js';
import { describeFault, faultKind } from '../db/sqlstate.js';
import { sideTitle, sideTitleCapitalized, type Side, type WriteMode } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import { silentLogger, type Logger } from '../logger.js';
import type { CommittedBatch } from './write/batch.js';
import { assertBookkeeping } from './ledger/bookkeeping-schema.js';
import { CircuitBreaker, type BreakerState } from './write/circuit-breaker.js';
import type { WriteRequest } from './write/division.js';
import { endConsumer, HEARTBEAT_MS, registerConsumer, renewLease } from './write/consumer-lease.js';
import { readRecordedState } from './phase/state.js';
import { compactUnproven, markUnclaimed, readGaps, type Gap } from './ledger/ledger.js';
import { writeToPrimary } from './write/primary-writer.js';
import { countFaults } from './ledger/quarantine.js';
import { assertServer, findLoss, findObstacles, type Obstacle } from './tables/reading-tables.js';
import { healUntilStopped } from './repair/self-healing.js';
import { SecondarySender, type RetryPolicy, type SendOutcome } from './write/secondary-sender.js';
import { SecondaryWriter } from './write/secondary-writer.js';
import { Settlement } from './write/settlement.js';
import { WriteMeter, type SendTotals } from './write/write-meter.js';

export interface DualWriteOptions {
  /** Written first; holds the ledger. */
  readonly primary: Database;
  /** Written after the primary has committed; null writes to the primary only. */
  readonly secondary: Database | null;
  /** The epoch whose roles these are; absent: the one that the primary records when this is opened. */
  readonly epoch?: number;
  readonly retry: RetryPolicy;
  /** Batches sent to the secondary side by side; not more than its pool has connections. */
  readonly concurrency: number;
  /** Memory for batches that wait for the secondary, in bytes; 64 MiB by default. */
  readonly maxWaitingBytes?: number;
  /** Repair of missed ranges in the background, at so many rows a second at most; null switches it off. */
  readonly healing?: { readonly rowsPerSecond: number } | null;
  /** How this process is known to operators. */
  readonly consumer: { readonly host: string; readonly pid: number };
  /** Counts what is written, and goes on counting in the next repository of the same consumer. */
  readonly meter?: WriteMeter;
  /** Told once the primary has become one that it would not have been opened on; no batch is taken any more. */
  readonly onUnfit?: (error: Error) => void;
  readonly logger?: Logger;
}

const BEATS_A_COMPACTION = 12;
const BEATS_A_LOOK = 12;
const DEFAULT_WAITING_BYTES = 64 * 1024 * 1024;

/**
 * Writes batches of readings to the primary and, after they are committed, to the secondary; the ledger on the primary
 * says at every moment what the secondary lacks. Any number of these may work on the same two databases.
 */
export class DualWriteRepository {
  readonly writeMode: WriteMode;
  readonly meter: WriteMeter;
  #epoch: number;
  #consumerId = randomUUID();
  readonly #held = new Set<string>();
  readonly #breaker = new CircuitBreaker();
  readonly #settlement: Settlement;
  readonly #writer: SecondaryWriter | null;
  readonly #sender: SecondarySender | null;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #heartbeat: NodeJS.Timeout | undefined;
  #beats = 0;
  #renewedAt = performance.now();
  #beating: Promise<void> | null = null;
  #looking: Promise<void> | null = null;
  #unfit: Error | null = null;
  #background: Promise<void>[] = [];

  private constructor(
    private readonly options: DualWriteOptions,
    epoch: number,
  ) {
    this.writeMode =
      options.secondary !== null ? 'dual-write' : options.primary.side === 'ec2' ? 'ec2-only' : 'local-only';
    this.#epoch = epoch;
    this.meter = options.meter ?? new WriteMeter();
    this.#logger = options.logger ?? silentLogger;
    this.#settlement = new Settlement(options.primary, this.#held, this.#logger);
    this.#writer = options.secondary === null ? null : new SecondaryWriter(options.secondary);
    this.#sender =
      options.secondary === null || this.#writer === null ? null : this.#createSender(options.secondary, this.#writer);
  }

  /** Checks that the primary is prepared and makes this consumer known to it. The secondary may be away. */
  static async open(options: DualWriteOptions): Promise<DualWriteRepository> {
    await assertPrepared(options.primary);
    const epoch = options.epoch ?? (await readRecordedState(options.primary.pool)).epoch;
    const repository = new DualWriteRepository(options, epoch);
    await repository.#register();
    repository.#heartbeat = setInterval(() => {
      repository.#beating ??= repository.#beat().finally(() => (repository.#beating = null));
    }, HEARTBEAT_MS);
    repository.#startBackground();
    return repository;
  }

  /**
   * Commits readings, ledger and quarantine on the primary and says what it accepted. One request may become several
   * batches where the database refuses a reading. Throws when the primary is not available, or (fault kind `fenced`) not
   * the primary in this epoch: then acknowledge nothing.
   */
  async writeBatch(request: WriteRequest): Promise<CommittedBatch[]> {
    if (this.#unfit !== null) throw this.#unfit;
    const startedAt = performance.now();
    const { side } = this.options.primary;
    const batches = await writeToPrimary(request, {
      primary: this.options.primary,
      consumerId: this.#consumerId,
      writeMode: this.writeMode,
      epoch: this.#epoch,
      held: this.#held,
    }).catch((error: unknown) => {
      if (faultKind(error) !== 'fenced') this.meter.failed(side, describeFault(error));
      throw error;
    });
    const ms = Math.round(performance.now() - startedAt);
    this.meter.written(side, performance.now() - startedAt, countAccepted(batches), true);
    for (const { batchId, accepted, refused, quarantined } of batches) {
      const fields = {
        batch: batchId ?? undefined,
        readings: accepted,
        refused,
        quarantined: countFaults(quarantined),
        ms,
      };
      this.#logger.info(`${sideTitleCapitalized(side)} write successful`, fields);
    }
    return batches;
  }

  /** Sends a committed batch to the secondary, with retries, and says what came of it; `settle` it afterwards. */
  async sendBatch(batch: CommittedBatch): Promise<SendOutcome> {
    if (this.#sender === null || batch.batchId === null) return { confirmed: true, refused: [] };
    return await this.#sender.send(batch);
  }

  /** Carries the outcome of a batch to the ledger, together with others, in the background. */
  settle(batch: CommittedBatch, outcome: SendOutcome): void {
    this.#sender?.settle(batch, outcome);
  }

  /** Sends and settles a batch in the background, with bounded memory; never blocks and never throws. */
  dispatch(batch: CommittedBatch): void {
    this.#sender?.enqueue(batch);
  }

  /**
   * Resolves when every dispatched batch has been confirmed or entered as missed. Once `stop` aborts, a primary that is
   * away is not waited for: what could not be settled counts as missed when the lease ends.
   */
  async idle(stop?: AbortSignal): Promise<void> {
    if (stop?.aborted === true) this.#settlement.close();
    else stop?.addEventListener('abort', () => this.#settlement.close(), { once: true });
    // Only what was sent is settled, and the sender waits for that, too.
    await this.#sender?.idle();
  }

  /** Goes on in an epoch that has the same roles. */
  enterEpoch(epoch: number): void {
    this.#epoch = epoch;
  }

  get primarySide(): Side {
    return this.options.primary.side;
  }

  /** What became of the batches settled so far, through every repository of the same meter. */
  get totals(): SendTotals {
    return this.meter.totals;
  }

  /** The circuit breaker of the secondary, and the failure that opened it. */
  get breaker(): { readonly state: BreakerState; readonly reason: string | null } {
    return { state: this.#breaker.state, reason: this.#breaker.reason };
  }

  /** How long ago the lease was renewed, in ms. */
  get leaseAgeMs(): number {
    return performance.now() - this.#renewedAt;
  }

  /** What the secondary may lack, as merged time ranges. */
  async readGaps(): Promise<Gap[]> {
    return await readGaps(this.options.primary.pool);
  }

  /** Ends the consumer: whatever is not settled by now counts as missed. Closes no pool. */
  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#stopping.abort();
    this.#settlement.close();
    await this.idle();
    await Promise.all([this.#beating, this.#looking, ...this.#background]);
    await endConsumer(this.options.primary.pool, this.#consumerId).catch((error: unknown) => {
      this.#logger.warn('the end of this consumer could not be recorded', { error: describeFault(error) });
    });
  }

  #startBackground(): void {
    const { primary, secondary, healing } = this.options;
    if (secondary === null) return;
    this.#background.push(this.#warnOfObstacles(secondary));
    if (healing === null || healing === undefined) return;
    const [breaker, logger, signal] = [this.#breaker, this.#logger, this.#stopping.signal];
    const onHealed = (readings: number): void => this.meter.healed(readings);
    this.#background.push(healUntilStopped({ primary, secondary, breaker, logger, signal, onHealed, ...healing }));
  }

  async #warnOfObstacles(secondary: Database): Promise<void> {
    try {
      for (const { table, problem, advice, blocks } of await findObstacles(secondary)) {
        const consequence = blocks
          ? 'batches with readings for it are entered in the ledger until it is mended'
          : 'batch markers stand in for it in phase 1; from phase 2 on it is required';
        this.#logger.warn(`${table} on ${sideTitle(secondary.side)} ${problem}; ${consequence}`, { next: advice });
      }
    } catch (error) {
      this.#logger.warn(`${sideTitle(secondary.side)} could not be looked at`, { error: describeFault(error) });
    }
  }

  #createSender(secondary: Database, writer: SecondaryWriter): SecondarySender {
    // Every batch that waits for its next attempt listens to the signal.
    setMaxListeners(0, this.#stopping.signal);
    return new SecondarySender({
      side: secondary.side,
      writer,
      breaker: this.#breaker,
      settlement: this.#settlement,
      meter: this.meter,
      retry: this.options.retry,
      concurrency: this.options.concurrency,
      maxBytes: this.options.maxWaitingBytes ?? DEFAULT_WAITING_BYTES,
      logger: this.#logger,
      signal: this.#stopping.signal,
    });
  }

  async #register(): Promise<void> {
    const { primary, consumer } = this.options;
    await registerConsumer(primary.pool, { ...consumer, consumerId: this.#consumerId, writeMode: this.writeMode });
  }

  /** Somebody took this consumer for dead: what it had pending counts as missed, and goes on under a new name. */
  async #registerAnew(): Promise<void> {
    this.#logger.warn('this consumer was recorded as ended; it goes on under a new id');
    this.#consumerId = randomUUID();
    await this.#register();
  }

  /** Compression that is switched on while batches are written gives no error, and an old TimescaleDB loses rows by it. */
  async #look(): Promise<void> {
    const { primary, onUnfit } = this.options;
    try {
      const loss = await findLoss(primary);
      if (loss !== null && !this.#stopping.signal.aborted) {
        this.#unfit = unfit(loss, primary);
        onUnfit?.(this.#unfit);
      }
      await this.#writer?.lookAgain();
    } catch (error) {
      this.#logger.debug('whether rows are lost could not be read', { error: describeFault(error) });
    }
  }

  async #markUnclaimed(): Promise<void> {
    try {
      const found = await markUnclaimed(this.options.primary.pool, this.#consumerId, [...this.#held]);
      if (found > 0) this.#logger.warn('ledger entries of unanswered commits are now missed', { entries: found });
    } catch (error) {
      const problem = 'ledger entries of unanswered commits could not be looked for; the next heartbeat does';
      this.#logger.warn(problem, { error: describeFault(error) });
    }
  }

  async #beat(): Promise<void> {
    const { pool } = this.options.primary;
    try {
      const status = this.meter.readStatus(this.breaker);
      if (!(await renewLease(pool, this.#consumerId, status))) await this.#registerAnew();
      this.#renewedAt = performance.now();
      await this.#markUnclaimed();
    } catch (error) {
      this.#logger.warn('lease could not be renewed', { error: describeFault(error) });
    }
    this.#beats += 1;
    // Apart from the beat: the secondary may be slow to answer.
    if (this.#beats % BEATS_A_LOOK === 1) this.#looking ??= this.#look().finally(() => (this.#looking = null));
    if (this.#beats % BEATS_A_COMPACTION !== 0) return;
    await compactUnproven(pool).catch((error: unknown) => {
      this.#logger.warn('what is unproven could not be compacted', { error: describeFault(error) });
    });
  }
}

function unfit({ table, problem, advice }: Obstacle, { side }: Database): UnreachableError {
  return new UnreachableError(`${table} on ${sideTitle(side)} ${problem}`, advice);
}

function countAccepted(batches: readonly CommittedBatch[]): number {
  return batches.reduce((sum, { accepted }) => sum + accepted, 0);
}

async function assertPrepared(primary: Database): Promise<void> {
  await assertServer(primary);
  await assertBookkeeping(primary);
  const [obstacle] = await findObstacles(primary);
  if (obstacle !== undefined) throw unfit(obstacle, primary);
}
