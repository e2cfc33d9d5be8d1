import type { TableName } from '../tables/table.js';
import type pg from 'pg';
import { readTimescaleDb } from '../tables/server-facts.js';
import { closeDatabase, openDatabase, type Database } from '../../db/database.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import { sqlstateOf } from '../../db/sqlstate.js';
import { repeatCollisions } from '../../db/transaction.js';
import { backoff, withRetries } from '../../domain/retry.js';
import { sideTitle } from '../../domain/side.js';
import { formatInstant } from '../../domain/time.js';
import { intersect, mergeRanges, without, type TimeRange } from '../../domain/time-range.js';
import { UnreachableError } from '../../errors.js';
import { readAggregateTree, type Aggregate, type AggregateNode, type Timed } from './aggregate-catalog.js';
import type { BucketCall } from './bucket-call.js';
import { BucketGrid } from './bucket-grid.js';
import { holdsRows, readDroppedBefore, readExtent, type Relation } from './held-rows.js';

export interface RefreshedAggregate {
  /** With its schema. */
  readonly name: string;
  /** Whole buckets that were refreshed. */
  readonly refreshed: readonly TimeRange[];
  /** Whole buckets that the ranges touch and that were left as they are: not all their rows are held any more. */
  readonly left: readonly TimeRange[];
}

export interface RefreshOptions {
  /** Called after each piece of a refresh; whoever awaits here bounds the rate, and ends the refresh by throwing. */
  readonly pace?: () => Promise<void>;
  /** After this long, in ms, the server gives a piece up, which is then cut smaller; 5 minutes unless set. */
  readonly pieceTimeoutMs?: number;
  /**
   * The oldest row (µs) before the first row was copied back, as `readOldestRow` gave it: where rows were dropped by hand
   * and only wide buckets are left to show it, nothing else tells a month copied back in part from a whole one.
   */
  readonly oldestBefore?: number | null;
}

/** The changed ranges below an aggregate. */
interface Touched {
  readonly ranges: readonly TimeRange[];
  /** The part that a real-time aggregate computes and so logs no change of. */
  readonly live: readonly TimeRange[];
}

interface Source extends Relation {
  readonly droppedBefore: number;
}

interface Plan {
  readonly windows: readonly TimeRange[];
  readonly left: readonly TimeRange[];
  readonly live: readonly TimeRange[];
}

/** An aggregate that can be read: see `readAggregateTree`. */
type Readable = Aggregate & { readonly storage: Timed; readonly bucket: BucketCall };

const PIECE_TIMEOUT_MS = 300_000;
/** The server's limit as a share of the client's, as `openDatabase` sets it. */
const SERVER_SHARE = 0.8;
/** A piece begins with so many buckets and grows while it takes less than the one time, shrinks above the other. */
const FIRST_BUCKETS = 16;
const QUICK_MS = 2_000;
const SLOW_MS = 8_000;
/** A refresh that somebody else has started is waited for. */
const BUSY_AT_MOST_MS = 300_000;
const BUSY_PAUSE_MS = 100;
const BUSY_PAUSE_AT_MOST_MS = 2_000;

const LOCK_NOT_AVAILABLE = '55P03';
const TIMED_OUT = '57014';
const FORBIDDEN = '42501';
/** The SQLSTATE that 2.26 gives for any error after a refresh's first transaction (seen of 57014): its clean-up fails and hides the error. */
const MASKED = '2D000';
const MASKED_AT_MOST = 5;

const NO_DECOMPRESSION_LIMIT = `
  select set_config(name, '0', false) from pg_settings where name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'`;
const CAN_FORCE = `
  select exists (select from pg_proc where proname = 'refresh_continuous_aggregate' and 'force' = any (proargnames)) as force`;

