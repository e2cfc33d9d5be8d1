import { NO_PHASE } from '../../domain/migration.js';
import { singleFlight, withDeadline } from '../../domain/retry.js';
import { silentLook, type LookRequest, type SideLook, type SideWatch } from './side-watch.js';

/** A side that may take long to answer: a look shows it as silent, and the next one finds its answer. */
export class BoundedWatch {
  readonly #look = singleFlight((request: LookRequest) => this.watch.look(request));
  readonly #readCatalog = singleFlight(() => this.watch.readCatalog());
  #since = 0;
  #last: SideLook | null = null;

  constructor(
    readonly watch: SideWatch,
    private readonly deadlineMs: number,
  ) {}

  get last(): SideLook | null {
    return this.#last;
  }

  /** Reads the catalogs, unless the side was silent when it was looked at; what it cost, in ms. */
  async readCatalog(): Promise<number> {
    if (this.#last?.answers === false) return 0;
    return (await this.#withDeadline(this.#readCatalog())) ?? this.deadlineMs;
  }

  async look(request: LookRequest): Promise<SideLook> {
    if (this.#look.current === null) this.#since = performance.now();
    const look = await this.#withDeadline(this.#look(request));
    const seconds = Math.round((performance.now() - this.#since) / 1000);
    this.#last = look ?? silentLook(this.watch.database, this.#last?.state ?? NO_PHASE, `no answer for ${seconds} s`);
    return this.#last;
  }

  async #withDeadline<Result>(work: Promise<Result>): Promise<Result | null> {
    return this.deadlineMs === Infinity ? await work : await withDeadline(work, this.deadlineMs, () => null);
  }
}
