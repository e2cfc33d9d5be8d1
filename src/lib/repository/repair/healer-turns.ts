import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { repeatEvery, type Repeating } from '../../domain/retry.js';
import type { Logger } from '../../logger.js';
import { TIMES } from '../../timing.js';

const TAKE_TURN = 'select sensorctl.take_turn($1, make_interval(secs => $2::float8 / 1000), $3) as newest';

/**
 * How the primary knows that somebody repairs what other programs enter: by a lease, and by what each turn could see. From
 * this all readers of the ledger tell what is pending from what was passed over.
 */
export class HealerTurns {
  readonly #id = randomUUID();
  readonly #heartbeat: Repeating;
  #isKnown = false;
  /** Logged once: a role without the rights will not get them by asking again. */
  #lacksRight = false;

  constructor(
    private readonly primary: Database,
    private readonly logger: Logger,
  ) {
    this.#heartbeat = repeatEvery(TIMES.heartbeatMs, () => this.#renew());
  }

  /** Begins a turn; returns the newest entry of the ledger, null where it is empty. */
  async begin(): Promise<number | null> {
    try {
      const newest = await this.#take(TIMES.leaseMs, true);
      this.#isKnown = true;
      return newest;
    } catch (error) {
      if (faultKind(error) !== 'misconfigured') throw error;
      if (!this.#lacksRight) {
        const problem =
          'other readers of the ledger cannot know that this process repairs: to them all of it is missed';
        this.logger.warn(problem, { error: describeFault(error) });
      }
      this.#lacksRight = true;
      return Number.MAX_SAFE_INTEGER;
    }
  }

  /** From now on what is left counts as missed. */
  async end(): Promise<void> {
    await this.#heartbeat.stop();
    if (this.#isKnown) await this.#take(0, false).catch(() => undefined);
  }

  /** A turn may be long; what fails here the next heartbeat repeats. */
  async #renew(): Promise<void> {
    if (this.#isKnown) await this.#take(TIMES.leaseMs, false).catch(() => undefined);
  }

  async #take(leaseMs: number, begins: boolean): Promise<number | null> {
    const { rows } = await this.primary.pool.query<{ newest: number | null }>(TAKE_TURN, [this.#id, leaseMs, begins]);
    return rows[0]?.newest ?? null;
  }
}
