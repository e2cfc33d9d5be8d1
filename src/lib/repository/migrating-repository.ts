import { asUnreachable, closeDatabase, findSilent, type Database } from '../db/database.js';
import { describeFault } from '../db/sqlstate.js';
import { rolesOf, type MigrationState, type Roles } from '../domain/migration.js';
import { pause } from '../domain/async.js';
import { otherSide, sideTitle, type Role, type Side, type WriteMode } from '../domain/side.js';
import { ConflictError, UsageError } from '../errors.js';
import { silentLogger, type Logger } from '../logger.js';
import type { CommittedBatch } from './write/batch.js';
import type { BreakerState } from './write/circuit-breaker.js';
import type { WriteRequest } from './write/division.js';
import { DualWriteRepository, type DualWriteOptions } from './dual-write-repository.js';
import type { Gap } from './ledger/ledger.js';
import { findDecidingState, type MigrationSides } from './phase/deciding-state.js';
import { callOffOverdue } from './phase/transition.js';
import { WriteMeter, type SendTotals } from './write/write-meter.js';

export interface MigratingOptions extends Pick<DualWriteOptions, 'retry' | 'healing'> {
  /** Opens a side with the timeouts of a role; null where the settings name no such side. */
  readonly openSide: (side: Side, role: Role) => Database | null;
  /** What flags and settings say; undefined: the phase decides. */
  readonly dualWrite: boolean | undefined;
  readonly consumer: { readonly host: string; readonly pid: number };
  readonly logger?: Logger;
  /** Told the roles before anything is written under them. */
  readonly onRoles?: (roles: Roles) => void;
}

/** How often the record is looked at, in ms: that of a consumer without traffic, and that of one that waits. */
const WATCH_MS = 1_000;
/** One in so many looks asks both sides: one of them may have been restored from an older copy. */
const LOOKS_AT_BOTH = 10;
const WAIT_MS = 40;

/**
 * A repository whose roles follow the recorded phase: it writes to whichever side is the primary, waits while a change is
 * under way, and takes over when one was committed. What it has in hand is never lost: a batch that the old primary refuses
 * is the caller's to write again, once `follow` has returned.
 */
export class MigratingRepository {
  /** Counts on through every change of roles. */
  readonly meter = new WriteMeter();
  #sides: MigrationSides;
  #current!: DualWriteRepository;
  #roles!: Roles;
  #following: Promise<void> | null = null;
  #watching: Promise<void> | null = null;
  #watch: NodeJS.Timeout | undefined;
  #looks = 0;
  readonly #retiring = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  readonly #logger: Logger;

  private constructor(private readonly options: MigratingOptions) {
    this.#logger = options.logger ?? silentLogger;
    this.#sides = { local: options.openSide('local', 'primary'), ec2: options.openSide('ec2', 'secondary') };
  }

