import { addLatencies, latencyBucket, NO_LATENCIES, type LatencyCounts } from '../../domain/latency.js';
import type { Side } from '../../domain/side.js';
import type { BreakerState } from './circuit-breaker.js';
import type { ConsumerStatus, IntakeStatus } from './consumer-session.js';

/** Something that happened to the writes of a consumer. */
export type WriteEvent =
  | { readonly kind: 'written'; readonly side: Side; readonly ms: number; readonly readings: number }
  | { readonly kind: 'failed'; readonly side: Side; readonly error: string }
  /** Readings of a batch by what became of them on the secondary. */
  | { readonly kind: 'settled'; readonly confirmed: number; readonly missed: number; readonly refused: number }
  /** Readings that the background repair brought to the secondary. */
  | { readonly kind: 'healed'; readonly readings: number };

type Totals = ConsumerStatus['totals'];

const RECENT_MS = 60_000;
const LONGEST_ERROR = 300;

/** The writes since the last status. */
interface Slot {
  readonly endedAt: number;
  readonly latencies: Readonly<Record<Side, LatencyCounts>>;
}

/** Counts and times the writes of a consumer, for its status and for whoever listens. One outlives any repository. */
export class WriteMeter {
  readonly #totals = { accepted: 0, confirmed: 0, missed: 0, refused: 0, healed: 0 };
  readonly #listeners: ((event: WriteEvent) => void)[] = [];
  #current = { local: [...NO_LATENCIES], ec2: [...NO_LATENCIES] };
  #recent: Slot[] = [];
  #reported: { readonly at: number; readonly totals: Totals };
  #lastError: { readonly side: Side; readonly text: string; readonly at: number } | null = null;
  #intake: (() => IntakeStatus) | null = null;

  constructor(private readonly now: () => number = () => performance.now()) {
    this.#reported = { at: now(), totals: { ...this.#totals } };
  }

  /** Hears of every event from now on. */
  listen(listener: (event: WriteEvent) => void): void {
    this.#listeners.push(listener);
  }

  /** Says where the messages come from; what it returns is reported with the status. */
  follow(intake: () => IntakeStatus): void {
    this.#intake = intake;
  }

  /** One write was confirmed; `isPrimary` counts its readings as accepted. */
  written(side: Side, ms: number, readings: number, isPrimary = false): void {
    const bucket = latencyBucket(ms);
    this.#current[side][bucket] = (this.#current[side][bucket] ?? 0) + 1;
    if (isPrimary) this.#totals.accepted += readings;
    this.#tell({ kind: 'written', side, ms, readings });
  }

  failed(side: Side, error: string): void {
    this.#lastError = { side, text: error.slice(0, LONGEST_ERROR), at: this.now() };
    this.#tell({ kind: 'failed', side, error });
  }

  settled(readings: { confirmed: number; missed: number; refused: number }): void {
    this.#totals.confirmed += readings.confirmed;
    this.#totals.missed += readings.missed;
    this.#totals.refused += readings.refused;
    this.#tell({ kind: 'settled', ...readings });
  }

  healed(readings: number): void {
    this.#totals.healed += readings;
    this.#tell({ kind: 'healed', readings });
  }

  get totals(): Totals {
    return this.#totals;
  }

  /** The status for one heartbeat; its rates are those since the call before. */
  readStatus(breaker: { readonly state: BreakerState; readonly reason: string | null }): ConsumerStatus {
    const at = this.now();
    this.#recent = [...this.#recent, { endedAt: at, latencies: this.#current }].filter(
      ({ endedAt }) => endedAt > at - RECENT_MS,
    );
    this.#current = { local: [...NO_LATENCIES], ec2: [...NO_LATENCIES] };
    const before = this.#reported;
    this.#reported = { at, totals: { ...this.#totals } };
    const seconds = Math.max(at - before.at, 1) / 1000;
    const rate = (name: keyof Totals): number => round((this.#totals[name] - before.totals[name]) / seconds);
    const error = this.#lastError;
    return {
      rates: { accepted: rate('accepted'), confirmed: rate('confirmed'), healed: rate('healed') },
      totals: { ...this.#totals },
      latencies: { local: [...this.#sumOf('local')], ec2: [...this.#sumOf('ec2')] },
      breaker: { state: breaker.state, reason: breaker.reason?.slice(0, LONGEST_ERROR) ?? null },
      lastError: error === null ? null : { side: error.side, text: error.text, agoMs: Math.round(at - error.at) },
      intake: this.#intake?.() ?? null,
    };
  }

  #sumOf(side: Side): LatencyCounts {
    return this.#recent.reduce((sum, { latencies }) => addLatencies(sum, latencies[side]), NO_LATENCIES);
  }

  #tell(event: WriteEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
