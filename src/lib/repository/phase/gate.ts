import type pg from 'pg';
import type { Database } from '../../db/database.js';
import { destroySocket } from '../../db/pg-internals.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { repeatEvery, withDeadline, withRetries, type Repeating } from '../../domain/retry.js';

/** A transaction of another program that wrote to a tracked table and has not ended. */
export interface GateHolder {
  /** Null of a transaction that was prepared: nobody is connected to it. */
  readonly pid: number | null;
  readonly role: string;
  readonly application: string;
  readonly query: string;
}

const READ_HOLDERS = `
  select lock.pid, coalesce(session.usename::text, prepared.owner::text, '') as role,
    coalesce(session.application_name, '') as application,
    coalesce('prepared as ' || prepared.gid, left(session.query, 60), '') as query
  from pg_locks as lock left join pg_stat_activity as session on session.pid = lock.pid
  left join pg_prepared_xacts as prepared
    on lock.pid is null and '-1/' || prepared.transaction::text = lock.virtualtransaction
  where lock.locktype = 'relation' and lock.granted and lock.relation = to_regclass('sensorctl.gate')
    and lock.database = (select oid from pg_database where datname = current_database())
    and lock.mode = 'RowShareLock'
  order by session.xact_start, lock.pid limit 3`;

const END_HOLDERS = `
  select pg_terminate_backend(pid) from pg_locks
  where locktype = 'relation' and granted and relation = to_regclass('sensorctl.gate') and pid <> pg_backend_pid()
    and database = (select oid from pg_database where datname = current_database()) and mode = 'RowShareLock'`;

/** Programs that come meanwhile wait no longer than this for a try that fails, in ms. */
const TRY_MS = 300;
const BETWEEN_MS = 100;
/** The server ends the transaction, and the attempt with it, soon after this process is gone. */
const BEGIN = `begin; set local idle_in_transaction_session_timeout = '5s'; set local lock_timeout = '${TRY_MS}ms'; savepoint open`;
const KEEP_AWAKE_MS = 1_000;
const FAREWELL_MS = 1_000;

/** The gate of other writers, which one transaction holds alone until it commits the switch, or is given up. */
export class Gate {
  #keeper: Repeating | null = null;

  private constructor(private readonly session: pg.Client) {}

  /** Opens the session for it: nothing waits yet. */
  static async open({ openSession }: Pick<Database, 'openSession'>): Promise<Gate> {
    return new Gate(await openSession('pipelined'));
  }

  /**
   * Closes it for every program but sensorctl, once those that have begun to write have ended; `ends` ends their sessions.
   * Answers false where some have not when `stop` aborts.
   */
  async close({ stop, ends }: { readonly stop: AbortSignal; readonly ends: boolean }): Promise<boolean> {
    await this.session.query(BEGIN);
    const closeOnce = async (attempt: number): Promise<void> => {
      if (attempt > 1) await this.session.query('rollback to savepoint open');
      if (attempt > 1 && ends) await this.session.query(END_HOLDERS);
      await this.session.query('select sensorctl.close_gate()');
    };
    try {
      await withRetries(closeOnce, { pauseMs: BETWEEN_MS, retryIf: isLockTimeout, signal: stop });
    } catch (error) {
      if (!stop.aborted) throw error;
      await this.session.query('rollback to savepoint open');
      return false;
    }
    this.#keeper = repeatEvery(KEEP_AWAKE_MS, async () => {
      await this.session.query('select').catch(() => undefined);
    });
    return true;
  }

  async readHolders(): Promise<GateHolder[]> {
    return (await this.session.query<GateHolder & Record<string, unknown>>(READ_HOLDERS)).rows;
  }

  /** What commits the switch, in the transaction that holds the gate and in one round trip: lost, the attempt is off. */
  async commit<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<Row | undefined> {
    await this.#keeper?.stop();
    const [{ rows }] = await Promise.all([this.session.query<Row>(text, values), this.session.query('commit')]);
    return rows[0];
  }

  /** Lets everybody go on, whatever became of the switch. */
  async release(): Promise<void> {
    void this.#keeper?.stop();
    const farewell = this.session.query('rollback').then(() => this.session.end());
    await withDeadline(
      farewell.catch(() => undefined),
      FAREWELL_MS,
      () => undefined,
    );
    destroySocket(this.session);
  }
}
