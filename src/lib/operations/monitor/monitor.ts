import type { Database } from '../../db/database.js';
import { NO_PHASE } from '../../domain/migration.js';
import { pause } from '../../domain/async.js';
import { singleFlight, withDeadline } from '../../domain/retry.js';
import { READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import { serveMetrics, type Address } from '../../http/serve.js';
import type { Queue } from '../../queue/queue.js';
import { composeSnapshot } from './compose-snapshot.js';
import { createMonitorMetrics } from './monitor-metrics.js';
import { Pace, silentLook, SideWatch, type Advise, type SideLook } from './side-watch.js';
import { explainsApart } from './trouble.js';
import { QueueWatch } from './queue-watch.js';
import { Recorder } from './sample-recorder.js';
import { ApartCounts } from './apart-counts.js';
import { APART_OF_CONCERN_SECONDS, type Snapshot } from './monitor-snapshot.js';

export interface MonitorOptions {
  readonly local: Database;
  /** Null where EC2 is not configured. */
  readonly ec2: Database | null;
  readonly queue: Queue | null;
  readonly windowMicros: number;
  readonly intervalMs: number;
  /** One look, as complete as it can be. */
  readonly once: boolean;
  /** Whether samples are kept on the primary as evidence. */
  readonly record: boolean;
  /** Where to answer /metrics; null for nowhere. */
  readonly metrics: Address | null;
  readonly advise: Advise;
  readonly onSnapshot: (snapshot: Snapshot) => void;
  /** Called with what hinders the monitor itself. */
  readonly onProblem: (problem: string) => void;
  readonly stop: AbortSignal;
}

const LOOK_AGAIN_MS = 1_000;

/** A side that has not answered by then is shown as silent; its answer is waited for all the same. */
const DEADLINE_MS = 3_000;

/** Looks at both sides and the queue until it is stopped, or once. Returns the last snapshot; null where it was stopped before. */
export async function monitor(options: MonitorOptions): Promise<Snapshot | null> {
  const { local, ec2, stop, once } = options;
  const watching = new Watching(options);
  const recorder = options.record ? new Recorder(options.onProblem) : null;
  let last: Snapshot | null = null;
  const metrics =
    options.metrics === null
      ? null
      : await serveMetrics(
          options.metrics,
          createMonitorMetrics(() => last),
        );
  try {
    while (!stop.aborted) {
      const startedAt = performance.now();
      last = await watching.look();
      // One look alone cannot tell whether counts that are apart stay so.
      if (once && mayStayApart(last)) {
        await pause(LOOK_AGAIN_MS, stop);
        continue;
      }
      options.onSnapshot(last);
      recorder?.take(last, last.primary === 'ec2' && ec2 !== null ? ec2 : local);
      if (once) break;
      const pauseMs = Math.max(0, options.intervalMs - (performance.now() - startedAt));
      await pause(pauseMs, stop);
    }
    await recorder?.idle();
    return last;
  } finally {
    metrics?.close();
  }
}

function mayStayApart(snapshot: Snapshot): boolean {
  const isOpen = snapshot.tables.some(({ apart }) => apart !== null && apart.seconds < APART_OF_CONCERN_SECONDS);
  return isOpen && !explainsApart(snapshot);
}

class Watching {
  readonly #local: BoundedWatch;
  readonly #ec2: BoundedWatch | null;
  readonly #queue: QueueWatch | null;
  /** Both sides count a table at the same time, or their figures would not be of the same moment. */
  readonly #pace = new Pace();
  readonly #apart = new ApartCounts();

  constructor(private readonly options: MonitorOptions) {
    const deadlineMs = options.once ? Infinity : Math.max(DEADLINE_MS, options.intervalMs);
    const watch = (database: Database): BoundedWatch =>
      new BoundedWatch(new SideWatch(database, options.windowMicros, options.advise), deadlineMs);
    this.#local = watch(options.local);
    this.#ec2 = options.ec2 === null ? null : watch(options.ec2);
    this.#queue = options.queue === null ? null : new QueueWatch(options.queue);
  }

  async look(): Promise<Snapshot> {
    const sides = [this.#local, ...(this.#ec2 === null ? [] : [this.#ec2])];
    const tables = READING_TABLES.filter((table) => this.#pace.isDue(table));
    const [local, ec2, queue] = await Promise.all([
      this.#lookAt(this.#local, tables),
      this.#ec2 === null ? null : this.#lookAt(this.#ec2, tables),
      this.#queue?.look() ?? null,
    ]);
    for (const table of tables) {
      this.#pace.spent(table, Math.max(local.countCosts.get(table) ?? 0, ec2?.countCosts.get(table) ?? 0));
    }
    for (const { watch } of sides) for (const look of [local, ec2]) watch.touch(look?.touched ?? []);
    const windowSeconds = this.options.windowMicros / 1e6;
    const apart = this.#apart.take(local, ec2, performance.now());
    return composeSnapshot({ local, ec2, queue, windowSeconds, apart, now: Date.now() * 1000 });
  }

  /** One look alone waits until each table is counted through. */
  async #lookAt(side: BoundedWatch, tables: readonly ReadingTable[]): Promise<SideLook> {
    let look = await side.look(tables);
    while (this.options.once && look.answers && look.problem === null && !side.watch.isCounted) {
      look = await side.look(tables);
    }
    return look;
  }
}

/** A side that may take long to answer: a look shows it as silent, and the next one finds its answer. */
class BoundedWatch {
  readonly #look = singleFlight((tables: readonly ReadingTable[]) => this.watch.look(tables));
  #since = 0;
  #last: SideLook | null = null;

  constructor(
    readonly watch: SideWatch,
    private readonly deadlineMs: number,
  ) {}

  async look(tables: readonly ReadingTable[]): Promise<SideLook> {
    if (this.#look.current === null) this.#since = performance.now();
    const looking = this.#look(tables);
    const look = await (this.deadlineMs === Infinity ? looking : withDeadline(looking, this.deadlineMs, () => null));
    const seconds = Math.round((performance.now() - this.#since) / 1000);
    this.#last = look ?? silentLook(this.watch.side, this.#last?.state ?? NO_PHASE, `no answer for ${seconds} s`);
    return this.#last;
  }
}