/**
 * Refreshes the continuous aggregates on a hypertable, and those on top of them, for the ranges (µs) in which its rows were
 * changed: whole buckets, parents before children. Buckets of which rows were dropped are left as they are, since a
 * refresh would take them out of the aggregate; below that horizon only buckets that the ranges cover whole and the
 * aggregate lacks are added. A real-time aggregate is refreshed up to its watermark: above it each query computes it.
 *
 * It works in a session of its own with a statement timeout of minutes, since one bucket may be a month and a refresh
 * holds no key of a reading; it is cut into pieces of some seconds, so that it can be ended between them. Concurrent
 * refreshes are waited for. It can be repeated, also after it was ended half way.
 *
 * Throws an UnreachableError, after all others were refreshed, that names those which the connected role does not own.
 */
export async function refreshAggregates(
  target: Database,
  table: TableName,
  ranges: readonly TimeRange[],
  options: RefreshOptions = {},
): Promise<readonly RefreshedAggregate[]> {
  const { installed } = await readTimescaleDb(target.pool);
  if (installed === null || ranges.length === 0) return [];
  const { side, connection, pool } = target;
  const session = openDatabase({
    ...{ side, connection, poolMax: 1 },
    callTimeoutMs: (options.pieceTimeoutMs ?? PIECE_TIMEOUT_MS) / SERVER_SHARE,
    applicationName: pool.options.application_name ?? 'sensorctl',
  });
  try {
    return await new Refresh(target, session.pool, options).run(table, mergeRanges(ranges));
  } finally {
    await closeDatabase(session);
  }
}

/** The time (µs) of the oldest row of a hypertable that has aggregates; null where there is none. To be read before writing. */
export async function readOldestRow({ pool }: Database, table: TableName): Promise<number | null> {
  const { installed } = await readTimescaleDb(pool);
  if (installed === null) return null;
  const tree = await readAggregateTree(pool, table);
  if (tree.table === null || tree.children.length === 0) return null;
  return (await readExtent(pool, tree.table))?.oldest ?? null;
}

class Refresh {
  readonly #done: RefreshedAggregate[] = [];
  readonly #forbidden: Aggregate[] = [];
  #canForce = false;
  #refreshSql = '';

  constructor(
    private readonly target: Database,
    private readonly session: pg.Pool,
    private readonly options: RefreshOptions,
  ) {}

  async run(table: TableName, ranges: readonly TimeRange[]): Promise<readonly RefreshedAggregate[]> {
    const tree = await readAggregateTree(this.session, table);
    if (tree.table === null || tree.children.length === 0) return [];
    const extent = await readExtent(this.session, tree.table);
    if (extent === null) return [];
    const { rows } = await this.session.query<{ force: boolean }>(CAN_FORCE);
    this.#canForce = rows[0]?.force === true;
    const { schema } = await readTimescaleDb(this.session);
    this.#refreshSql = `call ${quoteIdentifier(schema ?? 'public')}.refresh_continuous_aggregate`;
    const names = [[tree.table.schema, tree.table.name]] as const;
    const source = await this.#sourceOf(
      { ...tree.table, names, extent, oldestBefore: this.options.oldestBefore ?? null },
      tree.children,
    );
    for (const child of tree.children) await this.#refreshNode(child, source, { ranges, live: [] });
    if (this.#forbidden.length > 0) throw this.#notOwned();
    return this.#done;
  }

