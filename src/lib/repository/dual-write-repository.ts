import { setMaxListeners } from 'node:events';
import { asUnreachable, type Database } from '../db/database.js';
import { assertDistinctIfKnown } from '../db/identity.js';
import { describeFault } from '../db/sqlstate.js';
import type { DeclaredTables } from '../domain/row.js';
import type { TableSelection } from '../domain/table-patterns.js';
import { sideTitle, type WriteMode } from '../domain/side.js';
import { SensorctlError } from '../errors.js';
import { silentLogger, type Logger } from '../logger.js';
import { readRecordedState } from './phase/state.js';
import { healUntilStopped } from './repair/self-healing.js';
import { findObstacles } from './tables/declared-tables.js';
import { CircuitBreaker } from './write/circuit-breaker.js';
import { assertPrepared, ConsumerSession } from './write/consumer-session.js';
import { SecondarySender, SecondaryWriter, type RetryPolicy } from './write/send-batch.js';
import { Settlement } from './write/settle.js';
import { PrimaryWriter } from './write/write-batch.js';
import { WriteMeter } from './write/write-meter.js';

export interface DualWriteOptions {
  /** Written first; holds the ledger. */
  readonly primary: Database;
  /** Written after the primary has committed; null writes to the primary only. */
  readonly secondary: Database | null;
  /** The tables of the decoder: where one does not fit, this does not open. */
  readonly declared?: DeclaredTables;
  /** The tables of the migration: columns that it excepts each side keeps for itself. */
  readonly selection?: TableSelection;
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
  /** Called once the primary has become one that it would not have been opened on; no batch is taken any more. */
  readonly onUnfit?: (error: Error) => void;
  readonly logger?: Logger;
}

const DEFAULT_WAITING_BYTES = 64 * 1024 * 1024;

/**
 * Writes batches of readings to the primary (`primary.write`) and, after they are committed, to the secondary
 * (`secondary.enqueue`); the ledger on the primary says at every moment what the secondary lacks. Any number of these may
 * work on the same two databases.
 */
export class DualWriteRepository {
  readonly writeMode: WriteMode;
  /** Commits batches. */
  readonly primary: PrimaryWriter;
  /** Sends committed batches to the secondary; null where only the primary is written. */
  readonly secondary: SecondarySender | null;
  /** Carries the outcome of batches that a caller sends one by one (`secondary.send`) to the ledger. */
  readonly settlement: Settlement;
  readonly session: ConsumerSession;
  readonly meter: WriteMeter;
  /** The circuit breaker of the secondary. */
  readonly breaker: CircuitBreaker;
  readonly #stopping = new AbortController();
  readonly #background: Promise<void>[] = [];

  private constructor(options: DualWriteOptions, parts: RepositoryParts) {
    const { primary, retry, concurrency, maxWaitingBytes: maxBytes = DEFAULT_WAITING_BYTES } = options;
    const { writeMode, epoch, session, writer, meter, breaker, logger } = parts;
    this.writeMode = writeMode;
    this.meter = meter;
    this.breaker = breaker;
    this.session = session;
    this.primary = new PrimaryWriter(
      { primary, declared: options.declared ?? {}, session, writeMode, meter, logger },
      epoch,
    );
    this.settlement = new Settlement({ primary, inFlight: session.inFlight, meter, logger });
    // Every batch that waits for its next attempt listens to the signal.
    const { signal } = this.#stopping;
    setMaxListeners(0, signal);
    const { settlement } = this;
    const sending = { breaker, settlement, meter, retry, concurrency, maxBytes, logger, signal };
    this.secondary = writer === null ? null : new SecondarySender({ writer, ...sending });
  }

  /**
   * Checks that the primary is prepared and makes this consumer known to it. The secondary may be away; throws a
   * UsageError where it is the same database.
   */
  static async open(options: DualWriteOptions): Promise<DualWriteRepository> {
    const { primary, secondary, consumer, onUnfit = () => undefined, logger = silentLogger } = options;
    const { declared = {} } = options;
    await assertPrepared(primary, declared);
    // Who knows the epoch has looked at both sides.
    if (secondary !== null && options.epoch === undefined) await assertDistinctIfKnown(primary.pool, secondary.pool);
    const epoch = options.epoch ?? (await readRecordedState(primary.pool)).epoch;
    const [meter, breaker] = [options.meter ?? new WriteMeter(), new CircuitBreaker()];
    const writeMode = secondary !== null ? 'dual-write' : primary.side === 'ec2' ? 'ec2-only' : 'local-only';
    const writer = secondary === null ? null : new SecondaryWriter(secondary, options.selection);
    const session = await ConsumerSession.open({
      ...{ primary, secondary, declared, consumer, writeMode },
      readStatus: () => meter.readStatus(breaker),
      forgetTables: () => writer?.forgetTables(),
      onSecondaryUnfit: (error) => writer?.refuse(error),
      onUnfit,
      logger,
    });
    const repository = new DualWriteRepository(options, { writeMode, epoch, session, writer, meter, breaker, logger });
    if (secondary !== null) repository.#startBackground({ ...options, secondary }, logger);
    return repository;
  }

  /**
   * Resolves when every batch taken over has been confirmed or entered as missed. Once `stop` aborts, a primary that is
   * away is not waited for: what could not be settled counts as missed when the lease ends.
   */
  async idle(stop?: AbortSignal): Promise<void> {
    if (stop?.aborted === true) this.settlement.close();
    else stop?.addEventListener('abort', () => this.settlement.close(), { once: true });
    // Only what was sent is settled, and the sender waits for that, too.
    await this.secondary?.idle();
  }

  /** Ends the consumer: whatever is not settled by now counts as missed. Closes no pool. */
  async close(): Promise<void> {
    const stopped = this.session.stop();
    this.#stopping.abort();
    this.settlement.close();
    await this.idle();
    await Promise.all([stopped, ...this.#background]);
    await this.session.end();
  }

  #startBackground(options: DualWriteOptions & { readonly secondary: Database }, logger: Logger): void {
    const { primary, secondary, declared = {}, healing } = options;
    this.#background.push(warnOfObstacles(secondary, declared, logger));
    if (healing === null || healing === undefined) return;
    const { breaker, meter } = this;
    const { signal } = this.#stopping;
    const onHealed = (readings: number): void => meter.healed(readings);
    this.#background.push(healUntilStopped({ primary, secondary, breaker, logger, signal, onHealed, ...healing }));
  }
}

interface RepositoryParts {
  readonly writeMode: WriteMode;
  readonly epoch: number;
  readonly session: ConsumerSession;
  readonly writer: SecondaryWriter | null;
  readonly meter: WriteMeter;
  readonly breaker: CircuitBreaker;
  readonly logger: Logger;
}

async function warnOfObstacles(secondary: Database, declared: DeclaredTables, logger: Logger): Promise<void> {
  try {
    for (const { table, problem, advice, blocks } of await findObstacles(secondary, declared)) {
      const consequence = blocks
        ? 'what it refuses is entered in the ledger until it is mended'
        : 'batch markers stand in for it in phase 1; from phase 2 on it is required';
      logger.warn(`${table} on ${sideTitle(secondary.side)} ${problem}; ${consequence}`, { next: advice });
    }
  } catch (error) {
    const named = asUnreachable(error, secondary);
    const next = named instanceof SensorctlError ? (named.problem ?? undefined) : undefined;
    logger.warn(`${sideTitle(secondary.side)} could not be looked at`, { error: describeFault(error), next });
  }
}
