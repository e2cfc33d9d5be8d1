import type { Database } from '../../db/database.js';
import { newerState, NO_PHASE } from '../../domain/migration.js';
import { isReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import type { Queue } from '../../queue/queue.js';
import { ApartCounts } from './apart-counts.js';
import { BoundedWatch } from './bounded-watch.js';
import { composeSnapshot } from './compose-snapshot.js';
import { CountSchedule, type Countable, type CountOrder, type CountOutcome } from './count-schedule.js';
import type { Apart, Snapshot } from './monitor-snapshot.js';
import { Pace } from './pace.js';
import { QueueWatch, type QueueLook } from './queue-watch.js';
import { SideWatch, type LookRequest, type SideLook } from './side-watch.js';
import type { TableCount } from './table-counts.js';
import { planWatched, type Advise, type WatchedTable, type WatchedTables } from './watched-tables.js';

export interface WatchOptions {
  readonly local: Database;
  /** Null where EC2 is not configured. */
  readonly ec2: Database | null;
  readonly queue: Queue | null;
  /** The tables of the migration. */
  readonly selection: TableSelection;
  readonly windowMicros: number;
  readonly intervalMs: number;
  /** One look, as complete as it can be. */
  readonly once: boolean;
  readonly advise: Advise;
  readonly stop: AbortSignal;
}

/** A side that has not answered by then is shown as silent; its answer is waited for all the same. */
const DEADLINE_MS = 3_000;
/** How the tables are tracked is asked once a minute at most: so the question counts as one that costs as much. */
const TRACKING_COSTS_AT_LEAST_MS = 60;

const NOTHING_RECORDED: readonly string[] = [];

interface Looks {
  readonly local: SideLook;
  readonly ec2: SideLook | null;
  readonly queue: QueueLook | null;
  readonly apart: ReadonlyMap<string, Apart>;
}

/** Looks at both sides and the queue again and again. */
export class Watch {
  readonly #local: BoundedWatch;
  readonly #ec2: BoundedWatch | null;
  readonly #queue: QueueWatch | null;
  readonly #pace = new Pace();
  readonly #schedule = new CountSchedule();
  readonly #apart = new ApartCounts();
  /** Tables that some side refused to count last. */
  readonly #refused = new Set<string>();
  #planned: { readonly of: readonly unknown[]; readonly watched: WatchedTables } | null = null;

  constructor(private readonly options: WatchOptions) {
    const deadlineMs = options.once ? Infinity : Math.max(DEADLINE_MS, options.intervalMs);
    const watch = (database: Database): BoundedWatch =>
      new BoundedWatch(new SideWatch(database, options.windowMicros, options.advise), deadlineMs);
    this.#local = watch(options.local);
    this.#ec2 = options.ec2 === null ? null : watch(options.ec2);
    this.#queue = options.queue === null ? null : new QueueWatch(options.queue);
  }

  /** The only look waits until each table is counted through, where the server does not refuse it. */
  async look(): Promise<Snapshot> {
    await this.#readCatalogs();
    let looks = await this.#lookOnce();
    while (this.options.once && !this.options.stop.aborted && this.#goesOnCounting(looks))
      looks = await this.#lookOnce();
    const windowSeconds = this.options.windowMicros / 1e6;
    return composeSnapshot({ ...looks, watched: this.#watched(), windowSeconds, now: Date.now() * 1000 });
  }

  /** Both sides in the same look, as often as the slower one allows. */
  async #readCatalogs(): Promise<void> {
    if (!this.#pace.isDue('catalogs')) return;
    const costs = await Promise.all(this.#sides.map((side) => side.readCatalog()));
    this.#pace.spent('catalogs', Math.max(...costs));
  }

  async #lookOnce(): Promise<Looks> {
    const watched = this.#watched();
    const orders = this.#schedule.plan(this.#countables(), this.options.once);
    const asksTracking = this.#ec2 !== null && this.#pace.isDue('tracking');
    const requestTo = (side: Side): LookRequest => requestOf(side, watched, { orders, asksTracking });
    const wereSilent = this.#sides.filter(({ last }) => last?.answers === false);
    const [local, ec2, queue] = await Promise.all([
      this.#local.look(requestTo('local')),
      this.#ec2?.look(requestTo('ec2')) ?? null,
      this.#queue?.look() ?? null,
    ]);
    const looks = [local, ...(ec2 === null ? [] : [ec2])];
    this.#takeCounted(looks.flatMap(({ counted }) => counted));
    if (asksTracking) {
      const costs = looks.map(({ trackingCostMs }) => trackingCostMs ?? 0);
      this.#pace.spent('tracking', Math.max(TRACKING_COSTS_AT_LEAST_MS, ...costs));
    }
    if (wereSilent.some(({ last }) => last?.answers === true)) {
      for (const name of ['catalogs', 'tracking']) this.#pace.free(name);
    }
    for (const { watch } of this.#sides) for (const { touched } of looks) watch.counts.touch(touched);
    return { local, ec2, queue, apart: this.#apart.take(local, ec2, performance.now()) };
  }

  #takeCounted(outcomes: readonly CountOutcome[]): void {
    for (const { table } of outcomes) this.#refused.delete(table);
    for (const { table, isRefused } of outcomes) if (isRefused) this.#refused.add(table);
    this.#schedule.spent(outcomes, this.#countables());
  }

  get #sides(): BoundedWatch[] {
    return this.#ec2 === null ? [this.#local] : [this.#local, this.#ec2];
  }

  /** The tables by what both sides said last. */
  #watched(): WatchedTables {
    const [local, ec2] = [this.#local.last, this.#ec2?.last ?? null];
    const state = newerState(local?.state ?? NO_PHASE, ec2?.state ?? local?.state ?? NO_PHASE);
    const { primary } = state;
    const recorded = (primary === 'local' ? local : (ec2 ?? local))?.recorded ?? NOTHING_RECORDED;
    const catalogs = { local: this.#local.watch.catalog, ec2: this.#ec2?.watch.catalog ?? null };
    const of = [catalogs.local, catalogs.ec2, primary, recorded];
    if (this.#planned?.of.every((each, place) => each === of[place]) !== true) {
      const { selection, advise } = this.options;
      this.#planned = { of, watched: planWatched({ catalogs, primary, selection, recorded, advise }) };
    }
    return this.#planned.watched;
  }

  /** A side that is silent is not waited for. */
  #countables(): Countable[] {
    const answering = this.#sides.filter(({ last }) => last?.answers !== false).map(({ watch }) => watch.counts);
    return this.#watched()
      .tables.filter(({ counted }) => counted === 'window')
      .map(({ table }) => ({
        table,
        isReading: isReadingTable(table),
        isApart: this.#apart.isApart(table),
        isCounted: answering.every((counts) => counts.isCounted(table)),
        needsOlder: answering.some((counts) => counts.needsOlder(table)),
      }));
  }

  /** Some table is not counted through, and the last look has counted some. */
  #goesOnCounting({ local, ec2 }: Looks): boolean {
    if (local.counted.length + (ec2?.counted.length ?? 0) === 0) return false;
    return this.#countables().some(({ table, isCounted }) => !isCounted && !this.#refused.has(table));
  }
}

function requestOf(
  side: Side,
  { tables }: WatchedTables,
  { orders, asksTracking }: { readonly orders: readonly CountOrder[]; readonly asksTracking: boolean },
): LookRequest {
  const byName = new Map(tables.map((each) => [each.table, each]));
  const counts = orders.flatMap(({ table: name, kinds }): TableCount[] => {
    const { sides = null, axes = null } = byName.get(name) ?? {};
    return sides === null || axes === null ? [] : [{ name, kinds, table: { ...sides[side], axis: axes[side] } }];
  });
  const tracked = tables.flatMap(({ table, sides }: WatchedTable) => {
    return sides === null ? [] : [[table, sides[side]] as const];
  });
  return { counts, tracking: asksTracking ? tracked : null };
}