  async #refreshNode({ aggregate, children }: AggregateNode, source: Source, touched: Touched): Promise<void> {
    try {
      if (isReadable(aggregate)) await this.#refreshReadable(aggregate, children, source, touched);
      else this.#done.push({ name: nameOf(aggregate), refreshed: [], left: touched.ranges });
    } catch (error) {
      if (sqlstateOf(error) !== FORBIDDEN) throw error;
      this.#forbidden.push(aggregate);
    }
  }

  async #refreshReadable(
    aggregate: Readable,
    children: readonly AggregateNode[],
    source: Source,
    touched: Touched,
  ): Promise<void> {
    const grid = new BucketGrid(this.session, aggregate.bucket, source.type);
    const { windows, left, live } = await this.#plan(aggregate, grid, source, touched);
    for (const window of windows) {
      const force = this.#canForce && clip([window], touched.live).length > 0;
      await this.#refreshWindow(aggregate, grid, window, force);
    }
    this.#done.push({ name: nameOf(aggregate), refreshed: windows, left });
    if (children.length === 0) return;
    const next = await this.#sourceOf(await this.#relationOf(aggregate, grid, source), children);
    for (const child of children)
      await this.#refreshNode(child, next, { ranges: mergeRanges([...windows, ...live]), live });
  }

  /**
   * Hourly buckets, rows dropped before 08:30, a watermark at 12:00, rows touched from 06:10 to 08:10 and from 10:20 to 13:10:
   * the ranges touch the buckets 06 to 09 and 10 to 14. From the watermark on, 12 to 14 is live. The horizon is 09:00; above
   * it, 10 to 12 is refreshed. Below it only 07 to 08 lies whole in what was touched, and is added if the aggregate lacks
   * it; 06 to 07 and 08 to 09 are left as they are, since a refresh would forget the rows that were dropped.
   */
  async #plan(aggregate: Readable, grid: BucketGrid, source: Source, { ranges }: Touched): Promise<Plan> {
    const { storage } = aggregate;
    const held = await grid.widen([{ from: source.extent.oldest, to: source.extent.newest + 1 }]);
    const wanted = clip(await grid.widen(ranges), held);
    const watermark = await this.#watermarkOf(aggregate, grid);
    const live = clip(wanted, [{ from: watermark, to: Infinity }]);
    const stored = clip(wanted, [{ from: -Infinity, to: watermark }]);
    const [edges] = await grid.edgesOf([{ from: source.droppedBefore, to: source.droppedBefore }]);
    const horizon = edges?.fromCeil ?? -Infinity;
    const [below, above] = [
      clip(stored, [{ from: -Infinity, to: horizon }]),
      clip(stored, [{ from: horizon, to: Infinity }]),
    ];
    const added: TimeRange[] = [];
    for (const whole of clip(await grid.inscribe(ranges), below)) {
      if (!(await holdsRows(this.session, storage, whole))) added.push(whole);
    }
    const left = below.flatMap((range) => without(range, added));
    return { windows: mergeRanges([...added, ...above]), left, live };
  }

  /** Infinity for an aggregate that is not real-time. */
  async #watermarkOf({ realTime, watermark, storage }: Readable, grid: BucketGrid): Promise<number> {
    if (!realTime) return Infinity;
    if (watermark === null) {
      const extent = await readExtent(this.session, storage);
      return extent === null ? -Infinity : await grid.endOf(extent.newest, 1);
    }
    const { rows } = await this.session.query<{ watermark: number | null }>(
      `select case when isfinite(at) then ${microsOf('at')} end as watermark from (select ${watermark} as at) as stored`,
    );
    return rows[0]?.watermark ?? -Infinity;
  }

  /** Returns the relation that the aggregates on top of this one are computed from. */
  async #relationOf(aggregate: Readable, grid: BucketGrid, source: Relation): Promise<Relation> {
    const { storage } = aggregate;
    const extent = await readExtent(this.session, storage);
    const oldest = extent?.oldest ?? (await grid.floor(source.extent.oldest));
    return {
      ...storage,
      names: [
        [aggregate.schema, aggregate.name],
        [storage.schema, storage.name],
      ],
      extent: { oldest, newest: source.extent.newest },
    };
  }

  async #sourceOf(relation: Relation, children: readonly AggregateNode[]): Promise<Source> {
    const witnesses = aggregatesOf(children)
      .filter(isReadable)
      .map(({ storage, bucket }) => ({ storage, grid: new BucketGrid(this.session, bucket, relation.type) }));
    return { ...relation, droppedBefore: await readDroppedBefore(this.session, relation, witnesses) };
  }

  async #refreshWindow(aggregate: Aggregate, grid: BucketGrid, window: TimeRange, force: boolean): Promise<void> {
    let [from, buckets] = [window.from, FIRST_BUCKETS];
    while (from < window.to) {
      const to = Math.min(window.to, await grid.endOf(from, buckets));
      const tookMs = await this.#refreshPiece(aggregate, grid.type, { from, to }, force);
      if (tookMs === null) {
        if (buckets === 1) throw this.#tooSlow(aggregate, { from, to });
        buckets = Math.ceil(buckets / 4);
        continue;
      }
      from = to;
      if (tookMs < QUICK_MS) buckets *= 2;
      if (tookMs > SLOW_MS) buckets = Math.ceil(buckets / 2);
      await this.options.pace?.();
    }
  }

  /** How long it took, in ms; null where it timed out. */
  async #refreshPiece(
    aggregate: Aggregate,
    type: string,
    { from, to }: TimeRange,
    force: boolean,
  ): Promise<number | null> {
    const options = force ? ', force => true' : '';
    const sql = `${this.#refreshSql}($1::regclass, $2::text::${type}, $3::text::${type}${options})`;
    return await repeatBusy(async () => {
      const startedAt = performance.now();
      try {
        await this.#call(sql, [nameOf(aggregate), formatInstant(from), formatInstant(to)]);
        return performance.now() - startedAt;
      } catch (error) {
        if (this.#isTimeout(error, performance.now() - startedAt)) return null;
        throw error;
      }
    });
  }

  /** A session in which a refresh failed is ended: TimescaleDB may hold the range registered for it. */
  async #call(sql: string, values: string[]): Promise<void> {
    const client = await this.session.connect();
    try {
      await client.query(NO_DECOMPRESSION_LIMIT);
      await client.query(sql, values);
      client.release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  #isTimeout(error: unknown, tookMs: number): boolean {
    const sqlstate = sqlstateOf(error);
    return sqlstate === TIMED_OUT || (sqlstate === MASKED && tookMs >= this.#timeoutMs);
  }

  get #timeoutMs(): number {
    return this.options.pieceTimeoutMs ?? PIECE_TIMEOUT_MS;
  }

  #tooSlow(aggregate: Aggregate, window: TimeRange): UnreachableError {
    const seconds = Math.round(this.#timeoutMs / 1_000);
    return new UnreachableError(
      `one bucket of ${nameOf(aggregate)} on the ${sideTitle(this.target.side)} database took longer than ${seconds} s`,
      { code: 'aggregate-too-slow', facts: { statement: callOf(aggregate, window) } },
    );
  }

  #notOwned(): UnreachableError {
    const { side, connection } = this.target;
    const names = this.#forbidden.map((aggregate) => `${nameOf(aggregate)} (owned by ${aggregate.owner})`).join(', ');
    const owners = [...new Set(this.#forbidden.map(({ owner }) => owner))];
    return new UnreachableError(
      `on the ${sideTitle(side)} database the role ${connection.user} may not refresh continuous aggregates whose rows have changed: ${names}`,
      { code: 'aggregates-not-owned', facts: { owners, user: connection.user } },
    );
  }
}

async function repeatBusy<Result>(work: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + BUSY_AT_MOST_MS;
  return await withRetries(() => repeatCollisions(work), {
    pauseMs: backoff(BUSY_PAUSE_MS, BUSY_PAUSE_AT_MOST_MS),
    retryIf: (error, attempt) => {
      const sqlstate = sqlstateOf(error);
      const isPassing = sqlstate === LOCK_NOT_AVAILABLE || (sqlstate === MASKED && attempt < MASKED_AT_MOST);
      return isPassing && performance.now() <= deadline;
    },
  });
}

function aggregatesOf(nodes: readonly AggregateNode[]): Aggregate[] {
  return nodes.flatMap(({ aggregate, children }) => [aggregate, ...aggregatesOf(children)]);
}

function isReadable(aggregate: Aggregate): aggregate is Readable {
  return aggregate.storage !== null && aggregate.bucket !== null;
}

function clip(ranges: readonly TimeRange[], bounds: readonly TimeRange[]): readonly TimeRange[] {
  const parts = ranges.flatMap((range) => bounds.map((bound) => intersect(range, bound)));
  return mergeRanges(parts.filter((part) => part !== null));
}

function nameOf({ schema, name }: Aggregate): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

function callOf(aggregate: Aggregate, { from, to }: TimeRange): string {
  return `call refresh_continuous_aggregate('${nameOf(aggregate)}', '${formatInstant(from)}', '${formatInstant(to)}');`;
}