  /** Finds the roles and opens the repository for them. Throws where no side may take batches from this process, or one that has to does not answer. */
  static async open(options: MigratingOptions): Promise<MigratingRepository> {
    const repository = new MigratingRepository(options);
    try {
      await repository.#followUntilSettled(null, new AbortController().signal);
    } catch (error) {
      const named = await repository.#nameSilent(error);
      await repository.#closeSides(repository.#sides);
      throw named;
    }
    repository.#watch = setInterval(() => {
      repository.#watching ??= repository.#look().finally(() => (repository.#watching = null));
    }, WATCH_MS);
    return repository;
  }

  /** As `DualWriteRepository.writeBatch`; after an error of the kind `fenced`, `follow` and write again. */
  async writeBatch(request: WriteRequest): Promise<CommittedBatch[]> {
    this.#ended.signal.throwIfAborted();
    return await this.#current.writeBatch(request);
  }

  /**
   * Resolves once this process has the roles of the epoch that is recorded, and no change is under way, or `stop` aborts.
   * Throws where the record cannot be read, or leaves this process no role.
   */
  async follow(stop: AbortSignal): Promise<void> {
    this.#following ??= this.#followUntilSettled(this.#roles.primary, stop).finally(() => (this.#following = null));
    await this.#following;
  }

  dispatch(batch: CommittedBatch): void {
    this.#current.dispatch(batch);
  }

  async idle(stop?: AbortSignal): Promise<void> {
    await this.#current.idle(stop);
  }

  /** Aborts when the recorded phase leaves this process no role, or the primary would lose rows; its reason is the error. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  get primarySide(): Side {
    return this.#roles.primary;
  }

  get writeMode(): WriteMode {
    return this.#roles.writeMode;
  }

  get totals(): SendTotals {
    return this.meter.totals;
  }

  get breaker(): { readonly state: BreakerState; readonly reason: string | null } {
    return this.#current.breaker;
  }

  get leaseAgeMs(): number {
    return this.#current.leaseAgeMs;
  }

  async readGaps(): Promise<Gap[]> {
    return await this.#current.readGaps();
  }

  /** Ends the consumer and closes both sides. */
  async close(): Promise<void> {
    clearInterval(this.#watch);
    await Promise.allSettled([this.#watching, this.#following]);
    await this.#current.close();
    await Promise.all(this.#retiring);
    await this.#closeSides(this.#sides);
  }

  /** One look at the record; trouble is left to the next one, or to whoever writes. */
  async #look(): Promise<void> {
    try {
      this.#looks += 1;
      const last = this.#looks % LOOKS_AT_BOTH === 0 ? null : this.#roles.primary;
      const { state } = await findDecidingState(this.#sides, last, this.#logger);
      if (state.epoch !== this.#roles.epoch) await this.follow(this.#ended.signal);
    } catch (error) {
      this.#logger.debug('where the migration stands could not be read', { error: describeFault(error) });
      if (leavesNoRole(error)) this.#ended.abort(error);
    }
  }

  async #followUntilSettled(last: Side | null, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const { state, primary } = await findDecidingState(this.#sides, last, this.#logger);
      if (state.attempt === null) {
        await this.#adopt(state);
        return;
      }
      // The process that began it may be dead; anyone ends it once its time is over.
      await callOffOverdue(primary, `a consumer on ${this.options.consumer.host}`);
      await pause(WAIT_MS, stop);
    }
  }

  async #adopt(state: MigrationState): Promise<void> {
    const roles = rolesOf(state, this.options.dualWrite);
    if (roles === null) throw heldBack(state);
    const before = this.#roles as Roles | undefined;
    if (before?.primary === roles.primary && before.secondary === roles.secondary) {
      this.#current.enterEpoch(roles.epoch);
      this.#roles = roles;
      return;
    }
    this.options.onRoles?.(roles);
    const sides = before === undefined && roles.primary === 'local' ? this.#sides : this.#openFor(roles);
    const repository = await this.#open(roles, sides).catch(async (error: unknown) => {
      if (sides !== this.#sides) await this.#closeSides(sides);
      throw error;
    });
    if (before !== undefined) this.#retire(this.#current, this.#sides);
    else if (sides !== this.#sides) await this.#closeSides(this.#sides);
    [this.#sides, this.#current, this.#roles] = [sides, repository, roles];
    this.#logger.info(`${sideTitle(roles.primary)} is the primary`, {
      ...{ phase: state.phase, writeMode: roles.writeMode, epoch: roles.epoch },
    });
  }

  /** An error of a call that no server answered does not say which side it was. */
  async #nameSilent(error: unknown): Promise<Error> {
    const { local, ec2 } = this.#sides;
    if (local === null) return error as Error;
    return asUnreachable(error, ec2 === null ? local : await findSilent(local, ec2));
  }

  #openFor({ primary }: Roles): MigrationSides {
    const { openSide } = this.options;
    const [own, other] = [openSide(primary, 'primary'), openSide(otherSide(primary), 'secondary')];
    return primary === 'local' ? { local: own, ec2: other } : { local: other, ec2: own };
  }

  async #open({ primary, secondary, epoch }: Roles, sides: MigrationSides): Promise<DualWriteRepository> {
    const [first, second] = [sides[primary], secondary === null ? null : sides[secondary]];
    if (first === null || (secondary !== null && second === null)) throw ec2NotSet();
    const { retry, healing = null, consumer } = this.options;
    return await DualWriteRepository.open({
      ...{ primary: first, secondary: second, epoch, retry, healing, consumer, logger: this.#logger },
      meter: this.meter,
      onUnfit: (error) => this.#ended.abort(error),
      // One connection of the pool is left to the repair.
      concurrency: Math.max(1, (second?.pool.options.max ?? 1) - 1),
    });
  }

  /** What the old repository has in hand goes on its way while the new one writes. */
  #retire(repository: DualWriteRepository, sides: MigrationSides): void {
    const retiring = repository
      .close()
      .then(() => this.#closeSides(sides))
      .finally(() => this.#retiring.delete(retiring));
    this.#retiring.add(retiring);
  }

  async #closeSides({ local, ec2 }: MigrationSides): Promise<void> {
    await Promise.all([local, ec2].map(async (side) => side && (await closeDatabase(side))));
  }
}

/** Whether an error of `follow` is final for this process, whatever happens to the sides. */
export function leavesNoRole(error: unknown): boolean {
  return error instanceof ConflictError || error instanceof UsageError;
}

function heldBack({ phase }: MigrationState): ConflictError {
  return new ConflictError(
    `the migration is in phase ${phase ?? 'none'}: EC2 is the primary, and this consumer was told to write to local only`,
    { code: 'held-back-from-ec2' },
  );
}

function ec2NotSet(): UsageError {
  return new UsageError('the recorded phase writes to EC2, and EC2_DB_HOST is not set', {
    code: 'ec2-not-set',
  });
}
