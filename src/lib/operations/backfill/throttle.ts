import type { Database } from '../../db/database.js';
import { pause } from '../../domain/async.js';

const READ_LAG = `
  select coalesce(extract(epoch from clock_timestamp() - min(committed_at)), 0)::float8 as seconds
  from sensorctl.ledger_state
  where state = 'pending' and entry_id in (select entry_id from sensorctl.ledger where state = 'pending')`;

const LAG_EVERY_MS = 1_000;
const LAG_SECONDS_AT_MOST = 5;
const PAUSE_MS = 500;
const SLOW_COMMIT_MS = 250;

export interface ThrottleOptions {
  /** Rows a second, at most; null: no limit. */
  readonly maxRate: number | null;
  /** The side whose ledger tells how far live writes lag; null where nobody writes live. */
  readonly primary: Database | null;
  readonly stop: AbortSignal;
}

/** Holds a backfill back: to a rate, while live writes lag behind, and while the target is slow to commit. */
export class Throttle {
  #freeAt = performance.now();
  #lagReadAt = 0;
  #lagSeconds = 0;
  #commitMs = 0;

  constructor(private readonly options: ThrottleOptions) {}

  /** Why it holds back now; null where it does not. */
  get reason(): string | null {
    if (this.#lagSeconds > LAG_SECONDS_AT_MOST) return `live writes lag ${Math.round(this.#lagSeconds)} s behind`;
    if (this.#commitMs > SLOW_COMMIT_MS) return `commits take ${Math.round(this.#commitMs)} ms`;
    return null;
  }

  /** Resolves when the next rows may be copied. */
  async wait(): Promise<void> {
    const { stop } = this.options;
    await pause(this.#freeAt - performance.now(), stop);
    await this.#readLag();
    if (this.#commitMs > SLOW_COMMIT_MS) await pause(this.#commitMs, stop);
    while (this.#lagSeconds > LAG_SECONDS_AT_MOST && !stop.aborted) {
      await pause(PAUSE_MS, stop);
      await this.#readLag();
    }
  }

  /** Takes the number of rows copied, and the time that the target took to commit them. */
  copied(rows: number, commitMs = 0): void {
    this.#commitMs = commitMs;
    if (this.options.maxRate === null) return;
    this.#freeAt = Math.max(this.#freeAt, performance.now()) + (rows / this.options.maxRate) * 1000;
  }

  async #readLag(): Promise<void> {
    const { primary } = this.options;
    if (primary === null || performance.now() - this.#lagReadAt < LAG_EVERY_MS) return;
    this.#lagReadAt = performance.now();
    const { rows } = await primary.pool.query<{ seconds: string }>(READ_LAG);
    this.#lagSeconds = Number(rows[0]?.seconds ?? 0);
  }
}
