import { asUnreachable, closeDatabase, findSilent, type Database } from '../db/database.js';
import { assertDistinctIfKnown } from '../db/identity.js';
import { describeFault } from '../db/sqlstate.js';
import { rolesOf, type MigrationState, type Roles } from '../domain/migration.js';
import { EVERY_TABLE } from '../domain/table-patterns.js';
import { pollUntil, repeatEvery, singleFlight, type Repeating } from '../domain/retry.js';
import { otherSide, sideTitle, type Role, type Side } from '../domain/side.js';
import { ConflictError, UsageError } from '../errors.js';
import { silentLogger, type Logger } from '../logger.js';
import { DualWriteRepository, type DualWriteOptions } from './dual-write-repository.js';
import { findDecidingState, type MigrationSides } from './phase/deciding-state.js';
import { callOffOverdue } from './phase/transition.js';
import { WriteMeter } from './write/write-meter.js';

export interface MigratingOptions extends Pick<DualWriteOptions, 'retry' | 'healing' | 'declared' | 'selection'> {
  /** Opens a side with the timeouts of a role; null where the settings name no such side. */
  readonly openSide: (side: Side, role: Role) => Database | null;
  /** The value of flags and settings; undefined: the phase decides. */
  readonly dualWrite: boolean | undefined;
  readonly consumer: { readonly host: string; readonly pid: number };
  readonly logger?: Logger;
  /** Called with the roles before anything is written under them. */
  readonly onRoles?: (roles: Roles) => void;
}

/** How often the record is read, in ms: by a consumer without traffic, and by one that waits. */
const WATCH_MS = 1_000;
/** One in so many checks asks both sides: one of them may have been restored from an older copy. */
const CHECKS_A_CHECK_OF_BOTH = 10;
const WAIT_MS = 40;

/**
 * A repository whose roles follow the recorded phase: it writes to whichever side is the primary, waits while a change is
 * under way, and takes over when one was committed. What is in flight is never lost: a batch that the old primary refuses
 * is the caller's to write again, once `follow` has returned.
 */
export class MigratingRepository {
  /** Counts on through every change of roles. */
  readonly meter = new WriteMeter();
  #sides: MigrationSides;
  #current!: DualWriteRepository;
  #roles!: Roles;
  readonly #following = singleFlight((last: Side | null, stop: AbortSignal) => this.#followUntilDecided(last, stop));
  #watch: Repeating | undefined;
  #checks = 0;
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
      await repository.#followUntilDecided(null, new AbortController().signal);
    } catch (error) {
      const named = await repository.#nameSilent(error);
      await repository.#closeSides(repository.#sides);
      throw named;
    }
    repository.#watch = repeatEvery(WATCH_MS, () => repository.#checkPhase());
    return repository;
  }

  /** The repository of the roles that are recorded; another one after a switch. */
  get current(): DualWriteRepository {
    return this.#current;
  }

  get roles(): Roles {
    return this.#roles;
  }

  /** Aborts when the recorded phase leaves this process no role, or the primary would lose rows; its reason is the error. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /**
   * Resolves once this process has the roles of the epoch that is recorded, and no change is under way, or `stop` aborts.
   * Throws where the record cannot be read, or leaves this process no role.
   */
  async follow(stop: AbortSignal): Promise<void> {
    await this.#following(this.#roles.primary, stop);
  }

  /** Ends the consumer and closes both sides. */
  async close(): Promise<void> {
    await Promise.allSettled([this.#watch?.stop(), this.#following.current]);
    await this.#current.close();
    await Promise.all(this.#retiring);
    await this.#closeSides(this.#sides);
  }

  /** Reads the record once; trouble is left to the next time, or to whoever writes. */
  async #checkPhase(): Promise<void> {
    try {
      this.#checks += 1;
      const last = this.#checks % CHECKS_A_CHECK_OF_BOTH === 0 ? null : this.#roles.primary;
      const { state } = await findDecidingState(this.#sides, last, this.#logger);
      if (state.epoch !== this.#roles.epoch) await this.follow(this.#ended.signal);
      if (last === null) await this.#assertDistinct(this.#roles);
    } catch (error) {
      this.#logger.debug('where the migration stands could not be read', { error: describeFault(error) });
      if (leavesNoRole(error)) this.#ended.abort(error);
    }
  }

  async #followUntilDecided(last: Side | null, stop: AbortSignal): Promise<void> {
    const findDecided = async (): Promise<MigrationState | null> => {
      const { state, primary } = await findDecidingState(this.#sides, last, this.#logger);
      if (state.attempt === null) return state;
      // The process that began it may be dead; anyone ends it once its time is over.
      await callOffOverdue(primary, `a consumer on ${this.options.consumer.host}`);
      return null;
    };
    const state = await pollUntil(findDecided, { everyMs: WAIT_MS, signal: stop });
    if (state !== null) await this.#adopt(state);
  }

  async #adopt(state: MigrationState): Promise<void> {
    const roles = rolesOf(state, this.options.dualWrite);
    if (roles === null) throw heldBack(state);
    const before = this.#roles as Roles | undefined;
    if (before?.primary === roles.primary && before.secondary === roles.secondary) {
      this.#current.primary.enterEpoch(roles.epoch);
      this.#roles = roles;
      return;
    }
    const { writeMode, epoch } = roles;
    if (before === undefined) await this.#assertDistinct(roles);
    this.options.onRoles?.(roles);
    const sides = before === undefined && roles.primary === 'local' ? this.#sides : this.#openFor(roles);
    const repository = await this.#open(roles, sides).catch(async (error: unknown) => {
      if (sides !== this.#sides) await this.#closeSides(sides);
      throw error;
    });
    if (before !== undefined) this.#retire(this.#current, this.#sides);
    else if (sides !== this.#sides) await this.#closeSides(this.#sides);
    [this.#sides, this.#current, this.#roles] = [sides, repository, roles];
    const { phase } = state;
    this.#logger.info(`${sideTitle(roles.primary)} is the primary`, { phase, writeMode, epoch });
  }

  /** Both sides may become one database while this runs: a name may lead elsewhere. */
  async #assertDistinct({ secondary }: Roles): Promise<void> {
    const { local, ec2 } = this.#sides;
    if (secondary !== null && local !== null && ec2 !== null) await assertDistinctIfKnown(local.pool, ec2.pool);
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
    const { retry, healing = null, declared = {}, selection = EVERY_TABLE, consumer } = this.options;
    return await DualWriteRepository.open({
      primary: first,
      secondary: second,
      epoch,
      retry,
      healing,
      declared,
      selection,
      consumer,
      logger: this.#logger,
      meter: this.meter,
      onUnfit: (error) => this.#ended.abort(error),
      // One connection of the pool is left to the repair.
      concurrency: Math.max(1, (second?.pool.options.max ?? 1) - 1),
    });
  }

  /** The batches of the old repository are sent and settled while the new one writes. */
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
